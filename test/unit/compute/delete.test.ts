import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { wire } from './fake-nova.js';
import { initHost } from '../../../src/compute/init-host.js';
import { Operations } from '../../../src/compute/operations.js';
import { leftovers, uuid, world, type World } from './world.js';

const none = wire('BlockDeviceMappingList', '1.18', { objects: [] });
async function remove(w: World): Promise<unknown> {
  w.nova.row(uuid)['task_state'] = 'deleting';
  return w.send('terminate_instance', { instance: w.instance(), bdms: none });
}

test('a delete: the guest, then its ports, the saved state, the allocation, the row', async (t) => {
  const w = await world();
  await w.boot();
  w.steps.clear();
  await remove(w);
  t.deepEqual(w.steps.of('containers.destroy', 'neutron.deletePort', 'VirtualInterface.delete_by_instance_uuid', 'Instance.save deleted/null', 'placement.deleteAllocations', 'Instance.destroy'),
    ['containers.destroy', 'neutron.deletePort', 'VirtualInterface.delete_by_instance_uuid', 'Instance.save deleted/null', 'placement.deleteAllocations', 'Instance.destroy']);
  const row = w.nova.row(uuid);
  t.deepEqual([row['vm_state'], row['task_state'], row['power_state'], row['deleted']], ['deleted', null, 0, true]);
  t.regex(String(row['terminated_at']), /Z$/);
  t.deepEqual(leftovers(w), []);
  t.true(w.steps.seen.includes('ConsoleAuthToken.clean_console_auths_for_instance'));
});

for (const point of ['containers.destroy', 'neutron.ports', 'neutron.deletePort', 'VirtualInterface.delete_by_instance_uuid', 'InstanceInfoCache.save', 'Instance.save deleted/null', 'placement.deleteAllocations', 'Instance.destroy']) {
  test(`${point} fails: the server is in error with a fault, and the second delete finishes`, async (t) => {
    const w = await world();
    await w.boot();
    w.steps.fail(point, new HaulierError('REST_FAILED', { service: 's', method: 'M', path: 'p', status: 500, reason: 'of the test' }));
    await t.throwsAsync(remove(w), { code: 'REST_FAILED' });
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], row['deleted']], ['error', null, false]);
    t.is(w.nova.faults.length, 1);
    await remove(w);
    t.true(w.nova.row(uuid)['deleted']);
    t.deepEqual(leftovers(w), []);
  });
}

test('a server without container, ports and cache is deleted all the same', async (t) => {
  const w = await world();
  Object.assign(w.nova.row(uuid), { vm_state: 'error', host: 'fake2' });
  w.nova.caches.delete(uuid);
  await remove(w);
  t.true(w.nova.row(uuid)['deleted']);
  t.deepEqual(leftovers(w), []);
});

test('a row that is gone already: the rest is cleaned, no error', async (t) => {
  const w = await world();
  await w.boot();
  const instance = w.instance();
  w.nova.row(uuid)['deleted'] = true;
  await w.send('terminate_instance', { instance, bdms: none });
  t.deepEqual([...w.containers.made.keys(), ...w.neutron.stored.keys(), ...w.placement.allocations.keys()], []);
  t.deepEqual(w.nova.faults, []);
});

test('a port that is unreachable for a moment is tried again', async (t) => {
  const w = await world();
  await w.boot();
  t.timeout(20_000);
  w.steps.fail('neutron.deletePort', new HaulierError('REST_UNREACHABLE', { service: 'neutron', reason: 'x' }));
  await remove(w);
  t.deepEqual(leftovers(w), []);
});

test('two deletes at once: the second finds nothing and does not fail the first', async (t) => {
  const w = await world();
  await w.boot();
  w.nova.row(uuid)['task_state'] = 'deleting';
  const args = { instance: w.instance(), bdms: none };
  await Promise.allSettled([w.send('terminate_instance', args), w.send('terminate_instance', args)]);
  t.deepEqual([w.nova.row(uuid)['deleted'], w.nova.row(uuid)['vm_state']], [true, 'deleted']);
  t.deepEqual(leftovers(w), []);
  t.deepEqual(w.nova.faults, []);
});

test('soft delete and restore', async (t) => {
  const w = await world();
  await w.boot();
  w.nova.row(uuid)['task_state'] = 'soft-deleting';
  await w.send('soft_delete_instance', { instance: w.instance() });
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.row(uuid)['power_state']], ['soft-delete', null, 4]);
  t.is(w.placement.allocations.size, 1);
  w.nova.row(uuid)['task_state'] = 'restoring';
  await w.send('restore_instance', { instance: w.instance() });
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.row(uuid)['power_state']], ['active', null, 1]);
});

for (const point of ['containers.destroy', 'neutron.ports', 'InstanceInfoCache.save']) {
  test(`the service stops during ${point}: no error, no fault, and its next start finishes the delete`, async (t) => {
    const w = await world();
    await w.boot();
    const blocked = w.steps.block(point);
    const deleted = t.throwsAsync(remove(w), { code: 'CANCELLED' });
    const waiting = t.throwsAsync(remove(w), { code: 'CANCELLED' }); // another one that waits for its turn
    await blocked.reached;
    const drained = w.compute.operations.drain(0, new HaulierError('CANCELLED', { what: 'it', reason: 'the service stops', by: 'stop' }));
    blocked.release();
    await Promise.all([deleted, waiting, drained]);
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state']], ['active', 'deleting']);
    t.deepEqual(w.nova.faults, []);
    w.steps.clear();
    const { compute } = w;
    await initHost({ ...compute, operations: new Operations(compute.log) });
    t.true(w.nova.row(uuid)['deleted']);
    t.deepEqual(leftovers(w), []);
  });
}

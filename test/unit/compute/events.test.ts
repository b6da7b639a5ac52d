import test from 'ava';
import { EventWaiters } from '../../../src/compute/events.js';
import { wire } from './fake-nova.js';
import { uuid, world } from './world.js';

test('a wait ends by its own event, and by no other', async (t) => {
  const events = new EventWaiters();
  const one = events.expect('i', 'network-vif-plugged', 'p1');
  const same = events.expect('i', 'network-vif-plugged', 'p1');
  const other = events.expect('i', 'network-vif-plugged', 'p2');
  t.deepEqual([events.deliver('x', 'network-vif-plugged', 'p1', 'completed'), events.deliver('i', 'network-vif-unplugged', 'p1', 'completed')], [0, 0]);
  t.is(events.deliver('i', 'network-vif-plugged', 'p1', 'failed'), 2);
  t.deepEqual([await one.outcome, await same.outcome], ['failed', 'failed']);
  t.is(events.deliver('i', 'network-vif-plugged', 'p1', 'completed'), 0);
  other.drop();
  t.is(events.deliver('i', 'network-vif-plugged', 'p2', 'completed'), 0);
});

test('cancel ends the waits of one server, close all of them and later ones; nobody who does not listen is hurt', async (t) => {
  const events = new EventWaiters();
  const mine = events.expect('i', 'n', 'p');
  const longer = events.expect('i2', 'n', 'p');
  events.cancel('i', 'it is deleted');
  const error = await t.throwsAsync(mine.outcome, { code: 'CANCELLED' });
  t.regex(error.message, /waiting for n-p was given up: it is deleted/);
  events.expect('i3', 'n', 'p');
  events.close('stop');
  await t.throwsAsync(longer.outcome, { code: 'CANCELLED' });
  await t.throwsAsync(events.expect('i', 'n', 'p').outcome, { code: 'CANCELLED' }); // a build that came this far after the stop began
  await new Promise((resolve) => setImmediate(resolve)); // an unheard rejection would end the process
  t.is(events.deliver('i', 'n', 'p', 'completed'), 0);
});

test('one cast, several servers: deleted ones are left alone, a failure stops no other', async (t) => {
  const w = await world();
  await w.boot();
  const port = [...w.neutron.stored.keys()][0]!;
  const gone = 'aaaaaaaa-6fb9-447f-9482-9f3e2e18a7e3';
  const wait = w.compute.events.expect(uuid, 'network-vif-plugged', port);
  const ev = (name: string, instance_uuid: string): unknown => wire('InstanceExternalEvent', '1.5', { name, status: 'completed', tag: port, instance_uuid });
  w.steps.clear();
  w.steps.fail('neutron.ports', new Error('neutron is away'));
  await w.send('external_instance_event', { instances: [w.instance({ uuid: gone, deleted: true }), w.instance()], events: [ev('network-changed', uuid), ev('network-changed', gone), ev('network-vif-plugged', uuid), ev('network-changed', 'not-in-the-list')] });
  t.is(await wait.outcome, 'completed');
  t.is(w.steps.count('InstanceInfoCache.get_by_instance_uuid'), 1);
});

test('a port that was deleted leaves the cache and the host, also while an operation runs', async (t) => {
  const w = await world();
  await w.boot();
  const port = [...w.neutron.stored.keys()][0]!;
  let event: Promise<unknown> | undefined;
  await w.compute.locks.hold(uuid, async () => {
    event = w.event('network-vif-deleted', port);
    const other = await Promise.race([event, w.event('network-vif-plugged', 'another')]); // who waits for an event holds the lock: those come through
    t.is(other ?? null, null);
    t.deepEqual([w.cache().length, w.steps.count('containers.changeVifs'), (await w.containers.spec(uuid))?.vifs.length], [1, 0, 1], 'nothing is changed under the hands of who works on it');
  });
  await event;
  t.deepEqual(w.cache(), []);
  t.deepEqual([...w.containers.plugged.get(uuid) ?? []], []);
  t.deepEqual((await w.containers.spec(uuid))?.vifs, []);
  await w.event('network-vif-deleted', port); // again: nothing to do
  t.is(w.steps.count('containers.changeVifs'), 1);
});

test('network-changed during a boot does not overwrite what the boot stores, and is not lost', async (t) => {
  const w = await world();
  w.plugWhenAsked();
  const bind = w.steps.block('neutron.bind');
  const built = w.send('build_and_run_instance', w.bootArgs());
  await bind.reached;
  const changed = w.event('network-changed', [...w.neutron.stored.keys()][0]!);
  bind.release();
  await built;
  const [port] = [...w.neutron.stored.values()];
  w.neutron.stored.set(port!.id, { ...port!, status: 'ACTIVE' });
  await changed;
  t.deepEqual(w.cache().map((vif) => [vif.id, vif.active]), [[port!.id, true]]);
  t.deepEqual([w.compute.locks.held(uuid), w.compute.cacheLocks.held(uuid), w.compute.operations.running.length], [false, false, 0]);
});

test('network-changed while the server is being deleted leaves no cache behind', async (t) => {
  const w = await world();
  await w.boot();
  const port = [...w.neutron.stored.keys()][0]!;
  const reading = w.steps.block('InstanceInfoCache.get_by_instance_uuid');
  const changed = w.event('network-changed', port);
  await reading.reached;
  w.nova.row(uuid)['task_state'] = 'deleting';
  const deleted = w.send('terminate_instance', { instance: w.instance(), bdms: wire('BlockDeviceMappingList', '1.18', { objects: [] }) });
  reading.release();
  await Promise.all([changed, deleted]);
  t.is(w.nova.caches.get(uuid), undefined);
  t.true(w.nova.row(uuid)['deleted']);
});

test('a port that is wired when nobody waits any more: the guest announces its addresses', async (t) => {
  const w = await world();
  await w.boot();
  const port = [...w.neutron.stored.keys()][0]!;
  w.steps.clear();
  await w.event('network-vif-plugged', port);
  await w.event('network-vif-plugged', port, 'failed');
  await w.event('network-vif-unplugged', port);
  t.deepEqual(w.steps.seen, [`containers.announce ${uuid}`]);
});

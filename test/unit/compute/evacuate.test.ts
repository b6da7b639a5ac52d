/** Evacuation over two fake hosts: the first is dead, the second takes over; then the first comes back. */
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { wire } from './fake-nova.js';
import { other, otherNode, TwoHosts } from './two-hosts.js';
import { host, messages, nodeUuid, uuid } from './world.js';

const rebuild = messages('rebuild').find((message) => message.method === 'rebuild_instance' && 'accel_uuids' in message.args)!;

/** What the API and the conductor do, up to rebuild_instance at the other host. */
async function evacuate(it: TwoHosts, change: Record<string, unknown> = {}): Promise<unknown> {
  const { nova, placement } = it.w;
  it.row['task_state'] = 'rebuilding';
  nova.migrations.push({ id: 30 + nova.migrations.length, uuid: '4e0ea99b-7d61-4d97-937e-ca119bbba81b', instance_uuid: uuid, status: 'accepted', migration_type: 'evacuation', source_compute: host, source_node: host, dest_compute: null, dest_node: null, dest_host: null, dest_compute_id: null,
    old_instance_type_id: 1, new_instance_type_id: 1, created_at: '2026-11-22T02:03:00Z', updated_at: null });
  placement.allocations.get(uuid)![otherNode] = { VCPU: 1 };
  const about = wire('Migration', '1.8', { ...it.migration });
  return it.at(other).send('rebuild_instance', { ...structuredClone(rebuild.args), instance: it.w.instance(), image_ref: null, recreate: true, on_shared_storage: null, preserve_ephemeral: false, migration: about, scheduled_node: other, limits: {}, request_spec: null, ...change });
}

const seen = (it: TwoHosts): unknown => [it.row['vm_state'], it.row['task_state'], it.row['host'], it.row['node'], it.migration['status']];

test('without shared storage: made anew from the image, with its ports; the dead host throws its own away when it is back', async (t) => {
  const it = await TwoHosts.begin();
  const ports = [...it.w.neutron.stored.values()].map(({ id, mac_address, fixed_ips }) => ({ id, mac_address, fixed_ips }));
  await evacuate(it);
  t.deepEqual(seen(it), ['active', null, other, other, 'done']);
  t.deepEqual(it.disks, { [host]: ['running 1'], [other]: ['running 1'] });
  t.is(it.w.steps.count('containers.ensureImage'), 1);
  t.deepEqual([it.bound, [...it.w.neutron.stored.values()].map(({ id, mac_address, fixed_ips }) => ({ id, mac_address, fixed_ips }))], [[other], ports]);
  t.deepEqual([it.row['compute_id'], it.row['launched_on'], it.row['migration_context']], [8, host, null]);
  await it.restart(host);
  t.deepEqual([it.disks, it.migration['status']], [{ [host]: [], [other]: ['running 1'] }, 'completed']);
  t.deepEqual([...it.w.placement.allocations], [[uuid, { [otherNode]: { VCPU: 1 } }]]);
  await it.restart(host);
  t.deepEqual(it.disks, { [host]: [], [other]: ['running 1'] });
});

test('bad vendor data: refused before anything of it is here, and it can be evacuated again', async (t) => {
  const it = await TwoHosts.begin({ vendorData: { providers: ['StaticJSON'], file: '/nowhere/vendor.json', targets: [], failureFatal: false } });
  it.at(other).containers.cloudInit = true;
  await t.throwsAsync(evacuate(it), { code: 'CONFIG_INVALID' });
  t.deepEqual([seen(it), it.disks], [['active', null, host, host, 'failed'], { [host]: ['running 1'], [other]: [] }]);
  t.deepEqual([...it.w.placement.allocations.get(uuid) ? Object.keys(it.w.placement.allocations.get(uuid)!) : []], [nodeUuid]);
});

test('with shared storage: the disk is used where it is, and stays when the dead host is back', async (t) => {
  const it = await TwoHosts.begin();
  const [there, here] = [it.w.containers, it.at(other).containers];
  here.made.set(uuid, { ...there.made.get(uuid)!, state: 'stopped' });
  there.moves.foreignMarks = here.moves.marks;
  here.moves.foreignMarks = there.moves.marks;
  await evacuate(it);
  t.deepEqual([seen(it), it.w.steps.count('containers.create'), it.w.steps.count('moves.adopt')], [['active', null, other, other, 'done'], 0, 1]);
  it.w.steps.clear();
  await it.restart(host);
  t.deepEqual([it.w.steps.of('containers.destroy', 'moves.abandon', 'moves.drop'), it.migration['status']], [['moves.abandon'], 'completed']);
});

test('a host that cannot be asked whether the files are shared is not made to lose them', async (t) => {
  const it = await TwoHosts.begin();
  await evacuate(it);
  it.down.add(other);
  it.w.steps.clear();
  await it.restart(host);
  t.deepEqual([it.w.steps.of('containers.destroy', 'moves.abandon'), it.migration['status']], [['moves.abandon'], 'done']);
});

test('a stopped server is evacuated stopped, and so is one that shall be', async (t) => {
  for (const [vm, change] of [['stopped', {}], ['active', { target_state: 'stopped' }]] as const) {
    const it = await TwoHosts.begin();
    Object.assign(it.row, { vm_state: vm });
    await evacuate(it, change);
    t.deepEqual([seen(it), it.at(other).containers.made.get(uuid)?.state], [['stopped', null, other, other, 'done'], 'stopped']);
  }
});

test('refusals leave the server as it is at the dead host', async (t) => {
  for (const [change, error] of [[{ on_shared_storage: true }, 'InvalidSharedStorage'], [{ target_state: 'paused' }, 'InstanceEvacuateNotSupportedTargetState']] as const) {
    const it = await TwoHosts.begin();
    t.is((await t.throwsAsync(evacuate(it, change)) as HaulierError).nova.class, error);
    t.deepEqual([seen(it), it.w.placement.allocations.get(uuid)], [['active', null, host, host, 'failed'], { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } }]);
  }
});

for (const step of ['containers.ensureImage', 'containers.check']) {
  test(`a refusal of the image at ${step} leaves the server as it is at the dead host, its ports there, and nothing here`, async (t) => {
    const it = await TwoHosts.begin();
    it.w.steps.clear();
    it.w.steps.fail(step, new HaulierError('MEMORY_IMAGE_MISFIT', { image: 'i', reason: 'another CPU' }));
    await t.throwsAsync(evacuate(it), { code: 'MEMORY_IMAGE_MISFIT' });
    t.deepEqual([seen(it), it.bound, it.disks], [['active', null, host, host, 'failed'], [host], { [host]: ['running 1'], [other]: [] }]);
    t.false(otherNode in it.w.placement.allocations.get(uuid)!);
    await evacuate(it);
    t.deepEqual(seen(it), ['active', null, other, other, 'done']);
  });
}

for (const step of ['containers.create', 'containers.run', 'Instance.save active/null']) {
  test(`a failure at ${step} leaves an error at the dead host and nothing here; it can be tried again`, async (t) => {
    const it = await TwoHosts.begin();
    it.w.steps.fail(step, new HaulierError('DISK_FULL', { path: '/x', reason: 'full' }));
    await t.throwsAsync(evacuate(it));
    t.deepEqual([seen(it), it.disks], [['error', null, host, host, 'failed'], { [host]: ['running 1'], [other]: [] }]);
    t.false(otherNode in it.w.placement.allocations.get(uuid)!);
    await evacuate(it);
    t.deepEqual(seen(it), ['active', null, other, other, 'done']);
  });
}

test('a service that dies while it takes over leaves an error, and can try again', async (t) => {
  const it = await TwoHosts.begin();
  const death = new Promise<void>((resolve) => it.w.steps.before('containers.run', () => { resolve(); return new Promise(() => undefined); }));
  void evacuate(it);
  await death;
  await it.restart(other);
  t.deepEqual(seen(it), ['error', null, host, host, 'failed']);
  await evacuate(it);
  t.deepEqual(seen(it), ['active', null, other, other, 'done']);
});

test('an evacuated server that came home is never thrown away', async (t) => {
  const it = await TwoHosts.begin();
  await evacuate(it);
  Object.assign(it.row, { host, node: host });
  await it.restart(host);
  t.deepEqual((it.disks as Record<string, unknown>)[host], ['running 1']);
});

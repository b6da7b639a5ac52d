import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import type { Primitive } from '../../../src/nova/object.js';
import { failure } from '../nova/fake-rpc.js';
import { wire } from './fake-nova.js';
import { host, leftovers, nodeUuid, uuid, world } from './world.js';

const event = 'compute__do_build_and_run_instance';

test('a boot: the saves, what they expect, and their order among the other calls', async (t) => {
  const w = await world();
  await w.boot();
  const row = w.nova.row(uuid);
  t.deepEqual([row['vm_state'], row['task_state'], row['power_state'], row['host'], row['node'], row['compute_id'], row['launched_on']], ['active', null, 1, host, host, 7, host]);
  t.deepEqual(w.nova.demands, [
    { expected_vm_state: ['building'], expected_task_state: ['scheduling', null] }, { expected_task_state: ['networking'] }, { expected_task_state: ['spawning'] },
  ]);
  t.regex(String(row['launched_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  t.is((row['system_metadata'] as Record<string, string>)['boot_roles'], 'reader,admin,manager,member');
  const before = (...names: string[]): boolean => t.deepEqual(w.steps.of(...names), names);
  before('Instance.save building/networking', 'neutron.createPort', 'neutron.bind', 'containers.plug', 'Instance.save -/spawning', 'containers.startContainer', 'containers.run', 'Instance.save active/null');
  before('neutron.bind', 'InstanceInfoCache.save', 'containers.updateVifs', 'containers.startContainer');
  t.true(w.steps.seen.indexOf('containers.create') < w.steps.seen.indexOf('containers.startContainer'));
  t.deepEqual(w.nova.events, [{ uuid, name: event, error: null, done: true }]);
  t.is(w.steps.count('placement.deleteAllocations'), 0);
  t.deepEqual(w.containers.clashes, []);
  t.deepEqual(w.cache().map((vif) => [vif.preserve_on_delete, vif.network.subnets[0]?.ips[0]?.address]), [[false, '10.77.2.1']]);
  t.deepEqual(w.nova.vifs.map((vif) => vif['address']), ['fa:16:3e:1f:2d:01/4c62ff61-efe1-4e3e-8f84-000000000001']);
  t.deepEqual([w.compute.operations.running.length, w.compute.locks.held(uuid), w.compute.cacheLocks.held(uuid)], [0, false, false]);
});

test('ports are made with the user\'s rights and bound with the service\'s', async (t) => {
  const w = await world();
  await w.boot();
  const kinds = (call: string): string[] => w.neutron.scopes.filter((scope) => scope.call === call).map((scope) => scope.kind);
  t.deepEqual([kinds('createPort'), kinds('bind')], [['user'], ['service']]);
});

test('Zed has no compute_id', async (t) => {
  const w = await world({}, 64);
  w.plugWhenAsked();
  const row = w.nova.row(uuid);
  delete row['compute_id'];
  const sent = w.bootArgs()['instance'] as Primitive;
  await w.send('build_and_run_instance', w.bootArgs({ instance: { ...sent, 'nova_object.version': '2.7' } }));
  // the fake conductor insists on compute_id as 2.8 does: Zed's would not, so only what was sent counts
  t.false('compute_id' in row);
});

test('several ports: rows and interfaces in the order of the request, each waited for', async (t) => {
  const w = await world();
  const request = (w.bootArgs()['requested_networks'] as Primitive)['nova_object.data']['objects'] as Primitive[];
  w.neutron.own('own-port');
  const own = structuredClone(request[0]!);
  Object.assign(own['nova_object.data'], { port_id: 'own-port' });
  w.plugWhenAsked();
  const bind = w.steps.block('neutron.bind'); // the first port's, so the later ones are faster
  const done = w.send('build_and_run_instance', w.bootArgs({ requested_networks: wire('NetworkRequestList', '1.1', { objects: [request[0], own, request[0]] }) }));
  await bind.reached;
  bind.release();
  await done;
  t.is(w.nova.row(uuid)['vm_state'], 'active');
  t.deepEqual(w.cache().map((vif) => vif.preserve_on_delete), [false, true, false]);
  t.is(w.cache()[1]?.id, 'own-port');
  t.deepEqual(w.nova.vifs.map((vif) => vif['uuid']), w.cache().map((vif) => vif.id));
  t.deepEqual((await w.containers.spec(uuid))?.vifs.map((vif) => vif.guestDevice), ['eth0', 'eth1', 'eth2']);
});

test('the user\'s port is noted as his before it is bound, so that a kill -9 cannot make a delete destroy it', async (t) => {
  const w = await world();
  w.neutron.own('own-port');
  const request = ((w.bootArgs()['requested_networks'] as Primitive)['nova_object.data']['objects'] as Primitive[])[0]!;
  Object.assign(request['nova_object.data'], { port_id: 'own-port' });
  w.steps.before('neutron.bind', () => t.deepEqual(w.cache().map((vif) => [vif.id, vif.preserve_on_delete]), [['own-port', true]]));
  w.plugWhenAsked();
  await w.send('build_and_run_instance', w.bootArgs({ requested_networks: wire('NetworkRequestList', '1.1', { objects: [request] }) }));
  await w.send('terminate_instance', { instance: w.instance({ task_state: 'deleting' }), bdms: wire('BlockDeviceMappingList', '1.18', { objects: [] }) });
  t.deepEqual([...w.neutron.stored.keys()], ['own-port']);
  t.deepEqual([w.neutron.stored.get('own-port')?.device_id, w.neutron.stored.get('own-port')?.device_owner], ['', '']);
  t.deepEqual(leftovers(w, ['own-port']), []);
});

test('a network that fails ends the download: nobody waits for minutes to hear of a refused port', async (t) => {
  const w = await world();
  const download = w.steps.block('containers.ensureImage'); // never released
  w.steps.fail('neutron.createPort', new HaulierError('REST_FAILED', { service: 'neutron', method: 'POST', path: '/ports', status: 409, reason: 'Quota exceeded' }));
  await w.send('build_and_run_instance', w.bootArgs());
  await download.reached;
  t.is(w.nova.row(uuid)['vm_state'], 'error');
  t.regex(String(w.nova.faults[0]?.['message']), /Failed to allocate the network\(s\).*Quota exceeded/);
  t.deepEqual(leftovers(w), []);
});

test('rollback goes on when an undo fails, and what it could not do is tried again', async (t) => {
  const w = await world();
  w.plugWhenAsked();
  w.steps.fail('containers.run', new HaulierError('RUNTIME_FAILED', { action: 'start', reason: 'x' }));
  w.steps.fail('neutron.deletePort', new HaulierError('REST_UNREACHABLE', { service: 'neutron', reason: 'x' }));
  w.steps.fail('VirtualInterface.delete_by_instance_uuid', failure('DBError'));
  await w.send('build_and_run_instance', w.bootArgs());
  t.deepEqual(leftovers(w), []);
});

test('the same message twice: the second finds the work done and touches nothing', async (t) => {
  const w = await world();
  w.plugWhenAsked();
  await Promise.all([w.send('build_and_run_instance', w.bootArgs()), w.send('build_and_run_instance', w.bootArgs())]);
  t.is(w.nova.row(uuid)['vm_state'], 'active');
  t.deepEqual([w.neutron.stored.size, w.steps.count('containers.create'), w.steps.count('placement.deleteAllocations'), w.nova.casts.length, w.nova.faults.length], [1, 1, 0, 0, 0]);
});

test('a message for a server that runs elsewhere by now touches nothing', async (t) => {
  const w = await world();
  Object.assign(w.nova.row(uuid), { vm_state: 'active', task_state: null, host: 'other' });
  await w.send('build_and_run_instance', w.bootArgs());
  t.deepEqual([w.nova.row(uuid)['host'], w.nova.row(uuid)['vm_state'], w.placement.allocations.size, w.neutron.stored.size], ['other', 'active', 1, 0]);
});

test('what is not supported is refused before anything is made', async (t) => {
  const device = (fields: Record<string, unknown>): Record<string, unknown> => ({ block_device_mapping: wire('BlockDeviceMappingList', '1.18', { objects: [wire('BlockDeviceMapping', '1.21', { id: 1, ...fields })] }) });
  const base = (await world()).bootArgs();
  const network = structuredClone(base['requested_networks'] as Primitive);
  ((network['nova_object.data']['objects'] as Primitive[])[0]!)['nova_object.data']['tag'] = 'nic1';
  for (const [change, message] of [
    [{ image: {} }, /booting from a volume/], [device({ destination_type: 'volume', source_type: 'volume' }), /booting with a volume/],
    [device({ destination_type: 'local', source_type: 'image', tag: 'disk1' }), /tagged devices/], [{ requested_networks: network }, /tagged devices/],
  ] as [Record<string, unknown>, RegExp][]) {
    const w = await world();
    await w.send('build_and_run_instance', w.bootArgs(change));
    t.is(w.nova.row(uuid)['vm_state'], 'error');
    t.regex(String(w.nova.faults[0]?.['message']), message);
    t.is(w.steps.count('neutron.createPort') + w.steps.count('containers.ensureImage'), 0);
    t.deepEqual(leftovers(w), []);
  }
});

test('a message for another node of this host is not built here', async (t) => {
  const w = await world();
  await w.send('build_and_run_instance', w.bootArgs({ node: 'elsewhere' }));
  t.is(w.nova.row(uuid)['task_state'], 'scheduling');
  t.is(w.nova.casts[0]?.method, 'build_instances');
});

test('plugging: a failed event is fatal or not, as the operator says', async (t) => {
  for (const fatal of [true, false]) {
    const w = await world({ vifPluggingIsFatal: fatal });
    w.steps.whenever('containers.startContainer', () => void Promise.resolve().then(() => w.event('network-vif-plugged', [...w.neutron.stored.keys()][0]!, 'failed')));
    await w.send('build_and_run_instance', w.bootArgs());
    t.is(w.nova.row(uuid)['vm_state'], fatal ? 'error' : 'active');
  }
});

test('nobody is waited for: time-out 0, and ports that are active when bound', async (t) => {
  const w = await world({ vifPluggingTimeout: 0 });
  await w.send('build_and_run_instance', w.bootArgs());
  t.is(w.nova.row(uuid)['vm_state'], 'active');
});

test('max_concurrent_builds: the next build begins when the first only waits for neutron', async (t) => {
  const w = await world({ maxConcurrentBuilds: 1 });
  const other = 'aaaaaaaa-6fb9-447f-9482-9f3e2e18a7e3';
  const sent = w.bootArgs()['instance'] as Primitive;
  w.nova.instances.set(other, { ...structuredClone(w.nova.row(uuid)), uuid: other, id: 3 });
  const second = { ...sent, 'nova_object.data': { ...sent['nova_object.data'], uuid: other, id: 3 } };
  const create = w.steps.block('containers.create');
  const first = w.send('build_and_run_instance', w.bootArgs());
  const next = w.send('build_and_run_instance', w.bootArgs({ instance: second }));
  await create.reached;
  t.is(w.steps.count('Instance.save building/networking'), 1);
  const begun = w.steps.block('Instance.save building/networking');
  create.release();
  await begun.reached; // nobody sent an event
  const wired = (): void => { for (const id of [uuid, other]) for (const port of w.neutron.stored.keys()) w.compute.events.deliver(id, 'network-vif-plugged', port, 'completed'); };
  w.steps.whenever('containers.startContainer', () => void Promise.resolve().then(wired));
  wired();
  begun.release();
  await Promise.all([first, next]);
  t.pass();
});

test('a delete of a build that still queues: it is not begun', async (t) => {
  const w = await world();
  const release = await w.compute.builds.take();
  for (let n = 1; n < 10; n++) await w.compute.builds.take();
  const built = w.send('build_and_run_instance', w.bootArgs());
  w.nova.row(uuid)['task_state'] = 'deleting';
  const deleted = w.send('terminate_instance', { instance: w.instance(), bdms: wire('BlockDeviceMappingList', '1.18', { objects: [] }) });
  release();
  await built;
  await deleted;
  t.is(w.steps.count('Instance.save building/networking'), 0);
  t.deepEqual(leftovers(w), []);
});

test('anti-affinity and affinity are checked late', async (t) => {
  for (const [policy, rules, mate, ok] of [
    ['anti-affinity', {}, host, false], ['anti-affinity', { max_server_per_host: '2' }, host, true], ['anti-affinity', {}, 'other', true],
    ['affinity', {}, 'other', false], ['affinity', {}, host, true], ['soft-anti-affinity', {}, host, true],
  ] as [string, Record<string, string>, string, boolean][]) {
    const w = await world();
    const group = 'bbbbbbbb-0000-4000-8000-000000000001';
    w.nova.groups.set(group, { uuid: group, name: 'g', policy, rules, members: [uuid, 'mate'] });
    w.nova.instances.set('mate', { uuid: 'mate', host: mate });
    const args = w.bootArgs();
    (args['request_spec'] as Primitive)['nova_object.data']['scheduler_hints'] = { group: [group] };
    w.plugWhenAsked();
    await w.send('build_and_run_instance', args);
    t.is(w.nova.row(uuid)['vm_state'] === 'active', ok, `${policy} ${JSON.stringify(rules)} ${mate}`);
    if (!ok) t.deepEqual([w.nova.casts.map((cast) => cast.method), leftovers(w)], [['build_instances'], []]);
  }
});

test('the allocation on the node is the scheduler\'s: a good build does not touch it', async (t) => {
  const w = await world();
  await w.boot();
  t.deepEqual(Object.keys(w.placement.allocations.get(uuid) ?? {}), [nodeUuid]);
});

import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { methodTable } from '../../../src/compute/method-table.js';
import { baseEndpoint, v5Endpoint } from '../../../src/compute/other-endpoints.js';
import type { Endpoint, RpcRequest } from '../../../src/messaging/types.js';
import type { Primitive } from '../../../src/nova/object.js';
import { failure } from '../nova/fake-rpc.js';
import { wire } from './fake-nova.js';
import { context, host, messages, nodeUuid, uuid, world, type World } from './world.js';

const migrationUuid = 'cccccccc-0000-4000-8000-000000000001';
async function running(): Promise<World> {
  const w = await world();
  await w.boot();
  w.steps.clear();
  w.nova.events.length = 0;
  return w;
}

test('a failed operation: fault, then the task state, then the event; none of them twice', async (t) => {
  const w = await running();
  w.nova.row(uuid)['task_state'] = 'powering-off';
  w.steps.fail('containers.stopContainer', new HaulierError('RUNTIME_FAILED', { action: 'stop', reason: 'x' }));
  await t.throwsAsync(w.send('stop_instance', { instance: w.instance(), clean_shutdown: true }), { code: 'RUNTIME_FAILED' });
  t.deepEqual(w.steps.of('InstanceActionEvent.event_start compute_stop_instance', 'InstanceFault.create', 'Instance.save -/null', 'InstanceActionEvent.event_finish_with_failure compute_stop_instance'),
    ['InstanceActionEvent.event_start compute_stop_instance', 'InstanceFault.create', 'Instance.save -/null', 'InstanceActionEvent.event_finish_with_failure compute_stop_instance']);
  t.deepEqual([w.nova.row(uuid)['task_state'], w.nova.row(uuid)['vm_state'], w.nova.events.length], [null, 'active', 1]);
  t.deepEqual(w.nova.faults.map((fault) => [fault['code'], fault['host'], fault['message']]), [[500, host, 'The container runtime failed to stop: x']]);
});

test('somebody else\'s task state is not cleared', async (t) => {
  const w = await running();
  for (const [task, name] of [['deleting', 'UnexpectedDeletingTaskStateError'], ['rebuilding', 'UnexpectedTaskStateError']] as const) {
    w.nova.row(uuid)['task_state'] = 'powering-off';
    w.steps.before('containers.stopContainer', () => { w.nova.row(uuid)['task_state'] = task; });
    await t.throwsAsync(w.send('stop_instance', { instance: w.instance(), clean_shutdown: false }), { name });
    t.is(w.nova.row(uuid)['task_state'], task);
  }
});

test('a server that is gone: no fault, no task state, the event is closed', async (t) => {
  const w = await running();
  const instance = w.instance({ task_state: 'powering-off' });
  w.nova.row(uuid)['deleted'] = true;
  await t.throwsAsync(w.send('stop_instance', { instance, clean_shutdown: true }), { name: 'InstanceNotFound' });
  t.deepEqual(w.nova.faults, []);
  t.is(w.steps.count('Instance.save -/null'), 0);
  t.true(w.nova.events.every((event) => event.done));
});

test('the conductor\'s failures around an operation do not fail it', async (t) => {
  const w = await running();
  w.nova.row(uuid)['task_state'] = 'pausing';
  w.steps.fail('InstanceActionEvent.event_start compute_pause_instance', failure('InstanceActionNotFound'));
  await w.send('pause_instance', { instance: w.instance() });
  t.is(w.nova.row(uuid)['vm_state'], 'paused');
});

// one message for every method, made of what the rows need
const objects: Record<string, Primitive> = {
  migration: wire('Migration', '1.7', { id: 3, uuid: migrationUuid, status: 'pre-migrating', instance_uuid: uuid }),
  bdm: wire('BlockDeviceMapping', '1.21', { id: 8, volume_id: 'v' }),
};
const reach: Record<string, Record<string, unknown>> = { migration: { migration: objects['migration'] }, bdm: { bdm: objects['bdm'] }, image: { image_id: 'image-1' } };

async function refused(method: string, args: Record<string, unknown>, taskState: string): Promise<{ w: World; error: unknown }> {
  const w = await running();
  Object.assign(w.nova.row(uuid), { task_state: taskState });
  w.nova.migrations.push({ ...objects['migration']!['nova_object.data'] });
  w.placement.allocations.set(migrationUuid, { other: { VCPU: 1 } });
  const { refuse } = await import('../../../src/compute/refusal.js');
  const { insideWrappers } = await import('../../../src/compute/wrappers.js');
  const { NovaObject, parseValue } = await import('../../../src/nova/object.js');
  const row = methodTable[method]!;
  const parsed = parseValue({ instance: w.instance(), ...args }) as Record<string, unknown>;
  const request: RpcRequest = { method, namespace: undefined, version: '6.0', args, context, isCall: true, signal: new AbortController().signal };
  if (row.does.state === 'done') throw new Error(`${method} is done`);
  const refusal = row.does;
  const migration = parsed['migration'] instanceof NovaObject ? parsed['migration'] : undefined;
  const error = await insideWrappers(w.compute, { method, wrappers: row.wrappers, context, instance: parsed['instance'] as InstanceType<typeof NovaObject>, migration }, () => refuse(w.compute, request, parsed, refusal)).catch((thrown: unknown) => thrown);
  return { w, error };
}

for (const [method, row] of Object.entries(methodTable)) {
  if (row.does.state === 'done' || row.kind === 'internal') continue;
  const { repair, error: named } = row.does;
  test(`refused: ${method}`, async (t) => {
    const { w, error } = await refused(method, { ...reach['migration'], ...reach['bdm'], ...reach['image'], recreate: true }, 'rebuilding');
    t.true(error instanceof HaulierError);
    t.is((error as HaulierError).nova.class, named?.class ?? 'NotImplementedError');
    if (row.wrappers.includes('T')) t.is(w.nova.row(uuid)['task_state'], null);
    t.is(w.nova.faults.length, row.wrappers.includes('F') ? 1 : 0);
    t.is(w.nova.migrations[0]?.['status'], row.wrappers.includes('M') ? 'error' : 'pre-migrating');
    t.deepEqual(w.nova.events.map((event) => [event.name, event.done]), row.wrappers.includes('E') ? [[`compute_${method}`, true]] : []);
    t.is(w.nova.row(uuid)['vm_state'], 'active');
    t.is(await w.containers.view(uuid).then((view) => view.state), 'running');
    const mine = w.placement.allocations.get(uuid);
    switch (repair) {
      case 'detach volume': t.is(w.steps.count('BlockDeviceMapping.destroy'), 1); break;
      case undefined: t.truthy(mine?.[nodeUuid]);
    }
  });
}

test('a refusal stands though its repair fails', async (t) => {
  const w = await running();
  w.steps.fail('BlockDeviceMapping.destroy', new Error('the conductor is away'));
  await t.throwsAsync(w.send('attach_volume', { instance: w.instance(), ...reach['bdm'] }), { code: 'UNSUPPORTED' });
  t.is(w.steps.count('BlockDeviceMapping.destroy'), 1);
});

test('bad arguments: named, and nothing is done', async (t) => {
  const w = await running();
  w.nova.row(uuid)['task_state'] = 'powering-off';
  for (const [method, args, argument] of [
    ['stop_instance', { instance: w.instance() }, 'clean_shutdown'], ['stop_instance', { instance: w.instance(), clean_shutdown: true, more: 1 }, 'more'],
    ['stop_instance', { instance: 'x', clean_shutdown: true }, 'instance'], ['reboot_instance', { instance: w.instance(), block_device_info: null, reboot_type: 7 }, 'reboot_type'],
    ['build_and_run_instance', w.bootArgs({ image: 'x' }), 'image'], ['terminate_instance', { instance: w.instance({ uuid: 5 }), bdms: null }, 'instance.uuid'],
  ] as [string, Record<string, unknown>, string][]) {
    const error = await t.throwsAsync(w.send(method, args), { code: 'BAD_ARGUMENT' }) as HaulierError;
    t.regex(error.message, new RegExp(`${method}: argument ${argument.replace('.', '\\.')}`));
    t.is(error.nova.class, 'Invalid');
  }
  t.deepEqual([w.steps.seen, w.nova.faults, w.nova.events], [[], [], []]);
});

test('only methods of the table, not those of its prototype', async (t) => {
  const { compute } = await world();
  const endpoint = computeEndpoint(compute);
  t.deepEqual(['stop_instance', 'constructor', 'toString', 'no_such'].map((method) => endpoint.has(method)), [true, false, false, false]);
});

test('operations of one server run one after the other, events beside them', async (t) => {
  const w = await running();
  const stop = w.steps.block('containers.stopContainer');
  w.nova.row(uuid)['task_state'] = 'powering-off';
  const first = w.send('stop_instance', { instance: w.instance(), clean_shutdown: true });
  await stop.reached;
  const second = w.send('pause_instance', { instance: w.instance() });
  await w.event('network-changed', [...w.neutron.stored.keys()][0]!);
  t.is(w.steps.count('containers.pause'), 0);
  stop.release();
  await Promise.all([first, second]);
  t.is(w.steps.count('containers.pause'), 0, 'nobody wants it any more');
  t.deepEqual(w.containers.clashes, []);
});

test('v5: old names and argument lists reach the 6.x endpoint', async (t) => {
  const got: Record<string, unknown>[] = [];
  const current: Endpoint = { namespace: undefined, version: '6.5', has: () => true, handle: async (request) => void got.push(request.args) };
  const endpoint = v5Endpoint(current);
  const send = async (method: string, args: Record<string, unknown>): Promise<Record<string, unknown>> => {
    await endpoint.handle({ method, namespace: undefined, version: '5.0', args, context, isCall: false, signal: new AbortController().signal });
    return got.at(-1)!;
  };
  t.deepEqual(await send('resize_instance', { instance_type: 'f' }), { flavor: 'f', request_spec: null });
  t.deepEqual(await send('pre_live_migration', { instance: 1, block_migration: true }), { instance: 1 });
  t.deepEqual(await send('check_instance_shared_storage', { instance: 1, data: 2 }), { data: 2 });
  t.deepEqual(await send('build_and_run_instance', { instance: 1 }), { instance: 1, accel_uuids: null });
  t.deepEqual(await send('build_and_run_instance', { instance: 1, accel_uuids: ['a'] }), { instance: 1, accel_uuids: ['a'] });
  t.deepEqual(await send('unshelve_instance', { node: 'n' }), { node: 'n', accel_uuids: null, request_spec: null });
  t.deepEqual(await send('stop_instance', { instance: 1 }), { instance: 1 });
});

test('a recorded boot without accel_uuids, as 5.x sends it, is built', async (t) => {
  const w = await world();
  w.plugWhenAsked();
  const args = w.bootArgs();
  delete args['accel_uuids'];
  await v5Endpoint(computeEndpoint(w.compute)).handle({ method: 'build_and_run_instance', namespace: undefined, version: '5.13', args, context, isCall: false, signal: new AbortController().signal });
  t.is(w.nova.row(uuid)['vm_state'], 'active');
});

test('baseapi', async (t) => {
  const ask = (method: string, args: Record<string, unknown>): Promise<unknown> => baseEndpoint.handle({ method, namespace: 'baseapi', version: '1.0', args, context, isCall: true, signal: new AbortController().signal });
  t.deepEqual([await ask('ping', { arg: 'x' }), await ask('get_backdoor_port', {}), baseEndpoint.has('stop_instance')], [{ service: 'compute', arg: 'x' }, null, false]);
});

test('the recorded power messages do what their names say', async (t) => {
  const w = await running();
  const recorded = (method: string): Record<string, unknown> => {
    const found = ['stop', 'start', 'pause', 'unpause', 'reboot-soft', 'reboot-hard'].flatMap(messages).find((message) => message.method === method)!;
    return { ...found.args, instance: { ...(found.args['instance'] as Primitive), 'nova_object.data': { ...(found.args['instance'] as Primitive)['nova_object.data'], uuid, id: 2 } } };
  };
  for (const [method, task, vm, power, change] of [
    ['stop_instance', 'powering-off', 'stopped', 4, {}], ['start_instance', 'powering-on', 'active', 1, {}], ['pause_instance', 'pausing', 'paused', 3, {}],
    ['unpause_instance', 'unpausing', 'active', 1, {}], ['reboot_instance', 'rebooting', 'active', 1, { reboot_type: 'SOFT' }], ['reboot_instance', 'rebooting_hard', 'active', 1, { reboot_type: 'HARD' }],
  ] as [string, string, string, number, Record<string, unknown>][]) {
    w.nova.row(uuid)['task_state'] = task;
    await w.send(method, { ...recorded(method), ...change });
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], row['power_state']], [vm, null, power], method);
  }
  t.deepEqual(w.nova.faults, []);
  t.true(w.nova.events.every((event) => event.done && event.error === null));
});

test('a reboot that fails: error if the guest is down, only a fault if it runs', async (t) => {
  const w = await running();
  const reboot = (): Promise<unknown> => w.send('reboot_instance', { instance: w.instance(), block_device_info: null, reboot_type: 'HARD' });
  w.nova.row(uuid)['task_state'] = 'rebooting_hard';
  w.steps.fail('containers.stopContainer', new HaulierError('RUNTIME_FAILED', { action: 'stop', reason: 'x' }));
  await reboot();
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.faults.length], ['active', null, 1]);
  w.nova.row(uuid)['task_state'] = 'rebooting_hard';
  w.steps.fail('containers.startContainer', new HaulierError('RUNTIME_FAILED', { action: 'start', reason: 'x' }));
  await t.throwsAsync(reboot(), { code: 'RUNTIME_FAILED' });
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.faults.length], ['error', null, 2]);
});

test('a stop of a guest that is off accepts a cleared task state; a start does nothing then', async (t) => {
  const w = await running();
  await w.containers.stopContainer(uuid, { timeoutMs: 0, retryMs: 0 }, { throwIfAborted: () => undefined } as never);
  await w.send('stop_instance', { instance: w.instance(), clean_shutdown: true });
  t.is(w.nova.row(uuid)['vm_state'], 'stopped');
  w.steps.clear();
  await w.send('start_instance', { instance: w.instance() });
  t.deepEqual([w.steps.count('containers.startContainer'), w.nova.row(uuid)['vm_state']], [0, 'stopped']);
});

test('console and diagnostics', async (t) => {
  const w = await running();
  const text = (tail_length: unknown): Promise<unknown> => w.send('get_console_output', { instance: w.instance(), tail_length });
  t.deepEqual([await text(null), await text(0), await text(5)], ['l?g all\n', '', 'l?g 5\n']);
  const diagnostics = await w.send('get_instance_diagnostics', { instance: w.instance() }) as Primitive;
  t.deepEqual(['state', 'driver', 'num_cpus', 'config_drive'].map((field) => diagnostics['nova_object.data'][field]), ['running', 'libvirt', 1, false]);
  w.containers.made.clear();
  await t.throwsAsync(text(null), { code: 'INSTANCE_NOT_FOUND' });
});

test('enabling and disabling the host follows in the traits, and never fails', async (t) => {
  const w = await world();
  t.is(await w.send('set_host_enabled', { enabled: false }), 'disabled');
  t.true(w.placement.traits.has('COMPUTE_STATUS_DISABLED'));
  w.steps.fail('placement.setTraits', new Error('away'));
  t.is(await w.send('set_host_enabled', { enabled: true }), 'enabled');
});

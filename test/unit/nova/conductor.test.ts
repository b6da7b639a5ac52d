import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { adminContext } from '../../../src/messaging/context.js';
import { MessagingTimeout } from '../../../src/messaging/types.js';
import { NovaConductor } from '../../../src/nova/conductor.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';
import { FakeRpc, failure, type Step } from './fake-rpc.js';

const context = adminContext();
const timeout = (): MessagingTimeout => new MessagingTimeout('call', 'conductor', 60);
const pong = { service: 'conductor', arg: '1.21 GigaWatts' };

async function connected(version: number, ...script: Step[]): Promise<{ rpc: FakeRpc; conductor: NovaConductor }> {
  const rpc = new FakeRpc([pong, version, ...script]);
  const conductor = new NovaConductor(rpc, silentLog());
  await conductor.connect(new AbortController().signal);
  rpc.sent.length = 0;
  return { rpc, conductor };
}

function instance(fields: Record<string, unknown>, changes: Record<string, unknown> = {}, version = '2.8'): NovaObject {
  const object = new NovaObject('Instance', version);
  for (const [field, value] of Object.entries({ id: 7, uuid: 'u', ...fields })) object.load(field, value);
  for (const [field, value] of Object.entries(changes)) object.set(field, value);
  return object;
}

const primitive = (name: string, data: Record<string, unknown>): Primitive => ({ 'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': '1.0', 'nova_object.data': data });

test('connect pings until a conductor answers', async (t) => {
  const rpc = new FakeRpc([timeout(), timeout(), pong, timeout(), 74]);
  const conductor = new NovaConductor(rpc, silentLog());
  t.throws(() => conductor.release);
  await conductor.connect(new AbortController().signal);
  t.deepEqual(rpc.sent.map((call) => call.method), ['ping', 'ping', 'ping', 'object_class_action_versions', 'object_class_action_versions']);
  t.deepEqual([conductor.release, conductor.serviceVersion], ['2026.2', 74]);
});

test('connect ends with the signal', async (t) => {
  const abort = new AbortController();
  const conductor = new NovaConductor(new FakeRpc([() => { abort.abort(new Error('stopped')); return timeout(); }]), silentLog());
  await t.throwsAsync(conductor.connect(abort.signal), { message: 'stopped' });
});

test('in-between and unknown versions', async (t) => {
  for (const [version, release] of [[61, 'zed'], [66, 'zed'], [70, '2025.1'], [72, '2025.1'], [73, '2026.2'], [99, '2026.2']] as const) {
    const { conductor } = await connected(version);
    t.deepEqual([conductor.release, conductor.serviceVersion], [release, version]);
  }
  await t.throwsAsync(connected(52), { code: 'UNSUPPORTED' });
  const { conductor } = await connected(0, 0);
  t.is(conductor.release, 'zed');
});

test('reads are repeated once after a time-out, creations are not', async (t) => {
  const { rpc, conductor } = await connected(68, timeout(), null, timeout(), timeout(), timeout());
  t.is(await conductor.classCall(context, 'Service', 'get_by_host_and_binary', ['h', 'nova-compute']), null);
  await t.throwsAsync(conductor.classCall(context, 'Service', 'get_by_host_and_binary', ['h', 'nova-compute']), { name: 'MessagingTimeout' });
  await t.throwsAsync(conductor.objectCall(context, conductor.create('InstanceFault', { code: 500 }), 'create'), { name: 'MessagingTimeout' });
  t.is(rpc.sent.length, 5);
});

test('create takes the version of the release and leaves out what it does not have', async (t) => {
  const zed = (await connected(64)).conductor.create('Migration', { status: 'accepted', dest_compute_id: 3 });
  t.deepEqual([zed.version, zed.has('dest_compute_id')], ['1.7', false]);
  const epoxy = (await connected(68)).conductor.create('Migration', { status: 'accepted', dest_compute_id: 3 });
  t.deepEqual([epoxy.version, [...epoxy.whatChanged()]], ['1.8', ['status', 'dest_compute_id']]);
  await t.throwsAsync(async () => (await connected(64)).conductor.create('ShareMapping', {}), { code: 'UNSUPPORTED' });
});

test('a failed save keeps the changes, a good one takes obj_what_changed', async (t) => {
  const { conductor } = await connected(68, failure('InstanceNotFound'), [{ obj_what_changed: ['flavor'], updated_at: 'now' }, null]);
  const server = instance({}, { task_state: null });
  await t.throwsAsync(conductor.saveInstance(context, server), { name: 'InstanceNotFound' });
  t.deepEqual([...server.whatChanged()], ['task_state']);
  await conductor.saveInstance(context, server);
  t.deepEqual([...server.whatChanged()], ['flavor']);
  t.is(server.get('updated_at'), 'now');
});

test('nothing changed and nothing expected sends nothing', async (t) => {
  const { rpc, conductor } = await connected(68);
  await conductor.saveInstance(context, instance({ task_state: null }));
  t.is(rpc.sent.length, 0);
});

test('what changed while a save was under way stays and stays changed', async (t) => {
  const server = instance({ power_state: 0 }, { vm_state: 'active', task_state: 'spawning' });
  const { conductor } = await connected(68, () => {
    server.set('task_state', null);
    server.set('power_state', 1);
    return [{ obj_what_changed: [], task_state: 'spawning', power_state: 0, vm_state: 'active', host: 'h' }, null];
  });
  await conductor.saveInstance(context, server);
  t.deepEqual([server.get('task_state'), server.get('power_state'), server.get('host')], [null, 1, 'h']);
  t.deepEqual([...server.whatChanged()].sort(), ['power_state', 'task_state']);
});

test('a lost save that did happen is no failure', async (t) => {
  const stored = { uuid: 'u', task_state: 'spawning', launched_at: '2026-11-22T01:19:31Z', system_metadata: { a: '1', b: '2' } };
  const { rpc, conductor } = await connected(68, timeout(), failure('UnexpectedTaskStateError'), primitive('Instance', stored));
  const server = instance({}, { task_state: 'spawning', launched_at: '2026-11-22 01:19:31', system_metadata: { b: '2', a: '1' } });
  await conductor.saveInstance(context, server, { taskState: ['block_device_mapping'] });
  t.deepEqual([...server.whatChanged()], []);
  t.deepEqual(rpc.sent[0]?.args, rpc.sent[1]?.args);
  t.deepEqual(rpc.sent[2]?.args['kwargs'], { expected_attrs: ['system_metadata'] });
});

test('a lost save that did not happen fails as the conductor says', async (t) => {
  const { conductor } = await connected(68, timeout(), failure('UnexpectedTaskStateError'), primitive('Instance', { uuid: 'u', task_state: 'rebooting' }));
  const server = instance({}, { task_state: 'spawning' });
  await t.throwsAsync(conductor.saveInstance(context, server, { taskState: [null] }), { name: 'UnexpectedTaskStateError' });
  t.deepEqual([...server.whatChanged()], ['task_state']);
});

test('without a time-out, and when the server is being deleted, nothing is compared', async (t) => {
  const { rpc, conductor } = await connected(68, failure('UnexpectedTaskStateError'), timeout(), failure('UnexpectedDeletingTaskStateError'));
  const server = instance({}, { task_state: 'spawning' });
  await t.throwsAsync(conductor.saveInstance(context, server, { taskState: [null] }), { name: 'UnexpectedTaskStateError' });
  await t.throwsAsync(conductor.saveInstance(context, server, { taskState: [null] }), { name: 'UnexpectedDeletingTaskStateError' });
  t.is(rpc.sent.length, 3);
});

test('expectations: absent is no check, null in the list is None', async (t) => {
  const { rpc, conductor } = await connected(68, [{}, null], [{}, null]);
  await conductor.saveInstance(context, instance({}, { task_state: 'networking' }), { taskState: [null], vmState: ['building'] });
  t.deepEqual(rpc.sent[0]?.args['kwargs'], { expected_task_state: [null], expected_vm_state: ['building'] });
  await conductor.saveInstance(context, instance({}, { task_state: 'networking' }));
  t.deepEqual(rpc.sent[1]?.args['kwargs'], {});
});

test('node goes with compute_id since 2.8', async (t) => {
  const { rpc, conductor } = await connected(68, [{}, null], [{}, null]);
  await t.throwsAsync(conductor.saveInstance(context, instance({}, { node: 'n', host: 'h' })), { code: 'BAD_ARGUMENT' });
  await conductor.saveInstance(context, instance({ compute_id: 3 }, { node: 'n', host: 'h' }));
  t.deepEqual([...(rpc.sent[0]?.args['objinst'] as Primitive)['nova_object.changes'] ?? []].sort(), ['compute_id', 'host', 'node']);
  await conductor.saveInstance(context, instance({}, { node: 'n', host: 'h' }, '2.7'));
  t.deepEqual((rpc.sent[1]?.args['objinst'] as Primitive)['nova_object.changes'], ['node', 'host']);
});

test('one changed flavor takes all three along', async (t) => {
  const { rpc, conductor } = await connected(68, [{ obj_what_changed: [] }, null]);
  const flavor = NovaObject.from(primitive('Flavor', { vcpus: 1 }));
  await conductor.saveInstance(context, instance({ flavor, new_flavor: null }, { old_flavor: null }));
  const sent = rpc.sent[0]?.args['objinst'] as Primitive;
  t.deepEqual([...sent['nova_object.changes'] ?? []].sort(), ['flavor', 'new_flavor', 'old_flavor']);
});

test('a child with changes makes its parent changed, and a save settles it', async (t) => {
  const { conductor } = await connected(68, [{ obj_what_changed: [] }, null]);
  const cache = NovaObject.from(primitive('InstanceInfoCache', { network_info: '[]' }));
  const server = instance({ info_cache: cache });
  cache.set('network_info', '[1]');
  t.deepEqual([...server.whatChanged()], ['info_cache']);
  await conductor.saveInstance(context, server);
  t.false(server.isChanged() || cache.isChanged());
});

test('build_instances and casts go where they should', async (t) => {
  const { rpc, conductor } = await connected(68, undefined);
  await conductor.buildInstances(context, { instances: [instance({})] });
  t.deepEqual(rpc.sent[0]?.target, { topic: 'conductor', namespace: 'compute_task', version: '1.19' });
  t.is((rpc.sent[0]?.args['instances'] as Primitive[])[0]?.['nova_object.name'], 'Instance');
});

test('an answer that is no pair is refused', async (t) => {
  const { conductor } = await connected(68, null);
  await t.throwsAsync(conductor.objectCall(context, conductor.create('InstanceFault', {}), 'create'), { code: 'BAD_ARGUMENT' });
});

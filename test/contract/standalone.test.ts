/** The built-in conductor of the standalone mode answers recorded calls as the real one did: same shape, same keys, same failures. */
import test from 'ava';
import { Cell } from '../../devstack/standalone/cell/cell.js';
import { conductorEndpoints } from '../../devstack/standalone/cell/conductor.js';
import { cacheOf, columns, instanceRow, newInstanceRow } from '../../devstack/standalone/cell/instance-row.js';
import { newDevice } from '../../devstack/standalone/cell/network.js';
import { startAction } from '../../devstack/standalone/cell/records.js';
import { insertService } from '../../devstack/standalone/cell/services.js';
import type { Row } from '../../devstack/standalone/cell/table.js';
import { decodeFailure } from '../../src/messaging/failure.js';
import { chooseEndpoint } from '../../src/messaging/version.js';
import { RemoteFailure, type WireContext } from '../../src/messaging/types.js';
import { isPrimitive, type Primitive } from '../../src/nova/object.js';
import { recordings, type Recorded } from './recordings.js';

type Message = Recorded['body']['oslo.message'];

const flows = ['service-first-start', 'boot', 'stop', 'start', 'pause', 'unpause', 'reboot-soft', 'reboot-hard', 'console-output', 'vif-plugged', 'delete'];
/** Whether these differ from what the caller sent depends on the second in which it did. */
const ofTheClock = ['updated_at', 'last_seen_up'];

const dataOf = (value: unknown): Row => (value as Primitive)['nova_object.data'];
const contextOf = (message: Message): WireContext => Object.fromEntries(Object.entries(message).filter(([key]) => key.startsWith('_context_')).map(([key, value]) => [key.slice('_context_'.length), value]));

/** What the real database held when the call came: told by what the messages carry. */
function seed(cell: Cell, message: Message, found: unknown): void {
  const { args } = message;
  const object = args['objinst'] as Primitive | undefined;
  for (const instance of [args['instance'], ...((args['instances'] ?? []) as unknown[]), object]) if (isPrimitive(instance) && instance['nova_object.name'] === 'Instance') seedInstance(cell, dataOf(instance), object !== instance);
  const device = args['block_device_mapping'] ?? args['bdms'];
  if (isPrimitive(device)) for (const one of dataOf(device)['objects'] as Primitive[]) if (!cell.blockDevices.one({ id: dataOf(one)['id'] })) cell.blockDevices.insert(newDevice({ ...dataOf(one) }));
  if (object?.['nova_object.name'] === 'Service' && 'id' in dataOf(object) && !cell.services.one({ id: dataOf(object)['id'] })) cell.services.insert({ ...dataOf(object), report_count: 0 });
  if (object?.['nova_object.name'] === 'ComputeNode' && 'id' in dataOf(object) && !cell.nodes.one({ id: dataOf(object)['id'] })) cell.nodes.insert({ ...dataOf(object) });
  if (object?.['nova_object.name'] === 'InstanceInfoCache') {
    seedInstance(cell, { uuid: dataOf(object)['instance_uuid'] }, false);
    // recorded refreshes found nothing new
    if (args['objmethod'] === 'refresh') Object.assign(cacheOf(instanceRow(cell, dataOf(object)['instance_uuid'])), dataOf(object));
  }
  if (isPrimitive(found) && found['nova_object.name'] === 'ComputeNodeList') {
    for (const node of dataOf(found)['objects'] as Primitive[]) if (!cell.nodes.one({ id: dataOf(node)['id'] })) cell.nodes.insert({ ...dataOf(node) });
  }
  const uuid = (args['args'] as unknown[] | undefined)?.[0] ?? (args['kwargs'] as Row | undefined)?.['uuid'];
  if (typeof uuid === 'string' && /^[0-9a-f-]{36}$/.test(uuid)) seedInstance(cell, { uuid }, false);
  if (args['objmethod'] === 'get_by_compute_host' && !cell.services.one({ host: (args['args'] as unknown[])[0], binary: 'nova-compute' })) {
    insertService(cell, { host: (args['args'] as unknown[])[0], binary: 'nova-compute', topic: 'compute', version: 68 });
  }
  const context = contextOf(message);
  if (args['objname'] === 'InstanceActionEvent' && !cell.actions.one({ instance_uuid: uuid, request_id: context['request_id'] })) startAction(cell, context, uuid, 'recorded');
  if (args['objmethod'] === 'event_finish_with_failure') {
    const action = cell.actions.one({ instance_uuid: uuid, request_id: context['request_id'] });
    const about = { action_id: action?.['id'], event: (args['args'] as unknown[])[1] };
    if (!cell.events.one(about)) cell.events.insert({ ...about, finish_time: null });
  }
}

/** @param overwrite the API or the database said so: it is what is stored now */
function seedInstance(cell: Cell, data: Row, overwrite: boolean): void {
  const row = cell.instances.one({ uuid: data['uuid'] }, 'yes');
  const known = Object.fromEntries(Object.entries(data).filter(([name]) => name !== 'info_cache'));
  if (!row) cell.instances.insert(newInstanceRow(String(data['uuid']), known));
  else if (overwrite) Object.assign(row, Object.fromEntries(Object.entries(known).filter(([name]) => columns.includes(name))));
}

/** Names of what is in an answer, deep enough to compare: objects with their fields, lists by their first member. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.length > 0 ? [shape(value[0])] : [];
  if (!isPrimitive(value)) return value === null ? 'null' : 'value';
  return { name: value['nova_object.name'], version: value['nova_object.version'], fields: Object.keys(value['nova_object.data']).sort() };
}

async function ask(cell: Cell, message: Message): Promise<unknown> {
  const { method, version, namespace } = message;
  const endpoint = chooseEndpoint(conductorEndpoints(cell), { method, version, namespace });
  return endpoint.handle({ method, version, namespace, args: message.args, context: contextOf(message), isCall: true, signal: new AbortController().signal });
}

const replies = new Map(recordings().filter((message) => message.kind === 'reply').map((message) => [message.body['oslo.message']._msg_id, message.body['oslo.message']]));

for (const flow of flows) {
  test(`answers the calls of ${flow} as the real conductor`, async (t) => {
    const cell = new Cell();
    insertService(cell, { host: 'ctl', binary: 'nova-conductor', version: 68 });
    if (flow === 'service-first-start') insertService(cell, { host: 'other', binary: 'nova-compute', version: 68 });
    let count = 0;
    for (const { body: { 'oslo.message': message }, kind, routing_key: key } of recordings().filter((one) => one.flow === flow)) {
      if (kind === 'reply') continue;
      const reply = replies.get(message._msg_id);
      seed(cell, message, reply?.result);
      if (kind !== 'call' || key !== 'conductor' || !reply) continue;
      const what = `${flow}: ${message.method} ${String(message.args['objname'] ?? (message.args['objinst'] as Primitive | undefined)?.['nova_object.name'] ?? '')}.${String(message.args['objmethod'] ?? '')}`;
      count++;
      if (reply.failure) {
        const real = decodeFailure(String(reply.failure));
        const error = await t.throwsAsync(ask(cell, message), { instanceOf: RemoteFailure }, what);
        t.deepEqual([(error as RemoteFailure).failure.class, (error as RemoteFailure).failure.module], [real.failure.class, real.failure.module], what);
        t.is((error as RemoteFailure).failure.message, real.failure.message, what);
        continue;
      }
      const expected = reply.result;
      const answer = await ask(cell, message);
      if (message.method === 'object_action') {
        const [ours, result] = answer as [Row, unknown];
        const [real, realResult] = expected as [Row, unknown];
        const keys = (updates: Row): string[] => Object.keys(updates).filter((name) => !ofTheClock.includes(name)).sort();
        t.deepEqual(keys(ours), keys(real), what);
        t.deepEqual(ours['obj_what_changed'], real['obj_what_changed'], what);
        for (const name of keys(real)) t.deepEqual(shape(ours[name]), shape(real[name]), `${what} ${name}`);
        t.deepEqual(shape(result), shape(realResult), what);
      } else if (isPrimitive(expected) && 'objects' in dataOf(expected)) {
        t.like(shape(answer), { name: (expected as Primitive)['nova_object.name'], version: (expected as Primitive)['nova_object.version'] }, what);
      } else {
        t.deepEqual(shape(answer), shape(expected), what);
      }
    }
    t.true(count > 0, `${flow} holds calls`);
  });
}

const uuid = '56cab1b6-6fb9-447f-9482-9f3e2e18a7e3';

async function save(cell: Cell, changes: Row, kwargs: Row): Promise<unknown> {
  const objinst = { 'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', 'nova_object.version': '2.8', 'nova_object.data': { uuid, ...changes }, 'nova_object.changes': Object.keys(changes) };
  return ask(cell, { method: 'object_action', version: '3.0', args: { objinst, objmethod: 'save', args: [], kwargs } });
}

test('a save is refused as the real one refuses it', async (t) => {
  const cell = new Cell();
  await t.throwsAsync(save(cell, { task_state: null }, {}), { name: 'InstanceNotFound', message: `Instance ${uuid} could not be found.` });
  cell.instances.insert(newInstanceRow(uuid, { vm_state: 'active', task_state: 'pausing' }));
  const error = await t.throwsAsync(save(cell, { task_state: null }, { expected_task_state: ['powering-off'] }), { name: 'UnexpectedTaskStateError' });
  t.is(error.message, `Conflict updating instance ${uuid}. Expected: {'task_state': ['powering-off']}. Actual: {'task_state': 'pausing'}`);
  t.deepEqual((error as RemoteFailure).failure.kwargs, { instance_uuid: uuid, expected: { task_state: ['powering-off'] }, actual: { task_state: 'pausing' }, code: 500 });
  await t.throwsAsync(save(cell, { task_state: null }, { expected_vm_state: ['stopped'] }), { name: 'UnexpectedVMStateError' });
  await t.throwsAsync(save(cell, { node: 'n' }, {}), { name: 'ObjectActionError' });
  t.is(instanceRow(cell, uuid)['task_state'], 'pausing');
  instanceRow(cell, uuid)['task_state'] = 'deleting';
  await t.throwsAsync(save(cell, { task_state: null }, { expected_task_state: [null, 'pausing'] }), { name: 'UnexpectedDeletingTaskStateError' });
  await save(cell, { task_state: null }, { expected_task_state: 'deleting' });
  t.is(instanceRow(cell, uuid)['task_state'], null);
});

test('an older caller gets older objects, a newer one is refused', async (t) => {
  const cell = new Cell();
  cell.instances.insert(newInstanceRow(uuid, {}));
  const call = (version: string): Promise<unknown> => ask(cell, { method: 'object_class_action_versions', version: '3.0', args: { objname: 'Instance', objmethod: 'get_by_uuid', object_versions: { Instance: version }, args: [uuid], kwargs: { expected_attrs: [] } } });
  const old = (await call('2.7')) as Primitive;
  t.is(old['nova_object.version'], '2.7');
  t.false('compute_id' in old['nova_object.data']);
  t.true('compute_id' in ((await call('2.8')) as Primitive)['nova_object.data']);
  await t.throwsAsync(call('2.9'), { name: 'IncompatibleObjectVersion' });
});

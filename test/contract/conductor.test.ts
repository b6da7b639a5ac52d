import test from 'ava';
import { silentLog } from '../../src/base/log.js';
import { adminContext } from '../../src/messaging/context.js';
import type { RpcClient, Target, WireContext } from '../../src/messaging/types.js';
import { createComputeNode, type ComputeNodeValues } from '../../src/nova/compute-node.js';
import { NovaConductor } from '../../src/nova/conductor.js';
import { authorizeConsole, finishEvent, startEvent } from '../../src/nova/faults.js';
import { infoCache, networkInfoOf } from '../../src/nova/instance.js';
import { NovaObject, toWire, type Primitive } from '../../src/nova/object.js';
import { beat, createService, findService, minimumComputeVersion } from '../../src/nova/service.js';
import type { SaveExpectation } from '../../src/nova/types.js';
import { conductorCalls, normal, recordings, samples } from './recordings.js';

type Json = Record<string, unknown>;
interface Sent { target: Target; method: string; args: Json; context: WireContext }

/** A client that notes what is sent and answers with what it is told. */
class Replay implements RpcClient {
  readonly sent: Sent[] = [];
  answer: unknown = null;
  call(target: Target, method: string, args: Json, context: WireContext): Promise<unknown> {
    this.sent.push({ target, method, args, context });
    if (method === 'ping') return Promise.resolve({ service: 'conductor', arg: args['arg'] });
    if (args['objmethod'] === 'get_minimum_version' && (args['args'] as unknown[])[0] === 'nova-conductor') return Promise.resolve(68);
    return Promise.resolve(structuredClone(this.answer));
  }
  cast(target: Target, method: string, args: Json, context: WireContext): Promise<void> {
    this.sent.push({ target, method, args, context });
    return Promise.resolve();
  }
  fanout(target: Target, method: string, args: Json, context: WireContext): Promise<void> {
    return this.cast(target, method, args, context);
  }
  get last(): Sent {
    const last = this.sent.at(-1);
    if (!last) throw new Error('nothing was sent');
    return last;
  }
}

async function connected(): Promise<{ replay: Replay; conductor: NovaConductor; context: WireContext }> {
  const replay = new Replay();
  const conductor = new NovaConductor(replay, silentLog());
  await conductor.connect(new AbortController().signal);
  return { replay, conductor, context: adminContext() };
}

const calls = conductorCalls();

/** The first recorded call of `Object.method`. */
function recorded(name: string): { args: Json; result: unknown } {
  const [object, method] = name.split('.');
  for (const { request, result } of calls) {
    const { args } = request.body['oslo.message'];
    const objname = args['objname'] ?? (args['objinst'] as Primitive)['nova_object.name'];
    if (objname === object && args['objmethod'] === method) return { args, result };
  }
  throw new Error(`no recording of ${name}`);
}

/** Without marks of change: what came back is no longer changed. */
const unmarked = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (key, item: unknown) => (key === 'nova_object.changes' ? undefined : item)));
const withoutIds = (value: unknown): unknown => JSON.parse(JSON.stringify(normal(value)).replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID'));

test('the first messages are a ping and the release question', async (t) => {
  const { replay, conductor } = await connected();
  const ping = recordings().find((message) => message.body['oslo.message'].method === 'ping')?.body['oslo.message'];
  const [first, second] = replay.sent;
  t.deepEqual(first?.target, { topic: 'conductor', namespace: 'baseapi', version: '1.0' });
  t.deepEqual([first?.method, first?.args], [ping?.method, ping?.args]);
  t.deepEqual(second?.target, { topic: 'conductor', version: '3.0' });
  t.deepEqual(second?.args, { objname: 'Service', objmethod: 'get_minimum_version', object_versions: { Service: '1.22' }, args: ['nova-conductor'], kwargs: {} });
  t.is(conductor.release, '2025.1');
  t.is(conductor.serviceVersion, 68);
});

test('an admin context has the keys, order and values of a stock one', (t) => {
  const stock = recordings().find((message) => message.body['oslo.message'].method === 'ping')?.body['oslo.message'] ?? {};
  const expected = Object.entries(stock).filter(([key]) => key.startsWith('_context_')).map(([key, value]) => [key.slice('_context_'.length), value]);
  const shape = (entries: unknown[][]): unknown => entries.map(([key, value]) => [key, typeof value === 'string' ? value.replace(/[0-9a-f]/g, '0') : value]);
  t.deepEqual(shape(Object.entries(adminContext())), shape(expected));
  t.deepEqual(Object.keys(samples()['zed']?.['admin_context'] as object).sort(), Object.keys(adminContext()).sort());
});

test('every recorded class call is sent alike, manifest and all', async (t) => {
  const { replay, conductor, context } = await connected();
  let count = 0;
  for (const { request, result } of calls) {
    const { method, args } = request.body['oslo.message'];
    if (method !== 'object_class_action_versions') continue;
    count++;
    replay.answer = result;
    const answer = await conductor.classCall(context, String(args['objname']), String(args['objmethod']), args['args'] as unknown[], args['kwargs'] as Json);
    if (args['objmethod'] !== 'get_minimum_version') t.deepEqual(replay.last.args, args, `${request.flow} ${String(args['objname'])}.${String(args['objmethod'])}`);
    t.deepEqual(normal(toWire(answer)), normal(result));
  }
  t.true(count > 150, String(count));
});

test('every recorded instance method is sent alike, and its updates are taken over', async (t) => {
  const { replay, conductor, context } = await connected();
  let count = 0;
  for (const { request, result } of calls) {
    const { method, args } = request.body['oslo.message'];
    if (method !== 'object_action') continue;
    count++;
    replay.answer = result;
    const object = NovaObject.from(args['objinst'] as Primitive);
    const positional = args['args'] as unknown[];
    const kwargs = positional.length > 0 ? { ttl: positional[0] } : args['kwargs'] as Json;
    const answer = await conductor.objectCall(context, object, String(args['objmethod']), kwargs);
    t.deepEqual(normal(replay.last.args), normal({ ...args, args: [], kwargs }), `${request.flow} ${object.name}.${String(args['objmethod'])}`);
    const [updates, expected] = result as [Json, unknown];
    t.deepEqual(toWire(answer), expected);
    for (const [field, value] of Object.entries(updates)) if (field !== 'obj_what_changed') t.deepEqual(unmarked(toWire(object.get(field))), unmarked(value), field);
    t.deepEqual([...object.whatChanged()].sort(), [...updates['obj_what_changed'] as string[]].sort());
  }
  t.true(count > 150, String(count));
});

test('every recorded Instance.save goes out as a sparse part of the recorded one', async (t) => {
  const { replay, conductor, context } = await connected();
  const never = ['tags', 'ec2_ids', 'pci_devices', 'security_groups', 'services', 'fault'];
  let count = 0;
  for (const { request, result } of calls) {
    const { args } = request.body['oslo.message'];
    const stock = args['objinst'] as Primitive | undefined;
    if (stock?.['nova_object.name'] !== 'Instance' || args['objmethod'] !== 'save') continue;
    count++;
    replay.answer = result;
    const kwargs = args['kwargs'] as Json;
    const asList = (value: unknown): (string | null)[] | undefined => value === undefined || value === null ? undefined : [value].flat() as (string | null)[];
    const taskState = asList(kwargs['expected_task_state']);
    const expectation: SaveExpectation = taskState ? { taskState } : {};
    const instance = NovaObject.from(stock);
    const before = replay.sent.length;
    await conductor.saveInstance(context, instance, expectation);
    const changes = (stock['nova_object.changes'] ?? []).filter((field) => !never.includes(field) && field in stock['nova_object.data']);
    if (changes.length === 0 && !taskState) {
      t.is(replay.sent.length, before);
      continue;
    }
    const ours = replay.last.args['objinst'] as Primitive;
    t.deepEqual(replay.last.args['kwargs'], taskState ? { expected_task_state: taskState } : {});
    t.is(ours['nova_object.version'], stock['nova_object.version']);
    for (const [field, value] of Object.entries(ours['nova_object.data'])) t.deepEqual(normal(value), normal(stock['nova_object.data'][field]), field);
    for (const field of ['id', 'uuid', ...changes]) t.true(field in ours['nova_object.data'], field);
    const flavors = changes.some((field) => field.endsWith('flavor')) ? ['flavor', 'old_flavor', 'new_flavor'] : [];
    const place = changes.includes('node') ? ['compute_id'] : [];
    t.deepEqual([...(ours['nova_object.changes'] ?? [])].sort(), [...new Set([...changes, ...flavors, ...place])].sort());
  }
  t.true(count > 40, String(count));
});

test('Service: question, minimum, create and heartbeat are those of a first start', async (t) => {
  const { replay, conductor, context } = await connected();
  replay.answer = null;
  t.is(await findService(conductor, context, 'first'), undefined);
  t.deepEqual(replay.last.args, recorded('Service.get_by_host_and_binary').args);
  replay.answer = 68;
  t.is(await minimumComputeVersion(conductor, context), 68);
  t.deepEqual(replay.last.args, recorded('Service.get_minimum_version').args);
  const create = recorded('Service.create');
  replay.answer = create.result;
  const service = await createService(conductor, context, 'first');
  t.deepEqual(normal(replay.last.args), normal(create.args));
  t.false(service.isChanged());
  t.is(service.get('id'), (create.result as [Json])[0]['id']);
  const save = recorded('Service.save');
  replay.answer = save.result;
  await beat(conductor, context, service);
  const sent = replay.last.args['objinst'] as Primitive;
  t.deepEqual(sent['nova_object.changes'], (save.args['objinst'] as Primitive)['nova_object.changes']);
  t.deepEqual(Object.keys(sent['nova_object.data']).sort(), ['binary', 'host', 'id', 'report_count', 'uuid', 'version']);
  t.deepEqual({ ...replay.last.args, objinst: null }, { ...save.args, objinst: null });
  t.is(service.number('report_count'), 1);
});

test('ComputeNode.create carries what a stock one carries', async (t) => {
  const { replay, conductor, context } = await connected();
  const { args, result } = recorded('ComputeNode.create');
  replay.answer = result;
  const stock = (args['objinst'] as Primitive)['nova_object.data'];
  const specs = stock['supported_hv_specs'] as Primitive[];
  const values = {
    ...Object.fromEntries(Object.entries(stock).filter(([field]) => !['uuid', 'host', 'service_id', 'supported_hv_specs', 'numa_topology', 'cpu_allocation_ratio', 'ram_allocation_ratio', 'disk_allocation_ratio'].includes(field))),
    free_ram_mb: 1, free_disk_gb: 1, current_workload: 0, running_vms: 0,
    supported: specs.map((spec) => spec['nova_object.data']),
  } as unknown as ComputeNodeValues;
  const ratios = Object.fromEntries(['cpu_allocation_ratio', 'ram_allocation_ratio', 'disk_allocation_ratio'].map((field) => [field, stock[field]]));
  await createComputeNode(conductor, context, { uuid: String(stock['uuid']), host: String(stock['host']), serviceId: Number(stock['service_id']) }, values, ratios);
  const ours = replay.last.args['objinst'] as Primitive;
  for (const [field, value] of Object.entries(stock)) t.deepEqual(normal(ours['nova_object.data'][field]), normal(value), field);
  t.deepEqual([...(ours['nova_object.changes'] ?? [])].sort(), Object.keys(ours['nova_object.data']).sort());
  t.deepEqual({ ...replay.last.args, objinst: null }, { ...args, objinst: null });
});

test('events, info cache and console token are sent as recorded', async (t) => {
  const { replay, conductor, context } = await connected();
  const start = recorded('InstanceActionEvent.event_start');
  const [uuid, event] = start.args['args'] as [string, string];
  await startEvent(conductor, context, uuid, event, String((start.args['kwargs'] as Json)['host']));
  t.deepEqual(replay.last.args, start.args);
  await finishEvent(conductor, context, uuid, event);
  t.deepEqual(replay.last.args, recorded('InstanceActionEvent.event_finish_with_failure').args);
  const cache = recorded('InstanceInfoCache.save');
  replay.answer = cache.result;
  const stock = NovaObject.from(cache.args['objinst'] as Primitive);
  await conductor.objectCall(context, infoCache(conductor, stock.text('instance_uuid') ?? '', networkInfoOf(stock)), 'save');
  t.deepEqual(normal(replay.last.args), normal(cache.args));
  const token = recorded('ConsoleAuthToken.authorize');
  replay.answer = token.result;
  const data = (token.args['objinst'] as Primitive)['nova_object.data'];
  const answer = await authorizeConsole(conductor, context, String(data['instance_uuid']), { type: String(data['console_type']), host: String(data['host']), port: Number(data['port']), internalAccessPath: String(data['internal_access_path']), baseUrl: String(data['access_url_base']) }, 600);
  t.deepEqual(withoutIds(replay.last.args['objinst']), withoutIds(token.args['objinst']));
  t.is(answer.access_url, `${String(data['access_url_base'])}?token=${(token.result as unknown[])[1] as string}`);
  const reply = recordings().find((message) => message.flow === 'serial-console' && message.kind === 'reply' && message.from.startsWith('nova-compute'));
  t.deepEqual(Object.keys(answer).sort(), Object.keys(reply?.body['oslo.message'].result as object).sort());
});

test('scheduler casts are sent as recorded', async (t) => {
  const { replay, conductor, context } = await connected();
  for (const message of recordings().filter((recording) => recording.kind === 'fanout')) {
    const { method, args, version } = message.body['oslo.message'];
    await conductor.schedulerFanout(context, method as 'update_instance_info', args);
    t.deepEqual([replay.last.target, replay.last.method, replay.last.args], [{ topic: 'scheduler', version }, method, args]);
  }
});

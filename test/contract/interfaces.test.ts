/** Attaching and detaching interfaces: the answer has the form, and the records change in the order, that the real nova-compute's did. */
import test from 'ava';
import type { Primitive } from '../../src/nova/object.js';
import type { VifInfo } from '../../src/nova/network-info.js';
import { uuid, world, type World } from '../unit/compute/world.js';
import { recordings } from './recordings.js';

type Args = Record<string, unknown>;

/** A record that is made, changed or ended, with the fields that a new one has; undefined for reads and the service's own beats. */
function told(method: string, args: Args): string | undefined {
  const object = args['objinst'] as Primitive | undefined;
  if (method === 'object_class_action_versions' && args['objname'] === 'InstanceActionEvent') return `${String(args['objmethod'])} ${String((args['args'] as unknown[])[1])}`;
  if (method !== 'object_action' || !object || !['VirtualInterface', 'InstanceInfoCache'].includes(object['nova_object.name']) || args['objmethod'] === 'refresh') return undefined;
  const fields = args['objmethod'] === 'create' ? ` ${[...(object['nova_object.changes'] ?? [])].sort().join()}` : '';
  return `${object['nova_object.name']}.${String(args['objmethod'])}${fields}`;
}

/** Up to the end of the action, or all: a save that says the same again counts once. */
const once = (lines: readonly string[]): string[] => lines.filter((line, index) => lines[index - 1] !== line);

function recorded(flow: string): string[] {
  const ours = recordings().filter((message) => message.flow === flow && message.kind !== 'reply' && message.from.startsWith('nova-compute'));
  return once(ours.flatMap(({ body }) => told(body['oslo.message'].method, body['oslo.message'].args) ?? []));
}

function listen(w: World): string[] {
  const seen: string[] = [];
  const call = w.nova.call.bind(w.nova);
  w.nova.call = (target, method, args, context) => {
    const said = told(method, args);
    if (said) seen.push(said);
    return call(target, method, args, context);
  };
  return seen;
}

const request = (flow: string, method: string): Args => structuredClone(recordings().find((message) => message.flow === flow && message.body['oslo.message'].method === method)!.body['oslo.message'].args);

/** Which fields there are, and of which type. */
const shape = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.slice(0, 1).map(shape);
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, ['details', 'profile'].includes(key) ? 'any' : shape(item)]));
  return value === null ? 'null' : typeof value;
};

test('attach_interface', async (t) => {
  const w = await world();
  await w.boot();
  const seen = listen(w);
  const answer = (await w.send('attach_interface', { ...request('interface-attach', 'attach_interface'), instance: w.instance() })) as VifInfo;
  const flow = recorded('interface-attach');
  t.deepEqual(once(seen), flow.slice(0, flow.findIndex((line) => line.startsWith('event_finish')) + 1));
  const asked = recordings().find((message) => message.flow === 'interface-attach' && message.body['oslo.message'].method === 'attach_interface')!;
  const real = recordings().find((message) => message.kind === 'reply' && message.body['oslo.message']._msg_id === asked.body['oslo.message']._msg_id)!;
  t.deepEqual(shape(answer), shape(real.body['oslo.message'].result));
});

test('detach_interface', async (t) => {
  const w = await world();
  await w.boot();
  const { id } = (await w.send('attach_interface', { ...request('interface-attach', 'attach_interface'), instance: w.instance() })) as VifInfo;
  const seen = listen(w);
  await w.send('detach_interface', { instance: w.instance(), port_id: id });
  // the recording ends before the action's event does; the real one saves the cache for neutron's event first, in the middle of the detachment
  t.deepEqual(seen.slice(0, 3).sort(), recorded('interface-detach').sort());
  t.deepEqual(seen.slice(3), ['event_finish_with_failure compute_detach_interface']);
  t.is(w.nova.vifs.filter((vif) => vif['instance_uuid'] === uuid).length, 1);
});

/** The records of a move change in the order, and under the conditions, in which the real nova-compute changed them. */
import test from 'ava';
import { validateObject } from '../../src/nova/validate.js';
import type { Primitive } from '../../src/nova/object.js';
import { LiveHosts } from '../unit/compute/live-hosts.js';
import { TwoHosts, other } from '../unit/compute/two-hosts.js';
import { recordings } from './recordings.js';

type Args = Record<string, unknown>;

/** A save of a migration's status, or of an instance's states with what it expects; undefined for all other messages. */
function told(method: string, args: Args, expectations: boolean): string | undefined {
  const object = args['objinst'] as Primitive | undefined;
  if (method !== 'object_action' || args['objmethod'] !== 'save' || !object) return undefined;
  const changes = object['nova_object.changes'] ?? [];
  const data = object['nova_object.data'];
  if (object['nova_object.name'] === 'Migration' && changes.includes('status')) return `migration ${String(data['status'])}`;
  if (object['nova_object.name'] !== 'Instance' || !changes.includes('task_state')) return undefined;
  const expected = (args['kwargs'] as Args)['expected_task_state'];
  const states = `instance ${changes.includes('vm_state') ? String(data['vm_state']) : '-'}/${String(data['task_state'])}`;
  return expectations ? `${states} after ${JSON.stringify([expected].flat())}` : states;
}

const recorded = (flow: string, expectations = true): string[] => recordings().filter((message) => message.flow === flow && message.kind !== 'reply')
  .flatMap((message) => told(message.body['oslo.message'].method, message.body['oslo.message'].args, expectations) ?? []);

async function done(work: (it: TwoHosts, mark: () => void) => Promise<void>, expectations = true): Promise<string[]> {
  const it = await TwoHosts.begin();
  let seen: string[] = [];
  const call = it.w.nova.call.bind(it.w.nova);
  it.w.nova.call = (target, method, args, context) => {
    const said = told(method, args, expectations);
    if (said) seen.push(said);
    return call(target, method, args, context);
  };
  await work(it, () => { seen = []; });
  return seen;
}

test('resize', async (t) => {
  t.deepEqual(await done((it) => it.resize(other)), recorded('resize'));
});

test('cold migration, confirmed', async (t) => {
  const same = { flavor: { id: 1, vcpus: 1, root_gb: 1 } };
  t.deepEqual(await done((it) => it.resize(other, same)), recorded('cold-migrate'));
  t.deepEqual(await done(async (it, mark) => { await it.resize(other, same); mark(); await it.confirm(); }), recorded('cold-migrate-confirm'));
});

test('resize, reverted', async (t) => {
  // the last two saves are one here, which expects what the first of them does
  t.deepEqual(await done(async (it, mark) => { await it.resize(other); mark(); await it.revert(); }, false), recorded('resize-revert', false));
});

test('live migration', async (t) => {
  const live = await LiveHosts.begin();
  const seen: string[] = [];
  const call = live.w.nova.call.bind(live.w.nova);
  live.w.nova.call = (target, method, args, context) => {
    const said = told(method, args, true);
    if (said) seen.push(said);
    return call(target, method, args, context);
  };
  await live.migrate();
  t.deepEqual(seen, recorded('live-migration'));
});

test('migrate_data: what the real services put into it is there, for every port', async (t) => {
  const live = await LiveHosts.begin();
  const { 'nova_object.data': ours, ...head } = (await live.check()).toPrimitive();
  const real = recordings().find((message) => message.flow === 'live-migration' && message.body['oslo.message'].method === 'live_migration')!.body['oslo.message'].args['migrate_data'] as Primitive;
  const { 'nova_object.data': theirs } = real;
  t.like(head, { 'nova_object.name': real['nova_object.name'], 'nova_object.namespace': 'nova', 'nova_object.version': real['nova_object.version'] });
  for (const field of ['filename', 'image_type', 'disk_available_mb', 'is_shared_instance_path', 'is_shared_block_storage', 'is_volume_backed', 'vifs', 'pci_dev_map_src_dst']) t.deepEqual([field, typeof ours[field]], [field, typeof theirs[field]]);
  const [mine, other] = [ours, theirs].map((data) => (data['vifs'] as Primitive[])[0]!['nova_object.data']);
  const vif = (data: Record<string, unknown> | undefined): unknown => Object.keys(JSON.parse(String(data?.['source_vif'])) as object).sort();
  t.deepEqual([typeof mine?.['port_id'], vif(mine)], ['string', vif(other)]);
  validateObject((await live.check()).toPrimitive());
});

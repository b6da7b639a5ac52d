import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { createOpenstack } from '../../../src/openstack/openstack.js';
import { statusOf, typeOf } from '../../../src/openstack/rest-errors.js';
import { StandIn, type Reply, type Seen } from './stand-in.js';

const uuid = '704867c7-662c-40aa-88e6-db9a3b65e997';
const vcpu = { total: 8, reserved: 0, allocation_ratio: 4, min_unit: 1, max_unit: 8, step_size: 1 };

interface State { generation: number; name: string; inventories: Record<string, unknown>; traits: string[] }

/** A stand-in that keeps one provider as placement does, generations included. */
async function world(t: { teardown(fn: () => Promise<void>): void }, options: { provider?: State; known?: string[]; refresh?: number; before?: (seen: Seen, count: number) => Reply | undefined } = {}) {
  const server = await StandIn.start();
  const openstack = createOpenstack({ placement: server.section('placement'), neutron: server.section('neutron'), glance: { section: 'glance' }, associationRefreshSeconds: options.refresh }, silentLog());
  t.teardown(async () => {
    await openstack.close();
    await server.stop();
  });
  const state: { provider: State | undefined; known: string[] } = { provider: options.provider, known: options.known ?? ['COMPUTE_NODE', 'OWNER_NOVA'] };
  const conflict: Reply = { status: 409, body: { errors: [{ status: 409, title: 'Conflict', detail: 'resource provider generation conflict', code: 'placement.concurrent_update' }] } };
  server.handler = (seen) => {
    const early = options.before?.(seen, server.seen.length);
    if (early) return early;
    const path = seen.path.replace('/placement', '');
    const { provider } = state;
    if (path === '/traits') return { body: { traits: (seen.query[0]?.[1] ?? '').slice(3).split(',').filter((name) => state.known.includes(name)) } };
    if (path.startsWith('/traits/')) {
      state.known.push(path.slice(8));
      return { status: 201 };
    }
    if (path === '/resource_providers' && seen.method === 'GET') return { body: { resource_providers: provider ? [{ uuid, name: provider.name, generation: provider.generation }] : [] } };
    if (path === '/resource_providers') {
      state.provider = { generation: 0, name: (seen.body as { name: string }).name, inventories: {}, traits: [] };
      return { body: { ...(seen.body as object), generation: 0 } };
    }
    if (!provider) return { status: 404, body: { errors: [{ detail: 'No resource provider' }] } };
    const kind = path.endsWith('/traits') ? 'traits' : path.endsWith('/inventories') ? 'inventories' : undefined;
    if (!kind) return { body: { allocations: { c1: { resources: { VCPU: 1 } } }, resource_provider_generation: provider.generation } };
    if (seen.method === 'PUT') {
      const body = seen.body as State & { resource_provider_generation: number };
      if (body.resource_provider_generation !== provider.generation) return conflict;
      provider.generation++;
      if (kind === 'traits') provider.traits = body.traits;
      else provider.inventories = body.inventories;
    }
    return { body: { [kind]: provider[kind], resource_provider_generation: provider.generation } };
  };
  return { server, placement: openstack.placement, state };
}

const lines = (server: StandIn): string[] => server.seen.map((seen) => `${seen.method} ${seen.path.replace('/placement', '').replace(uuid, 'U')} ${String(seen.headers['openstack-api-version'] ?? '-').replace('placement ', '')}`);

test('a new provider: what is known from the answer is not asked for', async (t) => {
  const { server, placement, state } = await world(t);
  await placement.ensureProvider(uuid, 'first', { requestId: 'req-9' });
  await placement.setInventories(uuid, { VCPU: vcpu, DISK_GB: { ...vcpu, total: 0 } });
  t.deepEqual(await placement.setTraits(uuid, ['COMPUTE_NODE'], []), []);
  t.deepEqual(lines(server), ['GET /resource_providers 1.14', 'POST /resource_providers 1.20', 'PUT /resource_providers/U/inventories 1.26', 'GET /traits 1.6', 'PUT /resource_providers/U/traits 1.6']);
  t.is(server.seen[0]?.headers['x-openstack-request-id'], 'req-9');
  t.regex(String(server.seen[2]?.headers['x-openstack-request-id']), /^req-[0-9a-f-]{36}$/);
  t.deepEqual(state.provider, { generation: 2, name: 'first', inventories: { VCPU: vcpu }, traits: ['COMPUTE_NODE'] });
  await placement.ensureProvider(uuid, 'first');
  await placement.setInventories(uuid, { VCPU: { ...vcpu } });
  await placement.setTraits(uuid, ['COMPUTE_NODE'], ['COMPUTE_STATUS_DISABLED']);
  t.is(server.seen.length, 5, 'nothing changed, nothing sent');
});

test('the name belongs to another uuid, or the uuid has another name', async (t) => {
  const detail = 'There was a conflict when trying to complete your request.\n\n Conflicting resource provider name: first already exists.  ';
  const { placement } = await world(t, { before: (seen) => (seen.method === 'POST' ? { status: 409, body: { errors: [{ status: 409, title: 'Conflict', detail }] } } : undefined) });
  await t.throwsAsync(placement.ensureProvider(uuid, 'first'), { code: 'IDENTITY', message: /has the name first/ });
  const other = await world(t, { provider: { generation: 4, name: 'second', inventories: {}, traits: [] } });
  await t.throwsAsync(other.placement.ensureProvider(uuid, 'first'), { code: 'IDENTITY', message: /is named second, not first/ });
});

test('made by somebody else in between', async (t) => {
  const w = await world(t, {
    before: (seen) => {
      if (seen.method !== 'POST') return undefined;
      w.state.provider = { generation: 0, name: 'first', inventories: {}, traits: [] };
      return { status: 409, body: { errors: [{ status: 409, detail: `Conflicting resource provider uuid: ${uuid} already exists.` }] } };
    },
  });
  await w.placement.ensureProvider(uuid, 'first');
  t.is(w.server.seen.length, 3);
});

test('foreign traits stay, own ones come and go, custom ones are made, unknown ones returned', async (t) => {
  const { server, placement, state } = await world(t, { provider: { generation: 7, name: 'n', inventories: {}, traits: ['CUSTOM_OPERATOR', 'COMPUTE_STATUS_DISABLED'] } });
  t.deepEqual(await placement.setTraits(uuid, ['COMPUTE_NODE', 'CUSTOM_MINE', 'COMPUTE_FUTURE'], ['COMPUTE_STATUS_DISABLED']), ['COMPUTE_FUTURE']);
  t.deepEqual(state.provider?.traits, ['CUSTOM_OPERATOR', 'COMPUTE_NODE', 'CUSTOM_MINE']);
  t.true(lines(server).includes('PUT /traits/CUSTOM_MINE 1.6'));
  const sent = server.seen.length;
  t.deepEqual(await placement.setTraits(uuid, ['COMPUTE_NODE', 'CUSTOM_MINE', 'COMPUTE_FUTURE'], []), ['COMPUTE_FUTURE']);
  t.is(server.seen.length, sent);
});

test('a known trait that was deleted since is made again', async (t) => {
  let refuse = false;
  const { placement, state, server } = await world(t, {
    before: (seen) => {
      if (!refuse || seen.method !== 'PUT' || !seen.path.endsWith(`${uuid}/traits`)) return undefined;
      refuse = false;
      return { status: 400, body: { errors: [{ status: 400, detail: 'No such trait(s): CUSTOM_MINE.' }] } };
    },
  });
  await placement.ensureProvider(uuid, 'n');
  await placement.setTraits(uuid, ['CUSTOM_MINE'], []);
  refuse = true;
  await placement.setTraits(uuid, ['CUSTOM_MINE', 'COMPUTE_NODE'], []);
  t.deepEqual(state.provider?.traits, ['CUSTOM_MINE', 'COMPUTE_NODE']);
  t.false(refuse);
  t.is(server.seen.filter((seen) => seen.path.endsWith('/traits') && seen.method === 'PUT').length, 3);
});

test('a generation conflict is read again and redone, up to 4 times', async (t) => {
  const { server, placement, state } = await world(t, { provider: { generation: 1, name: 'n', inventories: {}, traits: [] } });
  await placement.setInventories(uuid, { VCPU: vcpu });
  if (state.provider) {
    state.provider.generation = 40;
    state.provider.traits = ['CUSTOM_X'];
  }
  await placement.setTraits(uuid, ['COMPUTE_NODE'], []);
  t.deepEqual(state.provider?.traits, ['CUSTOM_X', 'COMPUTE_NODE']);
  const always = await world(t, { provider: { generation: 1, name: 'n', inventories: {}, traits: [] }, before: (seen) => (seen.method === 'PUT' ? { status: 409, body: { errors: [{ status: 409, code: 'placement.concurrent_update', detail: 'no' }] } } : undefined) });
  const error = await t.throwsAsync(always.placement.setInventories(uuid, { VCPU: vcpu }), { code: 'REST_FAILED' });
  t.is(typeOf(error), 'placement.concurrent_update');
  t.is(always.server.seen.filter((seen) => seen.method === 'PUT').length, 5);
  t.true(server.seen.length > 0);
});

test('an answer that was lost: the repeat meets its own success', async (t) => {
  let lost = true;
  const { placement, state, server } = await world(t, { provider: { generation: 3, name: 'n', inventories: {}, traits: [] } });
  const { handler } = server;
  server.handler = async (seen) => {
    const reply = await handler(seen);
    if (seen.method !== 'PUT' || !lost) return reply;
    lost = false;
    return { destroy: true };
  };
  await placement.setInventories(uuid, { VCPU: vcpu });
  t.is(state.provider?.generation, 4);
  t.deepEqual(await placement.inventories(uuid), { VCPU: vcpu });
});

test('changes at the same time wait for each other', async (t) => {
  const { server, placement, state } = await world(t, { provider: { generation: 3, name: 'n', inventories: {}, traits: [] } });
  await Promise.all([placement.setInventories(uuid, { VCPU: vcpu }), placement.setTraits(uuid, ['COMPUTE_NODE'], []), placement.setTraits(uuid, ['OWNER_NOVA'], [])]);
  t.is(state.provider?.generation, 6);
  t.is(server.seen.filter((seen) => seen.method === 'PUT').length, 3);
});

test('a class that has allocations cannot go', async (t) => {
  const detail = 'Inventory for \'DISK_GB\' on resource provider \'x\' in use.';
  const { placement } = await world(t, {
    provider: { generation: 3, name: 'n', inventories: { VCPU: vcpu, DISK_GB: vcpu }, traits: [] },
    before: (seen) => (seen.method === 'PUT' ? { status: 409, body: { errors: [{ status: 409, detail, code: 'placement.inventory.inuse' }] } } : undefined),
  });
  const error = await t.throwsAsync(placement.setInventories(uuid, { VCPU: vcpu }), { code: 'REST_FAILED', message: /inventory of DISK_GB cannot be removed while servers have allocations/ });
  t.is(typeOf(error), 'placement.inventory.inuse');
});

test('what is known is read again after the refresh time, and after a failure', async (t) => {
  const { server, placement, state } = await world(t, { refresh: 2, provider: { generation: 3, name: 'n', inventories: { VCPU: vcpu }, traits: [] } });
  await placement.inventories(uuid);
  await placement.inventories(uuid);
  t.is(server.seen.length, 2);
  await new Promise((resolve) => setTimeout(resolve, 2200));
  await placement.inventories(uuid);
  t.is(server.seen.length, 4);
  state.provider = undefined; // an operator deleted it
  await new Promise((resolve) => setTimeout(resolve, 2200));
  t.is(statusOf(await t.throwsAsync(placement.setInventories(uuid, { VCPU: vcpu }))), 404);
  await placement.ensureProvider(uuid, 'n');
  await placement.setInventories(uuid, { VCPU: vcpu });
  t.deepEqual((state.provider as State | undefined)?.inventories, { VCPU: vcpu });
});

test('allocations', async (t) => {
  const answers: Reply[] = [{ status: 204 }, { status: 404 }, { status: 409, body: { errors: [{ code: 'placement.concurrent_update' }] } }, { status: 204 }, { status: 403, body: 'no' }];
  const { server, placement } = await world(t, { provider: { generation: 3, name: 'n', inventories: {}, traits: [] }, before: (seen) => (seen.method === 'DELETE' ? answers.shift() : undefined) });
  t.deepEqual(await placement.allocationsOf(uuid), { c1: { VCPU: 1 } });
  await placement.deleteAllocations('c1');
  await placement.deleteAllocations('c1');
  await placement.deleteAllocations('c1');
  t.is(statusOf(await t.throwsAsync(placement.deleteAllocations('c1'))), 403);
  t.is(server.seen.filter((seen) => seen.path.endsWith('/allocations/c1')).length, 5);
});

test('allocations move from one consumer to another', async (t) => {
  const consumers: Record<string, Record<string, unknown>> = {
    m: { allocations: { p: { resources: { VCPU: 1 }, generation: 3 } }, project_id: 'proj', user_id: 'user', consumer_generation: 2 },
  };
  const refusals: Reply[] = [];
  const { server, placement } = await world(t, {
    before: (seen) => {
      if (!seen.path.includes('/allocations')) return undefined;
      if (seen.method === 'GET') return { body: consumers[seen.path.split('/').at(-1) ?? ''] ?? { allocations: {} } };
      return refusals.shift() ?? { status: 204 };
    },
  });
  t.true(await placement.moveAllocations('m', 'i'));
  t.deepEqual(server.seen.at(-1)?.body, {
    m: { allocations: {}, project_id: 'proj', user_id: 'user', consumer_generation: 2 },
    i: { allocations: { p: { resources: { VCPU: 1 }, generation: 3 } }, project_id: 'proj', user_id: 'user', consumer_generation: null },
  });
  t.false(await placement.moveAllocations('nobody', 'i'));
  const conflict = (detail: string): Reply => ({ status: 409, body: { errors: [{ status: 409, detail, code: 'placement.concurrent_update' }] } });
  refusals.push(conflict('Inventory changed while attempting to allocate'));
  t.true(await placement.moveAllocations('m', 'i'));
  refusals.push(conflict('consumer generation conflict - expected 3 but got 2'));
  t.is(statusOf(await t.throwsAsync(placement.moveAllocations('m', 'i'))), 409);
  t.is(server.seen.filter((seen) => seen.method === 'POST').length, 4);
});

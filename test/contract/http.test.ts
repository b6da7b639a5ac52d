/**
 * The clients against recordings of a stock 2025.1 service (`wire/http`): for the calls that Haulier makes too, method, path, query,
 * microversion, body, request id and the presence of the service's token are equal to the recorded ones, and the recorded answers are understood.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { silentLog } from '../../src/base/log.js';
import { packageRoot } from '../../src/base/package-root.js';
import { createOpenstack, type Openstack } from '../../src/openstack/openstack.js';
import type { Identity, Inventory, Port, RequestScope } from '../../src/openstack/types.js';
import { StandIn, type Seen } from '../unit/openstack/stand-in.js';

interface Recorded {
  readonly host: string;
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly request: unknown;
  readonly status: number;
  readonly response: unknown;
}

/** What is compared. */
interface Essence {
  readonly method: string;
  readonly path: string;
  readonly query: readonly string[];
  readonly version: string | undefined;
  readonly contentType: string | undefined;
  readonly requestId: string | undefined;
  readonly serviceToken: boolean;
  readonly body: unknown;
}

function lowerCase(headers: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function essence(method: string, path: string, query: Iterable<readonly [string, string]>, headers: Readonly<Record<string, unknown>>, body: unknown): Essence {
  const text = (name: string): string | undefined => (typeof headers[name] === 'string' ? headers[name] : undefined);
  return {
    method,
    path,
    query: [...query].map(([name, value]) => `${name}=${value}`).sort(),
    version: text('openstack-api-version'),
    contentType: body === undefined ? undefined : text('content-type'),
    requestId: text('x-openstack-request-id'),
    serviceToken: headers['x-service-token'] !== undefined,
    body,
  };
}

function essenceOfRecorded(recorded: Recorded): Essence {
  const url = new URL(recorded.url);
  return essence(recorded.method, url.pathname, url.searchParams, lowerCase(recorded.headers), recorded.request ?? undefined);
}

const essenceOfSeen = (seen: Seen): Essence => essence(seen.method, seen.path, seen.query, seen.headers, seen.body);

/** The recorded calls of one host in one flow, without logins and discovery. */
function recording(flow: string, host: string): Recorded[] {
  return readFileSync(join(packageRoot, `test/contract/wire/http/${flow}.jsonl`), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Recorded)
    .filter((call) => call.host === host && new URL(call.url).port !== '5000' && call.headers?.['X-Auth-Token'] !== undefined);
}

interface Stage { readonly openstack: Openstack; readonly calls: readonly Recorded[]; scope(call: Recorded, kind: Identity['kind']): RequestScope }

/**
 * Plays the recorded answers to the clients and compares what they asked, call for call and in order, with the recorded calls
 * that `wanted` picks (those that Haulier makes too).
 */
async function replay(t: ExecutionContext, flow: string, host: string, wanted: (call: Essence, index: number) => boolean, work: (stage: Stage) => Promise<void>): Promise<void> {
  const server = await StandIn.start();
  const calls = recording(flow, host).filter((call, index) => wanted(essenceOfRecorded(call), index));
  const override = (section: string) => server.section(section, { endpointOverride: server.url });
  const openstack = createOpenstack({
    placement: override('placement'),
    neutron: override('neutron'),
    glance: override('glance'),
    serviceUser: server.section('service_user'),
    sendServiceUserToken: true,
  }, silentLog());
  t.teardown(async () => {
    await openstack.close();
    await server.stop();
  });
  const left = [...calls];
  server.handler = (seen) => {
    const next = left.shift();
    t.truthy(next, `not in the recording: ${seen.method} ${seen.path}`);
    if (!next) return { status: 500, body: 'not in the recording' };
    t.deepEqual(essenceOfSeen(seen), essenceOfRecorded(next));
    return { status: next.status, body: next.status === 204 ? undefined : next.response };
  };
  await work({
    openstack,
    calls,
    scope: (call, kind) => ({
      requestId: lowerCase(call.headers)['x-openstack-request-id'],
      signal: undefined,
      identity: kind === 'service' ? { kind } : { kind, token: 'users-token', catalog: [] },
    }),
  });
  t.deepEqual(left.map((call) => `${call.method} ${call.url}`), [], 'recorded, but not asked');
  const tokens = new Set(server.seen.map((seen) => seen.headers['x-auth-token']));
  t.false(tokens.has(undefined));
}

function bodyOf<T>(calls: readonly Recorded[], method: string, end: string): T {
  const call = calls.find((candidate) => candidate.method === method && new URL(candidate.url).pathname.endsWith(end));
  if (!call) throw new Error(`no ${method} of ${end} in the recording`);
  return call.request as T;
}

test('service-first-start: the whole registration with placement', async (t) => {
  await replay(t, 'service-first-start', 'first', () => true, async ({ openstack, calls, scope }) => {
    const [first] = calls;
    if (!first) throw new Error('empty recording');
    const at = scope(first, 'service');
    const provider = bodyOf<{ uuid: string; name: string }>(calls, 'POST', '/resource_providers');
    const { inventories } = bodyOf<{ inventories: Record<string, Inventory> }>(calls, 'PUT', '/inventories');
    const { traits } = bodyOf<{ traits: string[] }>(calls, 'PUT', '/traits');
    await openstack.placement.ensureProvider(provider.uuid, provider.name, at);
    t.deepEqual(await openstack.placement.allocationsOf(provider.uuid, at), {});
    await openstack.placement.setInventories(provider.uuid, inventories, at);
    t.deepEqual(await openstack.placement.setTraits(provider.uuid, traits, ['COMPUTE_STATUS_DISABLED'], at), []);
    t.deepEqual(await openstack.placement.inventories(provider.uuid, at), inventories);
  });
});

test('service-restart: what is there is read and not written again', async (t) => {
  const made = (call: Essence): boolean => !call.path.endsWith('/aggregates') && !call.path.startsWith('/allocations/') && !call.path.endsWith('/allocations');
  await replay(t, 'service-restart', 'fake1', made, async ({ openstack, calls, scope }) => {
    const [first, inventories, traits] = calls;
    if (!first || !inventories || !traits) throw new Error('empty recording');
    const at = scope(first, 'service');
    const [row] = (first.response as { resource_providers: { uuid: string; name: string }[] }).resource_providers;
    if (!row) throw new Error('no provider in the recording');
    await openstack.placement.ensureProvider(row.uuid, row.name, at);
    await openstack.placement.setInventories(row.uuid, (inventories.response as { inventories: Record<string, Inventory> }).inventories, at);
    t.deepEqual(await openstack.placement.setTraits(row.uuid, (traits.response as { traits: string[] }).traits, [], at), []);
  });
});

test('boot: port made as the user, bound as the service, network information read', async (t) => {
  // not made by Haulier: the consumer's allocations (nova reads them for a retry), lists of all networks, segments and provider fields apart
  const made = (call: Essence): boolean => !call.path.startsWith('/allocations/') && !/^\/v2\.0\/networks\//.test(call.path) && !call.query.some((item) => item.startsWith('shared='))
    // the periodic refresh of the same server runs in between, under another request id
    && call.requestId !== 'req-f440339c-c070-4dbc-bc84-fddd2c56b9d4';
  await replay(t, 'boot', 'fake2', made, async ({ openstack, calls, scope }) => {
    const [audit, network, create, , bind, list] = calls;
    if (!audit || !network || !create || !bind || !list) throw new Error('short recording');
    const provider = new URL(audit.url).pathname.split('/')[2] ?? '';
    const user = scope(network, 'user');
    const service = scope(bind, 'service');
    const { neutron } = openstack;
    const consumers = await openstack.placement.allocationsOf(provider, scope(audit, 'service'));
    t.deepEqual(Object.values(consumers), [{ DISK_GB: 1, MEMORY_MB: 128, VCPU: 1 }]);
    const [server] = Object.keys(consumers);
    const asked = create.request as { port: Record<string, unknown> };
    const [found] = await neutron.networks(user, { id: String(asked.port['network_id']) });
    t.is(found?.mtu, 1500);
    const port = await neutron.createPort(user, { device_id: server, network_id: found?.id, admin_state_up: true, tenant_id: asked.port['tenant_id'] });
    t.is(port['binding:vif_type'], 'unbound');
    t.true((await neutron.extensions(user)).has('binding'));
    const bound = await neutron.updatePort(service, port.id, { device_id: server, device_owner: 'compute:nova', 'binding:host_id': 'fake2' });
    t.is(bound['binding:vif_type'], 'ovs');
    const [listed] = await neutron.ports(service, { tenant_id: port.tenant_id, device_id: server ?? '' });
    const address = listed?.fixed_ips[0];
    t.deepEqual(listed, (list.response as { ports: Port[] }).ports[0]);
    t.deepEqual(await neutron.floatingIps(service, { fixed_ip_address: address?.ip_address ?? '', port_id: port.id }), []);
    const [subnet] = await neutron.subnets(service, { id: address?.subnet_id ?? '' });
    t.is(subnet?.cidr, '10.77.0.0/20');
    t.deepEqual(await neutron.ports(service, { network_id: port.network_id, device_owner: 'network:dhcp' }), []);
  });
});

test('delete: port and allocations go', async (t) => {
  await replay(t, 'delete', 'fake2', (call) => !(call.method === 'GET' && call.path.startsWith('/allocations/')), async ({ openstack, calls, scope }) => {
    const [list, , audit] = calls;
    if (!list || !audit) throw new Error('short recording');
    const at = scope(list, 'service');
    const server = new URL(list.url).searchParams.get('device_id') ?? '';
    const [port] = await openstack.neutron.ports(at, { device_id: server });
    t.truthy(port);
    await openstack.neutron.deletePort(at, port?.id ?? '');
    const consumers = await openstack.placement.allocationsOf(new URL(audit.url).pathname.split('/')[2] ?? '', at);
    t.deepEqual(Object.keys(consumers), [server]);
    await openstack.placement.deleteAllocations(server, at);
  });
});

test('resize-revert: allocations move from the migration back to the server', async (t) => {
  // nova reads the migration's allocations twice before it moves them; Haulier once
  const first = recording('resize-revert', 'fake2').findIndex((call) => new URL(call.url).pathname.startsWith('/allocations/'));
  const end = recording('resize-revert', 'fake2').findIndex((call) => call.method === 'POST');
  const made = (call: Essence, index: number): boolean => index > first && index <= end && call.path.startsWith('/allocations');
  await replay(t, 'resize-revert', 'fake2', made, async ({ openstack, calls, scope }) => {
    const [read, , move] = calls;
    if (!read || !move) throw new Error('short recording');
    const [from, to] = Object.keys(move.request as object);
    t.true(await openstack.placement.moveAllocations(from ?? '', to ?? '', scope(read, 'service')));
  });
});

test('rescue and unshelve: an image is read, an image is deleted', async (t) => {
  await replay(t, 'rescue', 'fake2', (call) => call.path.startsWith('/v2/images/'), async ({ openstack, calls, scope }) => {
    for (const call of calls) {
      const image = await openstack.glance.image(scope(call, 'user'), new URL(call.url).pathname.split('/').at(-1) ?? '');
      t.is(image.size, 1048576);
      t.is(image.os_hash_algo, 'sha512');
      t.deepEqual(Object.keys(image.properties), ['owner_specified.openstack.md5', 'owner_specified.openstack.object', 'owner_specified.openstack.sha256']);
    }
  });
  await replay(t, 'unshelve', 'fake2', (call) => call.path.startsWith('/v2/images/'), async ({ openstack, calls, scope }) => {
    const [call] = calls;
    if (!call) throw new Error('empty recording');
    await openstack.glance.deleteImage(scope(call, 'user'), new URL(call.url).pathname.split('/').at(-1) ?? '');
  });
});

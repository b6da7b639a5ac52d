import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { findEndpoint } from '../../../src/openstack/catalog.js';
import { createOpenstack, type OpenstackOptions } from '../../../src/openstack/openstack.js';
import { statusOf } from '../../../src/openstack/rest-errors.js';
import { identityUrl, loginBody } from '../../../src/openstack/token.js';
import { asService, asUser, StandIn } from './stand-in.js';

async function world(t: { teardown(fn: () => Promise<void>): void }, more: (server: StandIn) => Partial<OpenstackOptions> = () => ({})) {
  const server = await StandIn.start();
  const openstack = createOpenstack({ placement: server.section('placement'), neutron: server.section('neutron'), glance: { section: 'glance' }, ...more(server) }, silentLog());
  t.teardown(async () => {
    await openstack.close();
    await server.stop();
  });
  server.handler = ({ path }) => ({ body: path.includes('networks') ? { networks: [] } : path.includes('images') ? { id: 'i', status: 'active' } : { allocations: {} } });
  return { server, openstack };
}

test('the login, and where it goes', (t) => {
  const options = { section: 'x', username: 'nova', password: 'p', userDomainName: 'Default', projectName: 'service', projectDomainId: 'default' };
  t.deepEqual(loginBody(options), {
    auth: {
      identity: { methods: ['password'], password: { user: { name: 'nova', domain: { name: 'Default' }, password: 'p' } } },
      scope: { project: { name: 'service', domain: { id: 'default' } } },
    },
  });
  t.deepEqual(loginBody({ section: 'x', userId: 'u', password: 'p', systemScope: 'all' }), { auth: { identity: { methods: ['password'], password: { user: { id: 'u', password: 'p' } } }, scope: { system: { all: true } } } });
  for (const url of ['http://k:5000', 'http://k:5000/', 'http://k:5000/v3', 'http://k:5000/v3/', 'http://k:5000/v2.0']) t.is(identityUrl(url), 'http://k:5000/v3');
  t.is(identityUrl('http://k/identity'), 'http://k/identity/v3');
});

test('endpoints of both catalog forms', (t) => {
  const v3 = [{ type: 'network', endpoints: [{ interface: 'public', region: 'A', url: 'http://pub' }, { interface: 'internal', region: 'A', url: 'http://int' }, { interface: 'internal', region_id: 'B', url: 'http://b' }] }];
  t.is(findEndpoint(v3, { serviceType: 'network', interfaces: ['internal', 'public'], region: 'A' }), 'http://int');
  t.is(findEndpoint(v3, { serviceType: 'network', interfaces: ['public'], region: undefined }), 'http://pub');
  t.is(findEndpoint(v3, { serviceType: 'network', interfaces: ['internal'], region: 'B' }), 'http://b');
  t.is(findEndpoint(v3, { serviceType: 'network', interfaces: ['admin'], region: 'A' }), undefined);
  const context = [{ type: 'image', name: 'glance', endpoints: [{ region: 'RegionOne', publicURL: 'http://p', internalURL: 'http://i', adminURL: 'http://a' }] }];
  t.is(findEndpoint(context, { serviceType: 'image', interfaces: ['internal', 'public'], region: 'RegionOne' }), 'http://i');
  t.is(findEndpoint(context, { serviceType: 'image', interfaces: ['publicURL'], region: undefined }), 'http://p');
  t.is(findEndpoint([null, 3, { type: 'image' }], { serviceType: 'image', interfaces: ['internal'], region: undefined }), undefined);
});

test.serial('how long a token lasts is keystone\'s clock\'s business, whatever ours says', async (t) => {
  const { now } = Date;
  t.teardown(() => { Date.now = now; });
  for (const days of [1, -1]) {
    for (const [issued, date, logins] of [[true, false, 1], [false, true, 1], [false, false, 3]] as const) {
      Date.now = now;
      const { server, openstack } = await world(t);
      const at = Date.now();
      const login = server.login.bind(server);
      server.login = async (seen) => {
        const reply = await login(seen);
        const token = { ...(reply.body as { token: Record<string, unknown> }).token, expires_at: new Date(at + 3600_000).toISOString(), issued_at: issued ? new Date(at).toISOString() : undefined };
        return { ...reply, body: { token }, headers: { ...reply.headers, date: date ? new Date(at).toUTCString() : 'unknown' } };
      };
      Date.now = () => now() + days * 86_400_000;
      for (let n = 0; n < 3; n++) await openstack.neutron.networks(asService, {});
      t.is(server.logins.length, logins, `${days} ${issued} ${date}`);
    }
  }
});

test('one login for concurrent callers, and none while the token lasts', async (t) => {
  const { server, openstack } = await world(t);
  await Promise.all([1, 2, 3].map(() => openstack.neutron.networks(asService, {})));
  await openstack.neutron.networks(asService, {});
  t.is(server.logins.length, 1);
  t.deepEqual(server.seen.map((seen) => seen.headers['x-auth-token']), ['token-1', 'token-1', 'token-1', 'token-1']);
});

test('sections with the same credentials share a token; prefetch logs in ahead', async (t) => {
  const { server, openstack } = await world(t, (s) => ({
    placement: s.section('placement', { username: 'nova' }),
    neutron: s.section('neutron', { username: 'nova' }),
    serviceUser: s.section('service_user', { username: 'nova', authUrl: `${s.url}/identity/v3` }),
    sendServiceUserToken: true,
  }));
  await openstack.keystone.prefetch();
  t.is(server.logins.length, 1);
  await openstack.placement.allocationsOf('p');
  await openstack.neutron.networks(asService, {});
  t.is(server.logins.length, 1);
});

test('a token is renewed 60 s before its end', async (t) => {
  const { server, openstack } = await world(t);
  server.tokenSeconds = 120.6;
  const started = performance.now();
  const useUntil = (await openstack.keystone.requiredSource(server.section('neutron')).token()).useUntil;
  t.true(Math.abs(useUntil - started - 60_600) < 30_000);
});

test('a token that is about to end is not used', async (t) => {
  const { server, openstack } = await world(t);
  server.tokenSeconds = 0.4; // shorter than the margin: used for half its time
  await openstack.neutron.networks(asService, {});
  await new Promise((resolve) => setTimeout(resolve, 300));
  await openstack.neutron.networks(asService, {});
  t.is(server.logins.length, 2);
});

test('401: renewed once, then final', async (t) => {
  const { server, openstack } = await world(t);
  server.handler = ({ headers }) => (headers['x-auth-token'] === 'token-1' ? { status: 401, body: { error: { message: 'expired' } } } : { body: { networks: [] } });
  await openstack.neutron.networks(asService, {});
  t.is(server.logins.length, 2);
  server.handler = () => ({ status: 401, body: { error: { message: 'no' } } });
  t.is(statusOf(await t.throwsAsync(openstack.neutron.networks(asService, {}))), 401);
  t.is(server.logins.length, 3);
  t.is(server.seen.length, 4);
});

test('401 on a user\'s token is final', async (t) => {
  const { server, openstack } = await world(t);
  server.handler = () => ({ status: 401, body: 'Authentication required' });
  t.is(statusOf(await t.throwsAsync(openstack.neutron.networks(asUser('users'), {}))), 401);
  t.is(server.seen.length, 1);
});

test('a user\'s request carries the service user\'s token beside it, renewed after a 401', async (t) => {
  const { server, openstack } = await world(t, (s) => ({ serviceUser: s.section('service_user'), sendServiceUserToken: true }));
  server.login = ({ body }) => server.token(`${(body as { auth: { identity: { password: { user: { name: string } } } } }).auth.identity.password.user.name}-${server.logins.length}`);
  const catalog = [{ type: 'network', endpoints: [{ region: 'RegionOne', internalURL: server.url }] }];
  await openstack.neutron.networks(asUser('users', catalog), {});
  t.is(server.seen[0]?.headers['x-auth-token'], 'users');
  t.is(server.seen[0]?.headers['x-service-token'], 'service_user-1');
  t.is(server.logins.length, 1, 'the endpoint is from the user\'s catalog');
  server.handler = ({ headers }) => (headers['x-service-token'] === 'service_user-1' ? { status: 401 } : { body: { networks: [], allocations: {} } });
  await openstack.neutron.networks(asUser('users', catalog), {});
  t.is(server.seen.at(-1)?.headers['x-service-token'], 'service_user-2');
  await openstack.placement.allocationsOf('p');
  t.is(server.seen.at(-1)?.headers['x-service-token'], undefined, 'placement needs none');
});

test('KEYSTONE_REFUSED names the section that asked, never the password', async (t) => {
  const { server, openstack } = await world(t, (s) => ({ placement: s.section('placement', { username: 'nova' }), neutron: s.section('neutron', { username: 'nova' }) }));
  server.login = ({ body }) => ({ status: 401, body: { error: { code: 401, message: `The request you have made requires authentication: ${JSON.stringify(body)}` } } });
  for (const [section, call] of [['neutron', () => openstack.neutron.networks(asService, {})], ['placement', () => openstack.placement.allocationsOf('p')]] as const) {
    const error = await t.throwsAsync(call(), { code: 'KEYSTONE_REFUSED' });
    t.true(error?.message.includes(`[${section}]`));
    for (let at: unknown = error; at instanceof Error; at = at.cause) t.notRegex(`${at.message} ${String(at.stack)} ${JSON.stringify(at)}`, /hunter2/);
  }
  await t.throwsAsync(openstack.keystone.prefetch(), { code: 'KEYSTONE_REFUSED' });
});

test('keystone down: tried again with pauses', async (t) => {
  const { server, openstack } = await world(t);
  server.login = () => (server.logins.length < 3 ? { status: 503 } : server.token('late'));
  await openstack.neutron.networks(asService, {});
  t.is(server.seen[0]?.headers['x-auth-token'], 'late');
  const gone = createOpenstack({ placement: server.section('placement', { authUrl: 'http://127.0.0.1:1', retries: 0 }), neutron: server.section('neutron'), glance: { section: 'glance' } }, silentLog());
  const error = await t.throwsAsync(gone.keystone.prefetch(), { code: 'REST_UNREACHABLE' });
  t.regex(error?.message ?? '', /^keystone cannot be reached/);
  await gone.close();
});

test('a caller that gives up does not spoil the login of the others', async (t) => {
  const { server, openstack } = await world(t);
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => { go = resolve; });
  server.login = async () => {
    await gate;
    return server.token('t');
  };
  const abort = new AbortController();
  const first = openstack.neutron.networks({ ...asService, signal: abort.signal }, {});
  const second = openstack.neutron.networks(asService, {});
  abort.abort(new Error('enough'));
  await t.throwsAsync(first, { message: 'enough' });
  go();
  await second;
  t.is(server.logins.length, 1);
});

test('configuration', async (t) => {
  const server = await StandIn.start();
  t.teardown(() => server.stop());
  const make = (more: Partial<OpenstackOptions>) => () => createOpenstack({ placement: server.section('placement'), neutron: server.section('neutron'), glance: { section: 'glance' }, ...more }, silentLog());
  t.throws(make({ placement: { section: 'placement' } }), { code: 'CONFIG_INVALID', message: /\[placement\] auth_url/ });
  t.throws(make({ neutron: server.section('neutron', { authType: 'v3kerberos' }) }), { code: 'CONFIG_INVALID', message: /auth_type: v3kerberos/ });
  t.throws(make({ neutron: server.section('neutron', { cafile: '/nowhere.pem' }) }), { code: 'CONFIG_INVALID', message: /\[neutron\] cafile/ });
  const openstack = make({})();
  t.teardown(() => openstack.close());
  await t.throwsAsync(openstack.glance.image(asService, 'i'), { code: 'CONFIG_INVALID', message: /\[glance\] auth_url/ });
  server.handler = () => ({ body: { id: 'i', status: 'active' } });
  t.is((await openstack.glance.image(asUser('u'), 'i')).id, 'i', 'no catalog in the context: placement\'s serves');
  const nowhere = make({ neutron: server.section('neutron', { regionName: 'Elsewhere' }) })();
  t.teardown(() => nowhere.close());
  await t.throwsAsync(nowhere.neutron.networks(asService, {}), { code: 'REST_UNREACHABLE', message: /no internal or public endpoint of type network in region Elsewhere/ });
  const override = make({ neutron: server.section('neutron', { endpointOverride: `${server.url}/net/v2.0/` }) })();
  t.teardown(() => override.close());
  server.handler = () => ({ body: { networks: [] } });
  await override.neutron.networks(asService, {});
  t.is(server.seen.at(-1)?.path, '/net/v2.0/networks');
});

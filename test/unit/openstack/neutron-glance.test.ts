import { buffer } from 'node:stream/consumers';
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import { toImage } from '../../../src/openstack/glance.js';
import { createOpenstack } from '../../../src/openstack/openstack.js';
import { statusOf, typeOf } from '../../../src/openstack/rest-errors.js';
import { asService, asUser, StandIn } from './stand-in.js';

async function world(t: { teardown(fn: () => Promise<void>): void }) {
  const server = await StandIn.start();
  const openstack = createOpenstack({ placement: server.section('placement'), neutron: server.section('neutron'), glance: { section: 'glance', timeout: 5 } }, silentLog());
  t.teardown(async () => {
    await openstack.close();
    await server.stop();
  });
  const catalog = [{ type: 'image', name: 'glance', endpoints: [{ region: 'RegionOne', publicURL: 'http://127.0.0.1:1', internalURL: server.url }] }];
  return { server, ...openstack, user: asUser('users-token', catalog) };
}

test('neutron: refusals', async (t) => {
  const { server, neutron } = await world(t);
  const refuse = (status: number, type: string) => { server.handler = () => ({ status, body: { NeutronError: { type, message: `${type} it is`, detail: '' } } }); };
  refuse(404, 'PortNotFound');
  await t.throwsAsync(neutron.port(asService, 'p1'), { code: 'PORT_NOT_FOUND', message: /p1/ });
  await t.throwsAsync(neutron.updatePort(asService, 'p1', {}), { code: 'PORT_NOT_FOUND' });
  await neutron.deletePort(asService, 'p1');
  refuse(404, 'NetworkNotFound');
  await t.throwsAsync(neutron.createPort(asUser('u'), { network_id: 'n1' }), { code: 'NETWORK_NOT_FOUND', message: /n1/ });
  for (const type of ['IpAddressGenerationFailure', 'OverQuota', 'MacAddressInUse']) {
    refuse(409, type);
    const error = await t.throwsAsync(neutron.createPort(asUser('u'), { network_id: 'n1' }), { code: 'REST_FAILED' });
    t.true(error instanceof HaulierError && error.details['type'] === type);
    t.is(typeOf(error), type);
    t.is(statusOf(error), 409);
    t.is(error?.message, `neutron: POST /v2.0/ports answered 409: ${type} it is`);
  }
});

test('neutron: whose token, filters, extensions kept', async (t) => {
  const { server, neutron } = await world(t);
  server.handler = ({ path }) => ({ body: path.endsWith('extensions') ? { extensions: [{ alias: 'binding' }, { alias: 'dns-integration' }] } : path.endsWith('security-groups') ? { security_groups: [{ id: 'g', name: 'web' }] } : { ports: [{ id: 'p' }], networks: [], subnets: [], floatingips: [] } });
  await neutron.ports(asUser('users-token'), { device_id: 'd', id: ['a', 'b'] });
  t.is(server.seen[0]?.headers['x-auth-token'], 'users-token');
  t.deepEqual(server.seen[0]?.query, [['device_id', 'd'], ['id', 'a'], ['id', 'b']]);
  await neutron.ports(asService, {});
  t.is(server.seen[1]?.headers['x-auth-token'], 'token-1');
  const [one, two] = await Promise.all([neutron.extensions(asService), neutron.extensions(asUser('x'))]);
  t.true(one.has('dns-integration') && one === two);
  t.is(server.seen.filter((seen) => seen.path.endsWith('extensions')).length, 1);
  t.deepEqual(await neutron.securityGroups(asUser('x'), 'proj'), [{ id: 'g', name: 'web' }]);
  t.deepEqual(server.seen.at(-1)?.query, [['fields', 'id'], ['fields', 'name'], ['tenant_id', 'proj']]);
});

test('neutron: extensions that could not be read are asked for again', async (t) => {
  const { server, neutron } = await world(t);
  server.handler = () => ({ status: 500, body: 'no' });
  await t.throwsAsync(neutron.extensions(asService), { code: 'REST_FAILED' });
  server.handler = () => ({ body: { extensions: [] } });
  t.is((await neutron.extensions(asService)).size, 0);
});

test('glance: a record, with the properties apart', (t) => {
  t.deepEqual(
    toImage({ id: 'i', name: 'busybox', status: 'active', size: 12, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: 'c', os_hash_algo: 'sha512', os_hash_value: 'v', os_hidden: false, owner: 'o', visibility: 'public', protected: false, tags: [], created_at: 'x', updated_at: 'x', self: '/s', file: '/f', schema: '/v2/schemas/image', virtual_size: null, stores: 'a', os_admin_user: 'root', hw_disk_bus: 'virtio' }),
    { id: 'i', name: 'busybox', status: 'active', size: 12, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: 'c', os_hash_algo: 'sha512', os_hash_value: 'v', properties: { os_admin_user: 'root', hw_disk_bus: 'virtio' } },
  );
});

test('glance: download', async (t) => {
  const { server, glance, user } = await world(t);
  const data = Buffer.alloc(3_000_000, 'haul');
  server.handler = () => ({ headers: { 'content-type': 'application/octet-stream' }, body: data });
  t.true((await buffer(await glance.download(user, 'i'))).equals(data));
  t.is(server.seen[0]?.path, '/v2/images/i/file');
  t.is(server.seen[0]?.headers['x-auth-token'], 'users-token');
  t.is(server.logins.length, 0);
  server.handler = () => ({ status: 204 });
  await t.throwsAsync(glance.download(user, 'i'), { code: 'IMAGE_UNACCEPTABLE' });
  server.handler = () => ({ status: 404, body: '<html><body>404</body></html>' });
  await t.throwsAsync(glance.download(user, 'i'), { code: 'IMAGE_NOT_FOUND' });
  await t.throwsAsync(glance.image(user, 'i'), { code: 'IMAGE_NOT_FOUND' });
  await glance.deleteImage(user, 'i');
  server.handler = () => ({ status: 403, body: '<html><head><title>x</title></head><body>The requested image has been deactivated.</body></html>' });
  t.regex((await t.throwsAsync(glance.download(user, 'i')))?.message ?? '', /answered 403: The requested image has been deactivated/);
});

test('glance: a download that breaks off is an error; one that is given up frees its connection', async (t) => {
  const { server, glance, user } = await world(t);
  server.handler = ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this');
    setTimeout(() => socket.destroy(), 50);
    return new Promise(() => undefined);
  };
  await t.throwsAsync(async () => buffer(await glance.download(user, 'i')), { code: 'REST_UNREACHABLE', message: /download of image i broke off/ });
  server.handler = ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this');
    return new Promise(() => undefined);
  };
  const stream = await glance.download(user, 'i');
  const socket = server.seen.at(-1)?.socket;
  stream.destroy();
  await new Promise((resolve) => { socket?.once('close', resolve); });
  const abort = new AbortController();
  const aborted = buffer(await glance.download({ ...user, signal: abort.signal }, 'i'));
  abort.abort(new Error('enough'));
  await t.throwsAsync(aborted, { message: 'enough' });
});

/** Uploading to glance: properties, streaming, progress, and every way in which it can end badly. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { createOpenstack } from '../../../src/openstack/openstack.js';
import type { Glance } from '../../../src/openstack/types.js';
import { asUser, StandIn } from './stand-in.js';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A glance that the test plays itself: the stand-in reads a request whole before it answers. */
async function world(t: { teardown(fn: () => Promise<void>): void }, handler: Handler): Promise<{ glance: Glance; seen: IncomingMessage[]; user: ReturnType<typeof asUser> }> {
  const seen: IncomingMessage[] = [];
  const server: Server = createServer((request, response) => {
    seen.push(request);
    request.on('error', () => undefined);
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const keystone = await StandIn.start();
  const openstack = createOpenstack({ placement: keystone.section('placement'), neutron: keystone.section('neutron'), glance: { section: 'glance', timeout: 5, endpointOverride: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } }, silentLog());
  t.teardown(async () => {
    await openstack.close();
    await keystone.stop();
    server.closeAllConnections();
    server.close();
  });
  return { glance: openstack.glance, seen, user: asUser('users-token') };
}

const json = (response: ServerResponse, value: unknown): void => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
const chunk = Buffer.alloc(64 * 1024, 'haul');
/** A source that shows whether it was closed. */
function source(chunks: number, failAt?: number): Readable {
  async function* bytes(): AsyncGenerator<Buffer> {
    for (let sent = 0; sent < chunks; sent++) {
      if (sent === failAt) throw new Error('tar fell over');
      yield chunk;
    }
  }
  return Readable.from(bytes(), { objectMode: false });
}

test('properties go as a JSON patch', async (t) => {
  let body: unknown;
  const { glance, seen, user } = await world(t, (request, response) => void buffer(request).then((bytes) => {
    body = JSON.parse(bytes.toString());
    json(response, {});
  }));
  await glance.updateImage(user, 'i', { disk_format: 'raw', 'odd/name~': 'x' });
  t.like(seen[0], { method: 'PATCH', url: '/v2/images/i' });
  t.is(seen[0]?.headers['content-type'], 'application/openstack-images-v2.1-json-patch');
  t.deepEqual(body, [{ op: 'add', path: '/disk_format', value: 'raw' }, { op: 'add', path: '/odd~1name~0', value: 'x' }]);
});

test('bytes are streamed with the user\'s token, and progress is told', async (t) => {
  let got = 0;
  const { glance, seen, user } = await world(t, (request, response) => {
    request.on('data', (data: Buffer) => { got += data.length; });
    request.on('end', () => response.writeHead(204).end());
  });
  const told: number[] = [];
  const bytes = source(100);
  await glance.upload(user, 'i', bytes, (sent) => told.push(sent));
  t.is(got, 100 * chunk.length);
  t.is(told.at(-1), got);
  t.like(seen[0], { method: 'PUT', url: '/v2/images/i/file' });
  t.is(seen[0]?.headers['content-type'], 'application/octet-stream');
  t.is(seen[0]?.headers['x-auth-token'], 'users-token');
  t.true(bytes.destroyed);
});

test('a source that fails: its own error, and glance sees a broken request', async (t) => {
  let broken: Promise<unknown> | undefined;
  const { glance, user } = await world(t, (request) => {
    broken = new Promise((resolve) => { request.once('aborted', resolve).once('close', resolve); });
    request.resume();
  });
  await t.throwsAsync(glance.upload(user, 'i', source(10, 5)), { message: 'tar fell over' });
  await broken;
});

for (const [what, handler, expectation] of [
  ['glance cuts the connection', (request: IncomingMessage) => void request.once('data', () => request.socket.destroy()), { code: 'REST_UNREACHABLE' }],
  ['glance answers before the end', (request: IncomingMessage, response: ServerResponse) => void request.once('data', () => response.writeHead(413, { connection: 'close' }).end('<html><body>over quota</body></html>')), { code: 'REST_FAILED' }],
  ['the image was deleted meanwhile', (request: IncomingMessage, response: ServerResponse) => void request.resume().once('end', () => response.writeHead(410).end('gone')), { code: 'IMAGE_NOT_FOUND' }],
  ['glance fails at the end', (request: IncomingMessage, response: ServerResponse) => void request.resume().once('end', () => response.writeHead(503).end('full')), { code: 'REST_FAILED' }],
  ['the token is refused', (request: IncomingMessage, response: ServerResponse) => void request.resume().once('end', () => response.writeHead(401).end()), { code: 'REST_FAILED' }],
] as const) {
  test(`an upload ends once, and the source is closed: ${what}`, async (t) => {
    const { glance, seen, user } = await world(t, handler);
    const bytes = source(2000);
    await t.throwsAsync(glance.upload(user, 'i', bytes), expectation);
    t.is(seen.length, 1, 'never sent twice');
    t.true(bytes.destroyed);
  });
}

test('an upload that is given up', async (t) => {
  const abort = new AbortController();
  const { glance, user } = await world(t, (request) => void request.once('data', () => abort.abort(new Error('enough'))));
  const bytes = source(2000);
  await t.throwsAsync(glance.upload({ ...user, signal: abort.signal }, 'i', bytes), { message: 'enough' });
  t.true(bytes.destroyed);
});

test('images by property, all pages', async (t) => {
  const { glance, seen, user } = await world(t, (request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    const first = !url.searchParams.has('marker');
    json(response, { images: [{ id: first ? 'a' : 'b', status: 'active' }], ...(first ? { next: '/v2/images?marker=a' } : {}) });
  });
  t.deepEqual((await glance.images(user, { image_type: 'backup', instance_uuid: 'u' })).map((image) => image.id), ['a', 'b']);
  t.deepEqual([...new URL(seen[1]?.url ?? '', 'http://x').searchParams], [['image_type', 'backup'], ['instance_uuid', 'u'], ['sort_key', 'created_at'], ['sort_dir', 'desc'], ['limit', '100'], ['marker', 'a']]);
});

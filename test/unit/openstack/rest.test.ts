import { createServer } from 'node:net';
import test from 'ava';
import { queryString, rest, type RestRequest } from '../../../src/openstack/rest.js';
import { readRefusal, statusOf, typeOf } from '../../../src/openstack/rest-errors.js';
import { createTransport } from '../../../src/openstack/transport.js';
import { HaulierError } from '../../../src/base/errors.js';
import { StandIn } from './stand-in.js';

async function world(t: { teardown(fn: () => Promise<void>): void }, options: { timeout?: number } = {}) {
  const server = await StandIn.start();
  const transport = createTransport({ section: 'x', timeout: options.timeout ?? 5 });
  t.teardown(async () => {
    await transport.close();
    await server.stop();
  });
  const ask = (request: Partial<RestRequest>) => rest(transport, { service: 'svc', method: 'GET', endpoint: server.url, path: '/thing', ...request });
  return { server, transport, ask };
}

test('sends JSON, query, request id, and reads JSON', async (t) => {
  const { server, ask } = await world(t);
  server.handler = () => ({ status: 201, body: { a: 1 } });
  const answer = await ask({ method: 'POST', json: { b: 2 }, query: { id: ['1', '2'], name: 'in:A,B', shared: 'False' }, requestId: 'req-1', endpoint: `${server.url}/base/` });
  t.deepEqual(answer.body, { a: 1 });
  const [seen] = server.seen;
  t.is(seen?.path, '/base/thing');
  t.deepEqual(seen?.query, [['id', '1'], ['id', '2'], ['name', 'in:A,B'], ['shared', 'False']]);
  t.deepEqual(seen?.body, { b: 2 });
  t.is(seen?.headers['x-openstack-request-id'], 'req-1');
  t.is(seen?.headers['content-type'], 'application/json');
  t.is(queryString({ a: 'b c&d', k: 'x:y,z' }), '?a=b%20c%26d&k=x:y,z');
});

test('a kept connection that the server closed costs an idempotent request one repeat', async (t) => {
  const { server, ask } = await world(t);
  server.handler = () => ({ body: {} });
  await ask({});
  await new Promise((resolve) => setTimeout(resolve, 20)); // until undici has the connection back
  let cut = 0;
  server.handler = () => (cut++ === 0 ? { destroy: true } : { body: { ok: true } });
  t.deepEqual((await ask({ method: 'PUT', json: {} })).body, { ok: true });
  t.is(server.seen.length, 3);
  t.true(server.seen[0]?.socket === server.seen[1]?.socket, 'the connection was kept');
});

test('a POST goes on a connection of its own and is not repeated after it was sent', async (t) => {
  const { server, ask } = await world(t);
  server.handler = () => ({ body: {} });
  await ask({});
  await ask({ method: 'POST', json: {} });
  await ask({ method: 'POST', json: {} });
  t.is(new Set(server.seen.map((seen) => seen.socket)).size, 3);
  server.handler = () => ({ destroy: true });
  const error = await t.throwsAsync(ask({ method: 'POST', json: {} }), { code: 'REST_UNREACHABLE' });
  t.true(error instanceof HaulierError);
  t.is(server.seen.length, 4);
});

test('a POST survives servers that close every connection without saying so', async (t) => {
  const { server, ask } = await world(t);
  server.handler = ({ socket }) => {
    setImmediate(() => socket.end());
    return { body: {} };
  };
  for (let i = 0; i < 20; i++) await ask({ method: i % 2 ? 'POST' : 'GET', json: i % 2 ? {} : undefined });
  t.is(server.seen.filter((seen) => seen.method === 'POST').length, 10);
});

test('a connection that cannot be made is tried again, also for a POST', async (t) => {
  const probe = createServer();
  const port = await new Promise<number>((resolve) => probe.listen(0, '127.0.0.1', () => resolve((probe.address() as { port: number }).port)));
  await new Promise((resolve) => probe.close(resolve));
  const transport = createTransport({ section: 'x', timeout: 5 });
  t.teardown(() => transport.close());
  const started = performance.now();
  const error = await t.throwsAsync(rest(transport, { service: 'svc', method: 'POST', endpoint: `http://127.0.0.1:${port}`, path: '/', json: {}, retries: 2 }), { code: 'REST_UNREACHABLE' });
  t.true(performance.now() - started > 500, 'two pauses');
  t.regex(error?.message ?? '', /ECONNREFUSED/);
});

test('503: idempotent requests are repeated, others are not', async (t) => {
  const { server, ask } = await world(t);
  server.handler = () => (server.seen.length < 3 ? { status: 503, body: 'busy' } : { body: { ok: 1 } });
  t.deepEqual((await ask({})).body, { ok: 1 });
  t.is(server.seen.length, 3);
  server.handler = () => ({ status: 503, body: 'busy' });
  const error = await t.throwsAsync(ask({ method: 'POST', json: {} }));
  t.is(statusOf(error), 503);
  t.is(server.seen.length, 4);
  t.is(statusOf(await t.throwsAsync(ask({ retries: 1 }))), 503);
  t.is(server.seen.length, 6);
});

test('time-out and abort', async (t) => {
  const { server, ask } = await world(t, { timeout: 0.3 });
  server.handler = () => new Promise(() => undefined);
  const error = await t.throwsAsync(ask({}), { code: 'REST_UNREACHABLE' });
  t.regex(error?.message ?? '', /HEADERS_TIMEOUT/);
  t.is(server.seen.length, 1, 'an answer that takes too long is not asked for again');
  const abort = new AbortController();
  const reason = new Error('enough');
  setTimeout(() => abort.abort(reason), 50);
  t.is(await t.throwsAsync(ask({ signal: abort.signal })), reason);
  const during = new AbortController();
  server.handler = () => ({ status: 503, headers: { 'retry-after': '5' } });
  setTimeout(() => during.abort(reason), 50);
  t.is(await t.throwsAsync(ask({ signal: during.signal })), reason, 'also while it waits for a repeat');
});

test('secrets that the service repeats do not reach the error', async (t) => {
  const { server, ask } = await world(t);
  server.handler = ({ headers }) => ({ status: 400, body: { error: { message: `bad token ${String(headers['x-auth-token'])}`, code: 400 } } });
  const error = await t.throwsAsync(ask({ headers: { 'x-auth-token': 'gAAAAsecret' }, secrets: ['gAAAAsecret'] }));
  t.is(error?.message, 'svc: GET /thing answered 400: bad token ***');
  t.notRegex(JSON.stringify(error) + String(error?.stack), /gAAAAsecret/);
});

test('refusals of the services', (t) => {
  t.deepEqual(readRefusal({ NeutronError: { type: 'OverQuota', message: 'Quota exceeded for resources: [\'port\'].', detail: '' } }), { reason: 'Quota exceeded for resources: [\'port\'].', type: 'OverQuota' });
  t.deepEqual(readRefusal({ errors: [{ status: 409, title: 'Conflict', detail: 'There was a conflict.\n\n generation  ', code: 'placement.concurrent_update' }] }), { reason: 'There was a conflict. generation', type: 'placement.concurrent_update' });
  t.is(readRefusal('<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image &quot;x&quot;<br /><br />\n </body>\n</html>').reason, '404 Not Found No image "x"');
  t.is(readRefusal({ error: { code: 401, title: 'Unauthorized', message: 'The request you have made requires authentication.' } }).reason, 'The request you have made requires authentication.');
  t.is(readRefusal({ message: 'down' }).reason, 'down');
  t.is(readRefusal(undefined).reason, 'no reason given');
  t.is(typeOf(new Error('x')), undefined);
});

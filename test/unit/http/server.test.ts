/** What the HTTP side and the control socket answer. */
import { request } from 'node:http';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { HaulBoard } from '../../../src/haul/board.js';
import { silentLog } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import { Tally } from '../../../src/container/checkpoint/tally.js';
import { callService, listenToService, NoService, startControl } from '../../../src/http/control.js';
import { startHttp, type HttpServer, type HttpSources } from '../../../src/http/server.js';

async function serving(change: Partial<HttpSources> = {}): Promise<{ server: HttpServer; get: (path: string, method?: string) => Promise<{ status: number; body: unknown }> }> {
  const sources: HttpSources = {
    notReady: () => [], containers: async () => [], verdict: async () => { throw new HaulierError('INSTANCE_NOT_FOUND', { instance: 'x' }); }, operations: () => [], abilities: () => undefined, tally: new Tally(),
    figures: () => ({ requests: [], calls: [], ended: [], events: [], periodic: [], periodicCpu: [], heartbeatAge: undefined }), images: async () => [], hauls: new HaulBoard(), ...change,
  };
  const server = (await startHttp({ host: '127.0.0.1', port: 0 }, sources, silentLog()))!;
  return { server, get: async (path, method = 'GET') => { const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method }); const text = await answer.text(); return { status: answer.status, body: text.startsWith('{') ? JSON.parse(text) as unknown : text }; } };
}

test('healthz lives, readyz says why not', async (t) => {
  let reasons: string[] = ['still starting', 'no connection to the message broker'];
  const { server, get } = await serving({ notReady: () => reasons });
  t.deepEqual(await get('/healthz'), { status: 200, body: { status: 'ok' } });
  t.deepEqual(await get('/readyz'), { status: 503, body: { ready: false, reasons } });
  reasons = [];
  t.deepEqual(await get('/readyz'), { status: 200, body: { ready: true, reasons: [] } });
  await server.close();
});

test('containers, their verdict, and operations with step and progress', async (t) => {
  const view = { id: 'i', name: 'n', state: 'running', pid: 7, exitCode: undefined, startedAt: '2026-01-01T00:00:00Z' } as const;
  const operation = new Operation({ name: 'snapshot_instance', log: silentLog(), requestId: 'req-1', instance: 'i' });
  operation.step('upload');
  operation.progress = 0.25;
  const { server, get } = await serving({ containers: async () => [view], operations: () => [operation.view()] });
  t.deepEqual((await get('/containers')).body, { containers: [{ id: 'i', name: 'n', state: 'running', pid: 7, startedAt: view.startedAt }] });
  t.like(((await get('/operations')).body as { operations: object[] }).operations[0], { name: 'snapshot_instance', requestId: 'req-1', instance: 'i', step: 'upload', progress: 0.25 });
  t.deepEqual(await get('/containers/x/verdict'), { status: 404, body: { error: 'Instance x could not be found.' } });
  await server.close();
});

test('nothing else is there, nothing can be changed, and an error says nothing of the inside', async (t) => {
  const { server, get } = await serving({ containers: async () => { throw new Error('password hunter2'); } });
  t.is((await get('/')).status, 404);
  t.is((await get('/containers/../../etc/passwd')).status, 404);
  t.is((await get('/healthz', 'POST')).status, 405);
  t.deepEqual(await get('/containers'), { status: 500, body: 'Internal Server Error' });
  await server.close();
});

test('a port that is taken is not the service\'s end', async (t) => {
  const { server } = await serving();
  t.is(await startHttp({ host: '127.0.0.1', port: server.port }, undefined as never, silentLog()), undefined);
  await server.close();
});

test('control socket: root\'s alone; results, errors with advice, what is unknown or too much', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'control-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await t.throwsAsync(callService(folder, 'echo', {}), { instanceOf: NoService });
  const control = await startControl(folder, { echo: async (args) => args, fail: async () => { throw new HaulierError('INSTANCE_BUSY', { instance: 'i', operation: 'o' }); } }, silentLog());
  t.is((await stat(join(folder, 'control.sock'))).mode & 0o777, 0o600);
  t.deepEqual(await callService(folder, 'echo', { a: 1 }), { a: 1 });
  t.regex((await t.throwsAsync(callService(folder, 'fail', {})))!.message, /busy with o\nWait for the operation to end/);
  for (const name of ['unknown', 'constructor', '__proto__']) t.regex((await t.throwsAsync(callService(folder, name, {})))!.message, /no command/, name);
  const raw = (body: string): Promise<number | undefined> => new Promise((resolve, reject) => {
    const sent = request({ socketPath: join(folder, 'control.sock'), path: '/echo', method: 'POST' }, (response) => { response.resume(); resolve(response.statusCode); });
    sent.once('error', reject);
    sent.end(body);
  });
  t.is(await raw('{'), 500);
  t.is(await raw(JSON.stringify({ a: 'x'.repeat(100_000) })), 500);
  t.deepEqual(await callService(folder, 'echo', { still: 'there' }), { still: 'there' });
  await control.close();
});

const haulOf = (instance: string): Parameters<HaulBoard['begin']>[0] => ({ haul: 'h', instance, direction: 'out', peer: 'b', address: '192.0.2.1', port: 8791 });

test('hauls: as they are, and as a stream that ends with the reader', async (t) => {
  const hauls = new HaulBoard();
  const { server, get } = await serving({ hauls });
  const entry = hauls.begin(haulOf('i'));
  t.like(((await get('/hauls')).body as { hauls: object[] }).hauls[0], { instance: 'i', peer: 'b', direction: 'out', rounds: [] });
  t.is((await get('/hauls/watch', 'POST')).status, 405);
  const answer = await fetch(`http://127.0.0.1:${server.port}/hauls/watch?instance=i`);
  t.is(answer.headers.get('content-type'), 'application/x-ndjson');
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  t.like(JSON.parse((await reader.read()).value!), { instance: 'i', haul: 'h' });
  hauls.begin(haulOf('other'));
  entry.end({ error: new Error('no room'), aborted: false });
  t.like(JSON.parse((await reader.read()).value!), { instance: 'i', end: { result: 'failed', error: 'no room' } });
  await reader.cancel();
  await server.close();
});

test('control socket: a stream goes on until the caller has enough; the service\'s end ends it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'control-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const hauls = new HaulBoard();
  let over: (value: unknown) => void = () => undefined;
  const hungUp = new Promise((resolve) => { over = resolve; });
  const control = await startControl(folder, {}, silentLog(), {
    watch: (args, signal) => {
      signal.addEventListener('abort', over);
      return hauls.watch(signal, String(args['instance']));
    },
    wrong: () => { throw new HaulierError('INSTANCE_NOT_FOUND', { instance: 'x' }); },
  });
  hauls.begin(haulOf('a'));
  for await (const view of listenToService(folder, 'watch', { instance: 'a' })) {
    t.like(view as object, { instance: 'a' });
    break;
  }
  await hungUp;
  t.regex((await t.throwsAsync(listenToService(folder, 'wrong', {}).next()))!.message, /x could not be found/);
  const left = listenToService(folder, 'watch', { instance: 'a' });
  await left.next();
  const end = left.next().then(({ done }) => done, () => true); // the line is cut: an end either way
  await control.close();
  t.true(await end);
});

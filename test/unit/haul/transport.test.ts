import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectPlain, createServer } from 'node:net';
import { connect as connectTls, createServer as createTls } from 'node:tls';
import { readFileSync, rmSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { silentLog } from '../../../src/base/log.js';
import { openExamination, openHaul, type Peer } from '../../../src/haul/client.js';
import { examineThere, type Examined, type Question } from '../../../src/haul/examination.js';
import { HaulServer } from '../../../src/haul/server.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import type { ChannelOptions, HaulChannel } from '../../../src/haul/wire/channel.js';
import { greetClient } from '../../../src/haul/wire/greeting.js';
import { Authority } from '../../lib/certificates.js';

const authority = new Authority();
const stranger = new Authority();
process.on('exit', () => { for (const { folder } of [authority, stranger]) rmSync(folder, { recursive: true, force: true }); });
const files = { a: authority.host('host-a'), b: authority.host('host-b'), c: authority.host('host-c'), foreign: stranger.host('host-a'), expired: authority.host('host-old', -1) };
const instance = '11111111-2222-3333-4444-555555555555';

const settings = (host: string, of: (typeof files)['a'], change: Partial<HaulSettings> = {}): HaulSettings => ({ host, ...of, address: '127.0.0.1', port: 0, bandwidthMiB: 0, policy: { mode: 'auto', permitPostCopy: false }, ...change });
const source = settings('host-a', files.a);

async function destination(t: ExecutionContext, options: ChannelOptions = {}): Promise<{ server: HaulServer; peer: Peer }> {
  const server = new HaulServer(settings('host-b', files.b), silentLog(), options);
  await server.listen();
  t.teardown(() => server.close());
  return { server, peer: { host: 'host-b', address: '127.0.0.1', port: server.port } };
}

/** Both ends of a haul, and what became of the server's. */
async function haul(t: ExecutionContext, work: (channel: HaulChannel) => Promise<void>, options: { client?: ChannelOptions; server?: ChannelOptions; settings?: HaulSettings } = {}): Promise<{ channel: HaulChannel; ended: Promise<unknown> }> {
  const { server, peer } = await destination(t, options.server);
  let report: (result: unknown) => void;
  const ended = new Promise((resolve) => { report = resolve; });
  const { token } = server.expectHaul({ instance, peer: 'host-a', ttlMs: 600_000, onHaul: async (channel) => await work(channel).then(() => report('done'), (error: unknown) => { report(error); throw error; }) });
  return { channel: await openHaul(options.settings ?? source, peer, { token, instance }, options.client), ended };
}

test('messages both ways, then both are done', async (t) => {
  const { channel, ended } = await haul(t, async (there) => {
    const message = await there.receive(['offer']);
    there.send({ type: 'accept', of: message['what'] });
  });
  channel.send({ type: 'offer', what: 'x'.repeat(100_000) });
  t.is(String((await channel.receive(['accept']))['of']).length, 100_000);
  await channel.close();
  t.is(await ended, 'done');
  await t.throwsAsync(channel.receive(['more']), { code: 'HAUL_LOST' });
});

test('streams: several at once, whole, with head and digest, whatever the sizes of the pieces', async (t) => {
  const bodies = [0, 1, 300_000, 20_000_000].map((size) => randomBytes(size));
  const { channel, ended } = await haul(t, async (there) => {
    const got = await Promise.all(bodies.map(async (_, index) => {
      const stream = await there.acceptStream(`body${index}`);
      t.is(stream.head['size'], bodies[index]!.length);
      return await buffer(stream);
    }));
    got.forEach((body, index) => t.true(body.equals(bodies[index]!)));
    there.send({ type: 'got' });
  });
  await Promise.all(bodies.map(async (body, index) => await pipeline([body.subarray(0, 7), body.subarray(7)].filter((part) => part.length > 0), channel.openStream(`body${index}`, { size: body.length, digest: true }))));
  await channel.receive(['got']);
  await channel.close();
  t.is(await ended, 'done');
});

test('a stream that nobody reads stops its sender, and nothing else', async (t) => {
  let there: HaulChannel | undefined;
  const { channel } = await haul(t, async (server) => {
    there = server;
    for (;;) server.send({ type: 'echo', n: (await server.receive(['say']))['n'] });
  });
  const stream = channel.openStream('unread');
  let written = 0;
  void (async () => { for (; !stream.destroyed; written += 65_536) await new Promise((resolve) => stream.write(Buffer.alloc(65_536), resolve)); })();
  let last = -1;
  while (last !== written || written === 0) { last = written; await sleep(50); }
  t.true(written < 16 * 1024 * 1024, `${written} bytes went before it stood still`);
  for (let n = 0; n < 100; n++) {
    channel.send({ type: 'say', n });
    t.is((await channel.receive(['echo']))['n'], n);
  }
  // it is read at last: the rest flows
  const reader = await there!.acceptStream('unread');
  reader.resume();
  const before = written;
  while (written < before + 32 * 1024 * 1024) await sleep(10);
  stream.destroy();
  channel.abort(new Error('over'));
  t.pass();
});

test('a stream that is given up fails at the other end, either way; the haul goes on', async (t) => {
  const { channel, ended } = await haul(t, async (there) => {
    const broken = await there.acceptStream('broken');
    await t.throwsAsync(buffer(broken), { code: 'HAUL_ABORTED', message: /disk on fire/ });
    (await there.acceptStream('unwanted')).destroy(new Error('no room for it'));
    await there.receive(['bye']);
  });
  const broken = channel.openStream('broken');
  await new Promise((resolve) => broken.write('some', resolve));
  broken.destroy(new Error('disk on fire'));
  const unwanted = channel.openStream('unwanted');
  await t.throwsAsync(pipeline(async function* () { for (;;) yield await Promise.resolve(Buffer.alloc(100_000)); }, unwanted), { code: 'HAUL_ABORTED', message: /no room for it/ });
  channel.send({ type: 'bye' });
  await channel.close();
  t.is(await ended, 'done');
});

test('who gives up says why; streams and waits of both sides end with it', async (t) => {
  const { channel, ended } = await haul(t, async (there) => {
    await there.receive(['never']);
  });
  const stream = channel.openStream('some');
  channel.abort(new Error('operator said stop'));
  t.regex(String(await ended), /gave up: operator said stop/);
  await t.throwsAsync(channel.receive(['x']), { message: 'operator said stop' });
  t.true(stream.destroyed);
  t.throws(() => channel.openStream('more'), { message: 'operator said stop' });

  const other = await haul(t, async () => { throw new Error('no space'); });
  await t.throwsAsync(other.channel.receive(['x']), { code: 'HAUL_ABORTED', message: /no space/ });
});

test('a message of the wrong type ends the haul', async (t) => {
  const { channel, ended } = await haul(t, async (there) => void (await there.receive(['offer'])));
  channel.send({ type: 'commit' });
  t.regex(String(await ended), /message "commit" where offer was due/);
  await t.throwsAsync(channel.receive(['x']), { code: 'HAUL_ABORTED' });
});

/** A peer through which bytes can be held back or changed. */
async function relay(t: ExecutionContext, to: Peer, change: (chunk: Buffer) => Buffer | undefined): Promise<Peer> {
  const server = createServer((near) => {
    const far = connectPlain(to.port, to.address);
    for (const [from, into] of [[near, far], [far, near]] as const) {
      from.on('data', (chunk: Buffer) => { const out = change(chunk); if (out) into.write(out); });
      from.on('error', () => into.destroy());
      from.on('close', () => into.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  return { ...to, port: (server.address() as { port: number }).port };
}

for (const what of ['silence', 'tampering'] as const) {
  test(`a connection of which ${what} takes hold is lost, on both sides`, async (t) => {
    const timing = { aliveMs: 100, deadMs: 1000 };
    let cut = false;
    const { server, peer } = await destination(t, timing);
    let report: (result: unknown) => void;
    const ended = new Promise((resolve) => { report = resolve; });
    const { token } = server.expectHaul({ instance, peer: 'host-a', ttlMs: 600_000, onHaul: async (there) => await there.receive(['x']).then(report, report) });
    const through = await relay(t, peer, (chunk) => {
      if (!cut) return chunk;
      if (what === 'silence') return undefined;
      const bad = Buffer.from(chunk);
      bad[bad.length - 1]! ^= 1;
      return bad;
    });
    const channel = await openHaul(source, through, { token, instance }, timing);
    await sleep(2000); // signs of life keep it
    t.false(channel.signal.aborted);
    cut = true;
    channel.send({ type: 'late' });
    t.regex(String(await ended), /HAUL_LOST/);
    await t.throwsAsync(channel.receive(['y']), { code: 'HAUL_LOST' });
  });
}

test('compression, each side as it wants: whole, hashed and counted as it was, fewer bytes on the wire; noise, and an older side, get it plain', async (t) => {
  const words = Buffer.from('the same words again and again, '.repeat(200_000));
  const bodies = [words, words.subarray(0, 300_001), randomBytes(3_000_000)];
  const sent = async (from: HaulSettings, old: boolean): Promise<number> => {
    const { server, peer } = await destination(t);
    let report: (result: unknown) => void;
    const ended = new Promise((resolve) => { report = resolve; });
    const { token } = server.expectHaul({ instance, peer: 'host-a', ttlMs: 600_000, onHaul: async (there) => {
      for (const [index, body] of bodies.entries()) t.true((await buffer(await there.acceptStream(`body${index}`))).equals(body));
      report('done');
    } });
    const channel = await openHaul(from, peer, { token, instance });
    if (old) channel.mayPack(undefined);
    await Promise.all(bodies.map(async (body, index) => await pipeline([body], channel.openStream(`body${index}`, { digest: true }))));
    await channel.close();
    t.is(await ended, 'done');
    return channel.sentBytes;
  };
  const all = bodies.reduce((sum, { length }) => sum + length, 0);
  const on: HaulSettings = { ...source, compression: 'on' };
  t.true(await sent(on, false) < 3_300_000);
  t.true(await sent(on, true) >= all);
  t.true(await sent(source, false) >= all);
});

test('bandwidth is kept', async (t) => {
  const { channel, ended } = await haul(t, async (there) => void (await buffer(await there.acceptStream('slow'))), { client: { rate: new (await import('../../../src/haul/wire/rate.js')).RateLimit(10_000_000) } });
  const began = performance.now();
  await pipeline([Buffer.alloc(5_000_000)], channel.openStream('slow'));
  await channel.close();
  t.is(await ended, 'done');
  t.true(performance.now() - began > 400, '5 MB at 10 MB/s');
});

test('tokens: once, for one instance, from one host, in time', async (t) => {
  const { server, peer } = await destination(t);
  const expect = (change: object = {}) => server.expectHaul({ instance, peer: 'host-a', ttlMs: 600_000, onHaul: async () => undefined, ...change });
  const refused = { code: 'HAUL_REFUSED', message: /no such haul is expected/ };
  const open = async (token: string, from = source, of = instance) => await (await openHaul(from, peer, { token, instance: of })).close();

  const { token } = expect();
  t.regex(token, /^[\w-]{43}$/);
  await open(token);
  await t.throwsAsync(open(token), refused, 'a second time');
  await t.throwsAsync(open('x'.repeat(43)), refused, 'guessed');
  await t.throwsAsync(open(expect().token, source, instance.replace('1', '2')), refused, 'another instance');
  const stolen = expect().token;
  await t.throwsAsync(open(stolen, settings('host-c', files.c)), refused, 'another host of the deployment');
  await t.throwsAsync(open(stolen), refused, 'burnt by the attempt');
  const withdrawn = expect();
  withdrawn.cancel();
  await t.throwsAsync(open(withdrawn.token), refused, 'withdrawn');
  const short = expect({ ttlMs: 1 });
  await sleep(20);
  await t.throwsAsync(open(short.token), refused, 'too late');
});

test('certificates: only the deployment\'s, only the right host\'s, none expired, nothing below TLS 1.3', async (t) => {
  const { server, peer } = await destination(t);
  const { token } = server.expectHaul({ instance, peer: 'host-a', ttlMs: 600_000, onHaul: async () => undefined });
  const unreachable = { code: 'HAUL_UNREACHABLE' };
  const haulOf = { token, instance };
  await t.throwsAsync(openHaul(source, { ...peer, host: 'host-c' }, haulOf), { code: 'HAUL_UNREACHABLE', message: /its certificate is not that of host-c/ });
  await t.throwsAsync(openHaul({ ...source, ca: files.foreign.ca }, peer, haulOf), unreachable, 'a server of another authority');
  for (const [what, of] of [['of another authority', { ...files.foreign, ca: files.a.ca }], ['expired', files.expired]] as const) {
    const error = await t.throwsAsync(openHaul(settings('host-a', of), peer, haulOf), undefined, `a client's that is ${what}`);
    t.regex((error as { code?: string }).code ?? '', /HAUL_(UNREACHABLE|LOST)/);
  }
  await t.throwsAsync(openHaul({ ...source, cert: undefined }, peer, haulOf), { code: 'HAUL_OFF' });
  for (const options of [{ cert: undefined, key: undefined }, { maxVersion: 'TLSv1.2' }] as const) {
    const socket = connectTls({ port: peer.port, host: peer.address, ca: readFileSync(files.a.ca), cert: readFileSync(files.a.cert), key: readFileSync(files.a.key), checkServerIdentity: () => undefined, ...options });
    const error = await Promise.race([once(socket, 'error').then(([problem]) => problem as Error), once(socket, 'close').then(() => new Error('closed'))]).catch((problem: Error) => problem);
    t.truthy(error);
    socket.destroy();
  }
  await (await openHaul(source, peer, haulOf)).close();
});

test('nothing listens without certificates, and then nothing is expected', async (t) => {
  const server = new HaulServer({ ...settings('host-b', files.b), key: undefined }, silentLog());
  await t.throwsAsync(server.listen(), { code: 'HAUL_OFF' });
  t.throws(() => server.expectHaul({ instance, peer: 'host-a', ttlMs: 1, onHaul: async () => undefined }), { code: 'HAUL_OFF' });
  const missing = new HaulServer({ ...settings('host-b', files.b), key: '/nonexistent' }, silentLog());
  await t.throwsAsync(missing.listen(), { code: 'HAUL_OFF', message: /ENOENT/ });
});

test('nobody is there: said with name and address', async (t) => {
  const { server, peer } = await destination(t);
  await server.close();
  await t.throwsAsync(openHaul(source, peer, { token: 'x', instance }), { code: 'HAUL_UNREACHABLE', message: new RegExp(`host-b cannot be reached at 127.0.0.1:${peer.port}`) });
});

const question: Question = { instance, image: 'i', templates: [], facts: { criu: '4.2', runc: '1.3', kernel: '6.12', architecture: 'x64', cpuModel: 'm', cpuFlags: ['avx'] } };
const answer: Examined = { host: 'host-b', release: '1', misfits: [], memory: { tracksDirty: null, servesPages: 'no', takesPages: 'no' }, image: true, lackingTemplates: [], freeBytes: 7, present: false };

test('examination: a host of the deployment asks under its own name, and a question that is none is refused', async (t) => {
  const { server, peer } = await destination(t);
  await t.throwsAsync(examineThere(source, peer, question), { code: 'HAUL_REFUSED', message: /nobody answers/ });
  const asked: Question[] = [];
  server.onExamination(async (one) => { asked.push(one); return answer; });
  t.deepEqual(await examineThere(source, peer, question), answer);
  t.deepEqual(asked, [question]);
  await t.throwsAsync(examineThere(settings('host-c', files.a), peer, question), { code: 'HAUL_REFUSED', message: /not that of the host that asks/ });
  for (const wrong of [{}, { ...question, instance: '../x' }, { ...question, facts: undefined }, { ...question, templates: [1] }]) {
    const channel = await openExamination(source, peer, wrong as Record<string, unknown>);
    await t.throwsAsync(channel.receive(['examined']), { code: 'HAUL_ABORTED', message: /a question that is none/ });
  }
  t.is(asked.length, 1);
});

test('examination: an answer of another release is read with care, one that is none is refused', async (t) => {
  const { server, peer } = await destination(t);
  server.onExamination(async () => ({ ...answer, memory: undefined, more: 'x', misfits: ['y'.repeat(10_000)] }) as unknown as Examined);
  const read = await examineThere(source, peer, question);
  t.is(read.misfits[0]!.length, 500);
  t.is(read.memory.takesPages, 'it does not say that it can');
  t.false('more' in read);
  server.onExamination(async () => 'yes' as unknown as Examined);
  await t.throwsAsync(examineThere(source, peer, question), { code: 'HAUL_PROTOCOL' });
});

test('examination: a host of version 1.0 is not asked, and that is said', async (t) => {
  const old = createTls({ ca: readFileSync(files.b.ca), cert: readFileSync(files.b.cert), key: readFileSync(files.b.key), requestCert: true, minVersion: 'TLSv1.3' }, (socket) => {
    socket.on('error', () => undefined);
    void greetClient(socket, { major: 1, minor: 0 });
  });
  old.listen(0, '127.0.0.1');
  await once(old, 'listening');
  t.teardown(() => void old.close());
  const error = await t.throwsAsync(examineThere(source, { host: 'host-b', address: '127.0.0.1', port: (old.address() as { port: number }).port }, question), { code: 'HAUL_VERSION' });
  t.like((error as unknown as { details: object }).details, { theirs: '1.0' });
});

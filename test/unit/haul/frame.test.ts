import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { frameHeader, FrameReader, maxDataBytes, type Frame } from '../../../src/haul/wire/frame.js';
import { greetClient, greetServer, type Version } from '../../../src/haul/wire/greeting.js';
import { TokenBook } from '../../../src/haul/token.js';

const frame = (name: Parameters<typeof frameHeader>[0], stream: number, payload: Buffer): Buffer => Buffer.concat([frameHeader(name, stream, payload.length), payload]);

test('frames come out as they went in, in whatever pieces, data maybe in several', (t) => {
  const sent = [frame('message', 0, Buffer.from('{"type":"a"}')), frame('data', 7, Buffer.alloc(1000, 5)), frame('bye', 0, Buffer.alloc(0)), frame('end', 7, Buffer.alloc(8)), frame('data', 9, Buffer.from('x'))];
  const bytes = Buffer.concat(sent);
  for (const size of [1, 2, 3, 8, 9, 10, 11, 500, bytes.length]) {
    const reader = new FrameReader();
    const got: Frame[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      for (const part of reader.push(bytes.subarray(at, at + size))) {
        const before = got.at(-1);
        if (part.name === 'data' && before?.name === 'data' && before.stream === part.stream) got[got.length - 1] = { ...before, payload: Buffer.concat([before.payload, part.payload]) };
        else got.push(part);
      }
    }
    t.deepEqual(got.map(({ name, stream, payload }) => frame(name, stream, Buffer.from(payload))), sent, `pieces of ${size}`);
  }
});

test('frames that are too long or unknown end it; optional ones are skipped', (t) => {
  const header = (type: number, length: number): Buffer => {
    const bytes = Buffer.alloc(9);
    bytes.writeUInt8(type, 0);
    bytes.writeUInt32BE(length, 5);
    return bytes;
  };
  const refused = { code: 'HAUL_PROTOCOL' };
  t.throws(() => new FrameReader().push(header(3, maxDataBytes + 1)), refused);
  t.throws(() => new FrameReader().push(header(1, 0xffffffff)), refused);
  t.throws(() => new FrameReader().push(header(77, 0)), { ...refused, message: /unknown type 77/ });
  t.throws(() => new FrameReader().push(header(200, 100_000)), refused);
  t.throws(() => frameHeader('open', 1, 100_000), refused);
  t.deepEqual(new FrameReader().push(Buffer.concat([header(200, 3), Buffer.from('abc'), frame('ping', 0, Buffer.alloc(8))])).map(({ name }) => name), ['ping']);
});

async function pair(t: ExecutionContext): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [other] = (await once(server, 'connection')) as [Socket];
  t.teardown(() => { client.destroy(); other.destroy(); server.close(); });
  for (const socket of [client, other]) socket.on('error', () => undefined);
  return [client, other];
}

for (const [client, server, spoken] of [[{ major: 1, minor: 0 }, { major: 1, minor: 0 }, 0], [{ major: 1, minor: 9 }, { major: 1, minor: 0 }, 0], [{ major: 1, minor: 0 }, { major: 1, minor: 4 }, 0], [{ major: 1, minor: 3 }, { major: 1, minor: 4 }, 3], [{ major: 2, minor: 0 }, { major: 1, minor: 4 }, undefined], [{ major: 1, minor: 0 }, { major: 2, minor: 0 }, undefined]] as readonly [Version, Version, number | undefined][]) {
  test(`a client of ${client.major}.${client.minor} and a server of ${server.major}.${server.minor} ${spoken === undefined ? 'part, and both know why' : `speak 1.${spoken}`}`, async (t) => {
    const [near, far] = await pair(t);
    const results = await Promise.allSettled([greetServer(near, client), greetClient(far, server)]);
    for (const result of results) {
      if (spoken !== undefined) t.deepEqual(result, { status: 'fulfilled', value: { major: 1, minor: spoken } });
      else t.is(result.status === 'rejected' && (result.reason as { code: string }).code, 'HAUL_VERSION');
    }
  });
}

test('bytes right behind the greeting are kept for whoever reads next', async (t) => {
  const [near, far] = await pair(t);
  near.write(Buffer.concat([Buffer.from([1, 0]), Buffer.from('more')]));
  await greetClient(far, { major: 1, minor: 0 });
  const [rest] = (await once(far, 'data')) as [Buffer];
  t.is(rest.toString(), 'more');
});

test('a peer that goes instead of greeting is lost', async (t) => {
  const [near, far] = await pair(t);
  near.end();
  await t.throwsAsync(greetClient(far), { code: 'HAUL_LOST' });
});

test('the token book forgets in time', (t) => {
  let now = 0;
  const book = new TokenBook<string>(() => now);
  book.add('a', 'A', 10);
  const take = book.add('b', 'B', 20);
  t.is(book.size, 2);
  now = 10;
  t.is(book.use('a'), undefined);
  t.is(book.size, 1);
  take();
  t.is(book.use('b'), undefined);
});

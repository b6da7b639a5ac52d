import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough, Readable } from 'node:stream';
import test from 'ava';
import { writeMessage } from '../../../src/container/checkpoint/protobuf.js';
import { EarlyPages, earlyRanges, sendEarly } from '../../../src/haul/memory/early-pages.js';
import { PageDesk } from '../../../src/haul/memory/page-desk.js';
import { headerBytesOf, PieceReader, question, rangeOf, readQuestion, withRange, type HeaderBytes, type PageRange } from '../../../src/haul/memory/page-protocol.js';
import { relayPages } from '../../../src/haul/memory/relay.js';
import type { HaulChannel } from '../../../src/haul/wire/channel.js';

const page = 4096;
const sizes: readonly HeaderBytes[] = [24, 32];
const range = (pages: number, address = 0x7f00_0000_1000n, pid = 12): PageRange => ({ pid, address, pages });
const later = (address: bigint, pages: number): bigint => address + BigInt(pages * page);

/** A channel whose streams come out of its other end. */
function pair(): { readonly near: HaulChannel; readonly far: HaulChannel } {
  const [there, here] = [new Map<string, PassThrough>(), new Map<string, PassThrough>()];
  const of = (streams: Map<string, PassThrough>, name: string): PassThrough => {
    const known = streams.get(name) ?? new PassThrough();
    streams.set(name, known);
    return known;
  };
  const end = (out: Map<string, PassThrough>, into: Map<string, PassThrough>): HaulChannel =>
    ({ openStream: (name: string) => of(out, name), acceptStream: async (name: string) => of(into, name) }) as unknown as HaulChannel;
  return { near: end(there, here), far: end(here, there) };
}

/** criu's page server with a memory of its own: gives at most `most` pages at once. */
function pageServer(memory: ReadonlyMap<string, Buffer>, size: HeaderBytes, most: number, asked: PageRange[] = []): Duplex {
  const out = new PassThrough();
  let rest = Buffer.alloc(0);
  return Duplex.from({
    readable: out,
    writable: async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) {
        for (rest = Buffer.concat([rest, chunk]); rest.length >= size; rest = rest.subarray(size)) {
          const wanted = readQuestion(rest.subarray(0, size));
          if (!wanted) return void out.end('done');
          asked.push(wanted);
          const pages = Math.min(wanted.pages, most);
          out.write(withRange(rest.subarray(0, size), { ...wanted, pages }));
          for (let index = 0; index < pages; index++) out.write(memory.get(`${wanted.pid} ${later(wanted.address, index)}`) ?? Buffer.alloc(page));
        }
      }
      out.end();
    },
  });
}

test('a header is read as it was written, in both of its forms', (t) => {
  t.deepEqual([headerBytesOf('3.17.1'), headerBytesOf('4.1'), headerBytesOf('4.2'), headerBytesOf('4.2.1')], [24, 24, 32, 32]);
  for (const size of sizes) {
    const bytes = question(size, range(70_000));
    t.is(bytes.length, size);
    t.deepEqual(readQuestion(bytes), range(70_000));
    t.deepEqual(rangeOf(withRange(bytes, range(3, 4096n, 99))), range(3, 4096n, 99));
    bytes.writeUInt32LE(0x1023, 0);
    t.is(readQuestion(bytes), undefined);
  }
});

test('pieces are read whole however they come; an end within one is told', async (t) => {
  const bytes = randomBytes(1000);
  const reader = new PieceReader(Readable.from([bytes.subarray(0, 1), bytes.subarray(1, 500), bytes.subarray(500)]));
  t.deepEqual(Buffer.concat([await reader.take(10) ?? '', await reader.take(789) ?? '', await reader.take(201) ?? ''].map(Buffer.from)), bytes);
  t.is(await reader.take(1), undefined);
  const cut = new PieceReader(Readable.from([Buffer.alloc(5)]));
  await t.throwsAsync(cut.take(6), { code: 'HAUL_LOST' });
});

test('the smallest areas go ahead, and only those that the images leave out', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'haulier-pages-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const entry = (address: number, pages: number, flags: number, wide: boolean): Buffer => writeMessage([1, address], [2, wide ? 0 : pages], [4, flags], ...(wide ? [[5, pages] as const] : []));
  const image = (...messages: Buffer[]): Buffer => Buffer.concat([Buffer.from('1943565411000000', 'hex'), ...[writeMessage([1, 1]), ...messages].flatMap((message) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(message.length);
    return [length, message];
  })]);
  writeFileSync(join(folder, 'pagemap-1.img'), image(entry(0x1000, 900, 6, false), entry(0x900_000, 2, 6, true), entry(0xa00_000, 1, 4, true)));
  writeFileSync(join(folder, 'pagemap-7.img'), image(entry(0x5000, 3, 2, true), entry(0x10_000, 1, 1, true)));
  writeFileSync(join(folder, 'pagemap-shmem-9.img'), image(entry(0, 1, 2, true)));
  t.deepEqual(await earlyRanges(folder), [range(2, 0x900_000n, 1), range(3, 0x5000n, 7)]);
  t.deepEqual(await earlyRanges(folder, 905), [range(2, 0x900_000n, 1), range(3, 0x5000n, 7), range(900, 0x1000n, 1)]);
});

for (const size of sizes) {
  test(`headers of ${size} bytes: what went ahead is answered here, all else there, in order, in whatever pieces it comes`, async (t) => {
    const areas = [range(5), range(700, 0x10_0000n), range(40, 0x5000_0000n, 3)];
    const memory = new Map(areas.flatMap(({ pid, address, pages }) => Array.from({ length: pages }, (_, index) => [`${pid} ${later(address, index)}`, randomBytes(page)] as const)));
    const asked: PageRange[] = [];
    const criu = pageServer(memory, size, 64, asked);
    const { near, far } = pair();
    const early = new EarlyPages();
    const taken = early.receive(far, size);
    await sendEarly(near, criu, [areas[0]!, areas[2]!], size);
    await taken;
    asked.length = 0;

    const questions = [range(1), range(1, 0x10_0000n), range(9, later(areas[0]!.address, 2)), range(300, later(0x10_0000n, 5)), range(1, later(areas[0]!.address, 1)), range(64, 0x5000_0000n, 3), range(1)];
    const daemonOut = new PassThrough();
    const told = new PassThrough();
    const socket = Duplex.from({ readable: daemonOut, writable: told });
    const work = [relayPages(near, 'source', criu), relayPages(far, 'destination', socket, { desk: new PageDesk(early, size) })];
    const sent = Buffer.concat(questions.map((wanted) => question(size, wanted)));
    for (let at = 0; at < sent.length; at += 7) daemonOut.write(sent.subarray(at, at + 7));

    const reader = new PieceReader(told);
    const given: PageRange[] = [];
    for (const wanted of questions) {
      const answer = rangeOf((await reader.take(size))!);
      t.deepEqual([answer.pid, answer.address], [wanted.pid, wanted.address]);
      for (let index = 0; index < answer.pages; index++) t.true((await reader.take(page))!.equals(memory.get(`${wanted.pid} ${later(wanted.address, index)}`)!));
      given.push(answer);
    }
    t.deepEqual(given.map(({ pages }) => pages), [1, 1, 3, 64, 1, 40, 1]);
    t.deepEqual(asked, [questions[1], questions[3], questions[6]], 'only what is not here, or was given already, is asked for there');
    const close = question(size, range(0));
    close.writeUInt32LE(0x1023, 0);
    daemonOut.end(close);
    t.is((await reader.take(4))?.toString(), 'done');
    await Promise.all(work);
  });
}

test('pages that break off ahead do no harm: they are asked for', async (t) => {
  const { near, far } = pair();
  const early = new EarlyPages();
  const out = near.openStream('early-pages');
  out.write(withRange(question(32, range(2)), range(2)));
  out.end(Buffer.alloc(page));
  await early.receive(far, 32);
  t.is(early.answer(range(1)), undefined);
});

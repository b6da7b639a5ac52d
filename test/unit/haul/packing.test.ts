/** Compression on the wire: what is packed comes out as it was, only where it pays, and only to a side that says it can take it. */
import { randomBytes } from 'node:crypto';
import test from 'ava';
import { maxDataBytes } from '../../../src/haul/wire/frame.js';
import { Packer, paysOff, unpack, unpacks, WireMeter } from '../../../src/haul/wire/packing.js';

const text = Buffer.from('the same words again and again, '.repeat(10_000)).subarray(0, maxDataBytes);
const noise = randomBytes(maxDataBytes);

for (const algorithm of unpacks) {
  test(`${algorithm}: smaller, and whole again; what does not get smaller goes as it is`, async (t) => {
    const [packed, small, unpacked] = await new Packer(algorithm, 'on', () => undefined).pack([text, text.subarray(0, 100), noise]);
    t.true(packed!.length < text.length / 10);
    t.true(unpack(packed!).equals(text));
    t.deepEqual([small, unpacked], [undefined, undefined]);
  });

  test(`${algorithm}: a frame in which there is more than a frame may hold, one that is cut short, one of another kind`, async (t) => {
    const [bomb, good] = await new Packer(algorithm, 'on', () => undefined).pack([Buffer.alloc(maxDataBytes + 1), text]);
    t.throws(() => unpack(bomb!), { code: 'HAUL_DAMAGED' });
    t.throws(() => unpack(good!.subarray(0, 50)), { code: 'HAUL_DAMAGED' });
    t.throws(() => unpack(Buffer.concat([Buffer.of(99), text])), { code: 'HAUL_PROTOCOL' });
    t.throws(() => unpack(Buffer.alloc(0)), { code: 'HAUL_PROTOCOL' });
  });
}

test('brotli is everywhere, so any two hosts have one in common', (t) => {
  t.true(unpacks.includes('brotli'));
});

test('it pays where the wire is slower than the packing and the data get smaller', (t) => {
  const [MB, halved] = [1_000_000, { bytes: 1_000_000, packed: 500_000, ms: 5 }]; // 200 MB/s
  t.true(paysOff(halved, 0.1 * MB), '100 MB/s');
  t.false(paysOff(halved, MB), '1 GB/s');
  t.false(paysOff(halved, 0.19 * MB), 'hardly slower than the packing');
  t.false(paysOff(halved, undefined), 'nobody has waited for it');
  t.false(paysOff({ ...halved, packed: 950_000 }, 0.1 * MB), 'hardly smaller');
  t.false(paysOff({ bytes: 0, packed: 0, ms: 0 }, 1), 'nothing was tried');
});

/** A packer whose clock goes on by so many ms with each look, and what it packs. */
function auto(wire: () => number | undefined, msEach: number): { pack(piece: Buffer): Promise<boolean> } {
  let now = 0;
  const packer = new Packer('brotli', 'auto', wire, () => (now += msEach));
  return { pack: async (piece) => (await packer.pack([piece]))[0] !== undefined };
}

test('auto: nothing is tried while nobody waits for the wire; a slow one is noticed, a fast one again', async (t) => {
  let wire: number | undefined;
  const { pack } = auto(() => wire, 1); // 256 MB/s
  t.false(await pack(text));
  wire = 100_000;
  t.true(await pack(text), 'tried at once');
  t.true(await pack(text));
  t.false(await pack(noise), 'this one not');
  t.false(await pack(text), 'and so the next is not tried');
  for (let sent = maxDataBytes; sent < 16 * 1024 * 1024 - maxDataBytes; sent += maxDataBytes) t.false(await pack(text));
  t.true(await pack(text), 'until much has gone');
  wire = undefined;
  t.false(await pack(text));
});

test('auto: a packer that is slower than the wire is not used, and tried again sooner', async (t) => {
  const { pack } = auto(() => 1_000_000, 1);
  t.true(await pack(text), 'tried, and sent as it came out');
  for (let sent = maxDataBytes; sent < 2 * 1024 * 1024; sent += maxDataBytes) t.false(await pack(text));
  t.true(await pack(text));
  t.false(await pack(text));
});

test('auto: one moment without a processor does not end it', async (t) => {
  const waits = [1, 1, 1, 1, 10, 1, 1];
  const packer = new Packer('brotli', 'auto', () => 50_000, (() => { let [now, looks] = [0, 0]; return () => (now += looks++ % 2 === 1 ? waits[looks >> 1]! : 0); })());
  for (let count = 1; count < waits.length; count++) t.truthy((await packer.pack([text]))[0], String(count));
});

test('a packer only for a side that can unpack what this one packs, and only where it is wanted', (t) => {
  const wire = (): undefined => undefined;
  t.truthy(Packer.for(['lz77', 'brotli'], 'auto', wire));
  for (const theirs of [undefined, null, 'brotli', [], ['lz77']]) t.is(Packer.for(theirs, 'on', wire), undefined, 'an older release says nothing');
  t.is(Packer.for(['brotli'], 'off', wire), undefined);
});

test('the wire is measured while it keeps somebody waiting, and forgotten when it has not for long', (t) => {
  const meter = new WireMeter();
  t.is(meter.rate(0), undefined);
  t.is(meter.rate(70), 70, 'the operator\'s limit');
  meter.drained(1000, 10);
  t.is(meter.rate(0), 100);
  t.is(meter.rate(70), 70);
  meter.sent(64 * 1024 * 1024);
  t.is(meter.rate(0), 100);
  meter.sent(1);
  t.is(meter.rate(0), undefined);
  for (let count = 0; count < 50; count++) meter.drained(1000, 100);
  t.true(Math.abs(meter.rate(0)! - 10) < 0.1);
});

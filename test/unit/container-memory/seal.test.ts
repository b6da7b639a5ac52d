/** The seal of a snapshot with memory: what was sealed comes out again, and nothing else ever does. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { addKey, parseKeys, readKeyRing, snapshotKey, type KeyRing } from '../../../src/container/memory-image/keys.js';
import { RecordReader, writeRecords } from '../../../src/container/memory-image/records.js';
import { isSealed, seal, sealHeadBytes, unsealed } from '../../../src/container/memory-image/seal.js';

const key = snapshotKey(randomBytes(32));
const ring: KeyRing = [key];
const chunkLog = 6;
const chunkBytes = 2 ** chunkLog;
const sealedChunk = chunkBytes + 16;

async function* inParts(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

const sealBytes = (plain: Buffer, part = 100): Promise<Buffer> => collect(seal(key, inParts(plain, part), chunkLog));
const open = (sealed: Buffer, keys = ring, part = 33): Promise<Buffer> => collect(unsealed(keys, inParts(sealed, part), 'i'));

test('what goes in comes out, at every length around the chunks', async (t) => {
  for (const length of [0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3 * chunkBytes, 5 * chunkBytes + 7]) {
    const plain = randomBytes(length);
    const sealed = await sealBytes(plain);
    t.true(isSealed(sealed));
    t.is(sealed.length, sealHeadBytes + length + 16 * Math.max(1, Math.ceil(length / chunkBytes)), `length ${length}`);
    t.deepEqual(await open(sealed), plain, `length ${length}`);
    t.deepEqual(await open(sealed, ring, 100_000), plain, `length ${length} at once`);
  }
});

test('the same bytes are never sealed the same way, and nothing of them shows', async (t) => {
  const plain = Buffer.alloc(10 * chunkBytes, 'secret');
  const [one, two] = await Promise.all([sealBytes(plain), sealBytes(plain)]);
  t.notDeepEqual(one.subarray(sealHeadBytes), two.subarray(sealHeadBytes));
  t.false(one.includes('secret'));
});

test('every single byte that is altered is noticed, in head, middle and last chunk', async (t) => {
  const sealed = await sealBytes(randomBytes(3 * chunkBytes + 5));
  for (let at = 0; at < sealed.length; at++) {
    const altered = Buffer.from(sealed);
    altered[at]! ^= 1 << (at % 8);
    await t.throwsAsync(open(altered), { name: 'MEMORY_IMAGE_REFUSED' }, `byte ${at}`);
  }
});

test('cut off at any byte, and so at any chunk', async (t) => {
  const sealed = await sealBytes(randomBytes(4 * chunkBytes));
  for (let length = 0; length < sealed.length; length++) await t.throwsAsync(open(sealed.subarray(0, length)), { name: 'MEMORY_IMAGE_REFUSED' }, `length ${length}`);
  await t.throwsAsync(open(sealed.subarray(0, sealHeadBytes + 2 * sealedChunk)), { message: /cut off after 1 chunks/ });
  await t.throwsAsync(open(sealed.subarray(0, sealHeadBytes)), { message: /cut off after 0 chunks/ });
  await t.throwsAsync(open(sealed.subarray(0, 20)), { message: /cut off in its head/ });
});

test('chunks that are swapped, repeated, left out, added or of another image', async (t) => {
  const plain = randomBytes(4 * chunkBytes);
  const [sealed, other] = await Promise.all([sealBytes(plain), sealBytes(plain)]);
  const head = sealed.subarray(0, sealHeadBytes);
  const chunk = (of: Buffer, index: number): Buffer => of.subarray(sealHeadBytes + index * sealedChunk, sealHeadBytes + (index + 1) * sealedChunk);
  const made = (...order: readonly Buffer[]): Buffer => Buffer.concat([head, ...order]);
  const [a, b, c, d] = [0, 1, 2, 3].map((index) => chunk(sealed, index)) as [Buffer, Buffer, Buffer, Buffer];
  t.deepEqual(await open(made(a, b, c, d)), plain);
  for (const wrong of [made(b, a, c, d), made(a, c, b, d), made(a, a, b, c, d), made(a, b, d), made(b, c, d), made(a, b, c, d, d), made(a, b, c, d, Buffer.from('x')), made(a, chunk(other, 1), c, d), made(d)]) {
    await t.throwsAsync(open(wrong), { name: 'MEMORY_IMAGE_REFUSED' });
  }
});

test('no byte of a bad chunk comes out, and those before it do', async (t) => {
  const plain = randomBytes(3 * chunkBytes);
  const sealed = await sealBytes(plain);
  sealed[sealHeadBytes + sealedChunk + 3]! ^= 1;
  const seen: Buffer[] = [];
  await t.throwsAsync(async () => {
    for await (const part of unsealed(ring, inParts(sealed, 1000), 'i')) seen.push(part);
  }, { message: /chunk 1 is not what was sealed/ });
  t.deepEqual(Buffer.concat(seen), plain.subarray(0, chunkBytes));
});

test('keys: another one is named, all of a ring open, the version is checked', async (t) => {
  const sealed = await sealBytes(Buffer.from('plain'));
  const other = snapshotKey(randomBytes(32));
  await t.throwsAsync(open(sealed, [other]), { message: new RegExp(`sealed with the key ${key.id.toString('hex')}`) });
  t.is((await open(sealed, [other, key])).toString(), 'plain');
  const future = Buffer.from(sealed);
  future[8] = 2;
  await t.throwsAsync(open(future), { message: /version 2/ });
  await t.throwsAsync(open(Buffer.from('a tarball, say, of some length that is more than a head has bytes')), { message: /does not begin like one/ });
});

test('the key file: forms, rotation, and who may read it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'key');
  await t.throwsAsync(readKeyRing(undefined), { name: 'SNAPSHOT_KEY', message: /snapshot_key of \[haulier\]: it is not set/ });
  await t.throwsAsync(readKeyRing(path), { name: 'SNAPSHOT_KEY', message: /cannot be read/ });
  t.is(await addKey(path), 1);
  t.is((await stat(path)).mode & 0o777, 0o600);
  const [first] = await readKeyRing(path);
  t.is(await addKey(path), 2);
  const two = await readKeyRing(path);
  t.deepEqual(two[1]?.id, first.id);
  t.notDeepEqual(two[0].id, first.id);
  const bytes = randomBytes(32);
  const mixed = parseKeys(`# ours\n\n${bytes.toString('base64')} # newest\n${bytes.toString('hex')}\n`, path);
  t.deepEqual(mixed[0].id, mixed[1]?.id);
  for (const wrong of ['', '# none', 'abcd', bytes.toString('hex') + '00', randomBytes(31).toString('base64')]) t.throws(() => parseKeys(wrong, path), { name: 'SNAPSHOT_KEY' });
  const text = await readFile(path, 'utf8');
  await writeFile(path, `${text}secret that is none\n`);
  const error = await t.throwsAsync(readKeyRing(path), { message: /line 3 of/ });
  t.false(error?.message.includes('secret that'));
  await writeFile(path, text);
  for (const mode of [0o640, 0o604, 0o660]) {
    await chmod(path, mode);
    await t.throwsAsync(readKeyRing(path), { name: 'SNAPSHOT_KEY', message: /mode 6\d\d/ });
  }
});

test('records: in order, whole, and nothing more', async (t) => {
  const parts = { checkpoint: randomBytes(5000), disk: randomBytes(70_000) };
  const written = await collect(writeRecords({ hello: 1 }, { checkpoint: inParts(parts.checkpoint, 999), disk: inParts(parts.disk, 4096) }));
  const read = async (bytes: Buffer, size: number): Promise<unknown> => {
    const reader = new RecordReader(inParts(bytes, size), 'i');
    const result = [await reader.manifest(), await collect(reader.part('checkpoint')), await collect(reader.part('disk'))];
    await reader.end();
    return result;
  };
  for (const size of [1, 7, 4096, 1_000_000]) t.deepEqual(await read(written, size), [{ hello: 1 }, parts.checkpoint, parts.disk]);
  await t.throwsAsync(read(Buffer.concat([written, Buffer.from('x')]), 64), { message: /nobody knows/ });
  for (const length of [0, 3, 10, 3000, written.length - 1]) await t.throwsAsync(read(written.subarray(0, length), 64), { name: 'MEMORY_IMAGE_REFUSED' });
  await t.throwsAsync(read(written.subarray(5), 64), { name: 'MEMORY_IMAGE_REFUSED' });
});

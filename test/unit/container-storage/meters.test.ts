import test from 'ava';
import { createHash } from 'node:crypto';
import { ArchiveMeter, EntryMeter, StoredMeter } from '../../../src/container/image/meters.js';
import { asDiskFull, saysDiskFull } from '../../../src/base/disk-full.js';
import { cacheKey } from '../../../src/container/image/image-record.js';
import { tarVerdict } from '../../../src/container/image/tar.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { HaulierError } from '../../../src/base/errors.js';

const source = (size: number | undefined, checksum: ImageSource['checksum']): ImageSource => ({ id: 'img', size, checksum, diskFormat: 'raw', containerFormat: 'bare', open: () => Promise.reject(new Error('not opened')) });
const md5 = (text: string): ImageSource['checksum'] => ({ algorithm: 'MD5', value: createHash('md5').update(text).digest('hex').toUpperCase() });

test('size and checksum agree', (t) => {
  const meter = new StoredMeter(source(6, md5('foobar')));
  meter.add(Buffer.from('foo'));
  meter.add(Buffer.from('bar'));
  t.is(meter.verdict(), undefined);
});

test('short, long and different bytes are told apart', (t) => {
  const short = new StoredMeter(source(6, md5('foobar')));
  short.add(Buffer.from('foo'));
  t.is(short.verdict(), 'it ends after 3 of 6 bytes');
  const other = new StoredMeter(source(6, md5('foobar')));
  other.add(Buffer.from('foobaz'));
  t.regex(other.verdict() ?? '', /^its MD5 checksum is [0-9a-f]{32}, not /);
  const long = new StoredMeter(source(2, undefined));
  t.throws(() => long.add(Buffer.from('foo')), { message: /more than the 2 bytes/ });
  t.throws(() => new StoredMeter(source(2, { algorithm: 'rot13', value: '00' })), { message: /'rot13'/ });
});

test('the end-of-archive mark is two zero blocks, however they arrive', (t) => {
  const meter = new ArchiveMeter('img', 1e6);
  meter.add(Buffer.from('data'));
  t.false(meter.whole);
  for (let i = 0; i < 3; i++) meter.add(Buffer.alloc(300));
  t.false(meter.whole);
  meter.add(Buffer.alloc(124));
  t.true(meter.whole);
  meter.add(Buffer.from('x'));
  t.false(meter.whole);
  meter.add(Buffer.concat([Buffer.from('x'), Buffer.alloc(5000)]));
  t.true(meter.whole);
});

test('caps on bytes and entries', (t) => {
  t.throws(() => new ArchiveMeter('img', 10).add(Buffer.alloc(11)), { message: /unpacks to more than 10 bytes/ });
  const entries = new EntryMeter('img', 2);
  entries.add(Buffer.from('a\nb'));
  entries.add(Buffer.from('\n'));
  t.is(entries.entries, 2);
  t.throws(() => entries.add(Buffer.from('c\n')), { message: /more than 2 entries/ });
});

test('tar\'s complaints: device nodes are tolerated, others are not', (t) => {
  const end = (code: number, ...lines: string[]) => ({ code, signal: undefined, stderr: lines.map((line) => `tar: ${line}\n`).join('') });
  const bye = 'Exiting with failure status due to previous errors';
  t.deepEqual(tarVerdict(end(0)), { ok: true });
  t.deepEqual(tarVerdict(end(2, './x/null: Cannot mknod: Operation not permitted', bye)), { ok: true });
  t.deepEqual(tarVerdict(end(2, './x: Cannot mknod: Operation not permitted: Cannot open: Not a directory', bye)),
    { ok: false, diskFull: false, reason: './x: Cannot mknod: Operation not permitted: Cannot open: Not a directory' });
  t.deepEqual(tarVerdict(end(2, './x: Cannot write: No space left on device', bye)), { ok: false, diskFull: true, reason: './x: Cannot write: No space left on device' });
  t.deepEqual(tarVerdict(end(2, './x: Wrote only 4096 of 10240 bytes', bye)), { ok: false, diskFull: true, reason: './x: Wrote only 4096 of 10240 bytes' });
  t.deepEqual(tarVerdict(end(153)), { ok: false, diskFull: false, reason: 'it holds a file larger than the limit' });
  t.deepEqual(tarVerdict({ code: undefined, signal: 'SIGKILL', stderr: '' }), { ok: false, diskFull: false, reason: 'tar ended with SIGKILL' });
});

test('a full disk is known by code and by a command\'s words', (t) => {
  t.true(saysDiskFull('mkfs: No space left on device\n'));
  t.false(saysDiskFull('No space left on device is a file name\n'));
  const enospc = asDiskFull(Object.assign(new Error('x'), { code: 'ENOSPC' }), '/p');
  t.is((enospc as HaulierError).code, 'DISK_FULL');
  const other = new Error('x');
  t.is(asDiskFull(other, '/p'), other);
});

test('cache keys are folder names, never paths', (t) => {
  t.is(cacheKey({ id: 'abc-1', checksum: { algorithm: 'sha512', value: 'ABCDEF0123456789ff' } }), 'abc-1-abcdef0123456789');
  t.is(cacheKey({ id: 'abc', checksum: undefined }), 'abc-unverified');
  for (const id of ['../x', 'a/b', '.hidden', '', 'a\0b']) t.is(cacheKey({ id, checksum: undefined }), undefined);
  t.is(cacheKey({ id: 'a', checksum: { algorithm: 'md5', value: '../..' } }), undefined);
});

import test from 'ava';
import { detect, isTar, nameForeign } from '../../../src/container/image/format.js';

/** A ustar header as tar writes it. */
function header(name: string, sumDelta = 0): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0);
  block.write('0000644\0', 100);
  block.write('ustar\0' + '00', 257);
  block.write('        ', 148);
  const sum = block.reduce((total, byte) => total + byte, 0) + sumDelta;
  block.write(sum.toString(8).padStart(6, '0') + '\0 ', 148);
  return block;
}

test('a tar header is known by its checksum, with or without the ustar mark', (t) => {
  t.true(isTar(header('./')));
  const old = Buffer.alloc(512);
  old.write('name', 0);
  old.write('        ', 148);
  old.write(old.reduce((total, byte) => total + byte, 0).toString(8).padStart(6, '0') + '\0 ', 148);
  t.true(isTar(old));
  t.true(isTar(Buffer.concat([header('./'), Buffer.alloc(40_000)])));
});

test('a wrong checksum, a short block or zeros are no tar', (t) => {
  t.false(isTar(header('./', 1)));
  t.false(isTar(header('./').subarray(0, 511)));
  t.false(isTar(Buffer.alloc(512)));
});

test('packings are known by their magic', (t) => {
  t.deepEqual(detect(header('etc/')), { packing: 'tar' });
  t.deepEqual(detect(Buffer.from('1f8b0800', 'hex')), { packing: 'gzip' });
  t.deepEqual(detect(Buffer.from('fd377a585a0000', 'hex')), { packing: 'xz' });
  t.deepEqual(detect(Buffer.from('28b52ffd04', 'hex')), { packing: 'zstd' });
});

for (const [what, at, bytes, kind] of [
  ['a QCOW2 disk image', 0, 'QFI\xfb\0\0\0\x03', 'qcow2'], ['an ISO 9660 image', 32_769, 'CD001', undefined], ['a VMDK disk image', 0, 'KDMV', undefined], ['a SquashFS image', 0, 'hsqs', 'squashfs'],
  ['an ext2/3/4 file system image', 1080, '\x53\xef', 'ext'], ['a zip archive', 0, 'PK\x03\x04', undefined], ['a bzip2 file', 0, 'BZh9', undefined], ['a partitioned disk image (MBR)', 510, '\x55\xaa', 'mbr'],
] as const) {
  test(`${what} is known by its magic`, (t) => {
    const head = Buffer.alloc(32_774);
    head.write(bytes, at, 'latin1');
    const detected = detect(head);
    t.is('foreign' in detected ? detected.foreign : '', what);
    t.is('disk' in detected ? detected.disk : undefined, kind);
  });
}

test('what nobody knows is told by its first bytes; empty and zero files by that', (t) => {
  t.is(nameForeign(Buffer.from('<html>')), 'of an unknown format (begins with 3c68746d6c3e)');
  t.is(nameForeign(Buffer.alloc(0)), 'empty');
  t.is(nameForeign(Buffer.alloc(1024)), 'all zeros');
});

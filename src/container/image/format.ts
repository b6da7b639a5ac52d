/** What an image's first bytes say it is. Nothing that is not known by them is ever handed to a tool. */

/** How an image is packed. */
export type Packing = 'tar' | 'gzip' | 'xz' | 'zstd';

/** A file that holds a file system, or several. */
export type DiskKind = 'squashfs' | 'qcow2' | 'ext' | 'xfs' | 'gpt' | 'mbr';

/** What the first bytes are: a packing or a disk that Haulier takes, or the name of something that it does not. */
export type Detected = { readonly packing: Packing } | { readonly disk: DiskKind; readonly foreign: string } | { readonly foreign: string };

/** Bytes that `detect` and `isTar` want to see (an ISO's mark is the deepest, at 32769); fewer only where the file is shorter. */
export const headBytes = 32_774;

const blockBytes = 512;

interface Magic { readonly name: string; readonly at: number; readonly bytes: Buffer }
const magic = (name: string, at: number, bytes: string): Magic => ({ name, at, bytes: Buffer.from(bytes, 'latin1') });

const packings: readonly (Magic & { readonly name: Packing })[] = [
  { name: 'gzip', at: 0, bytes: Buffer.from([0x1f, 0x8b, 0x08]) },
  { name: 'xz', at: 0, bytes: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) },
  { name: 'zstd', at: 0, bytes: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
];

/** In the order in which they are looked for: a boot sector may stand before a file system, and a protective one before a GPT. */
const disks: readonly (Magic & { readonly kind: DiskKind })[] = [
  { ...magic('a QCOW2 disk image', 0, 'QFI\xfb'), kind: 'qcow2' },
  { ...magic('a SquashFS image', 0, 'hsqs'), kind: 'squashfs' },
  { ...magic('an ext2/3/4 file system image', 1080, '\x53\xef'), kind: 'ext' },
  { ...magic('an XFS file system image', 0, 'XFSB'), kind: 'xfs' },
  { ...magic('a partitioned disk image (GPT)', 512, 'EFI PART'), kind: 'gpt' },
  { ...magic('a partitioned disk image (MBR)', 510, '\x55\xaa'), kind: 'mbr' },
];

/** Formats that people upload by mistake, so that the refusal can name them. */
const foreigners: readonly Magic[] = [
  magic('a sealed snapshot with memory', 0, '\x89HAULMEM'),
  magic('a QED disk image', 0, 'QED\0'),
  magic('a VMDK disk image', 0, 'KDMV'),
  magic('a VMDK disk image', 0, '# Disk DescriptorFile'),
  magic('a VHDX disk image', 0, 'vhdxfile'),
  magic('a VHD disk image', 0, 'conectix'),
  magic('a VDI disk image', 0x40, '\x7f\x10\xda\xbe'),
  magic('a LUKS volume', 0, 'LUKS\xba\xbe'),
  magic('an EROFS image', 1024, '\xe2\xe1\xf5\xe0'),
  magic('an ISO 9660 image', 32_769, 'CD001'),
  magic('a zip archive', 0, 'PK\x03\x04'),
  magic('a 7z archive', 0, '7z\xbc\xaf\x27\x1c'),
  magic('a bzip2 file', 0, 'BZh'),
  magic('an lz4 file', 0, '\x04\x22\x4d\x18'),
  magic('an lzip file', 0, 'LZIP'),
  magic('a cpio archive', 0, '070701'),
  magic('an ar archive', 0, '!<arch>'),
  magic('an ELF program', 0, '\x7fELF'),
];

const has = (head: Buffer, what: Magic): boolean => head.subarray(what.at, what.at + what.bytes.length).equals(what.bytes);

/**
 * True if `head` begins with a tar header: its checksum field (octal, at 148) equals the sum of the block's bytes with that field
 * as blanks, unsigned or signed as old tars made it (POSIX.1-1988 ustar; the same test as GNU tar's).
 */
export function isTar(head: Buffer): boolean {
  if (head.length < blockBytes) return false;
  const field = /^[ \0]*([0-7]+)/.exec(head.toString('latin1', 148, 156))?.[1];
  if (field === undefined) return false;
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < blockBytes; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (head[i] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const wanted = parseInt(field, 8);
  return wanted === unsigned || wanted === signed;
}

/** Names what is no tar archive: `a QCOW2 disk image`, `empty`, `of an unknown format (begins with 00112233)`. */
export function nameForeign(head: Buffer): string {
  if (head.length === 0) return 'empty';
  const known = [...foreigners, ...disks].find((format) => has(head, format));
  if (known) return known.name;
  const packed = packings.find((format) => has(head, format));
  if (packed) return `${packed.name} data`;
  if (head.every((byte) => byte === 0)) return 'all zeros';
  return `of an unknown format (begins with ${head.subarray(0, 8).toString('hex')})`;
}

/** Tells from the first `headBytes` of a file how it is packed, or what else it is. */
export function detect(head: Buffer): Detected {
  const packed = packings.find((format) => has(head, format));
  if (packed) return { packing: packed.name };
  if (isTar(head)) return { packing: 'tar' };
  const disk = foreigners.some((format) => has(head, format)) ? undefined : disks.find((format) => has(head, format));
  if (disk) return { disk: disk.kind, foreign: disk.name };
  return { foreign: nameForeign(head) };
}

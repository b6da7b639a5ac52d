/** Finds the one root file system of a raw disk: the whole of it, or the one Linux partition of an MBR or GPT. */
import { detect, headBytes, type DiskKind } from '../format.js';

/** Reads `length` bytes at `at`; fewer only at the disk's end. */
export type ReadAt = (at: number, length: number) => Promise<Buffer>;

/** Where it lies, and what it is. */
export interface FoundFileSystem {
  /** Bytes from the disk's beginning. */
  readonly offset: number;
  readonly size: number;
  readonly kind: Extract<DiskKind, 'squashfs' | 'ext'>;
}

const sectorBytes = 512;
const maxEntries = 256;

/** Types of a partition that may hold a root file system (UEFI; the Discoverable Partitions Specification). */
const linuxTypes: ReadonlySet<string> = new Set([
  '0fc63daf-8483-4772-8e79-3d69d8477de4', // Linux file system
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709', // root, x86-64
  'b921b045-1df0-41c3-af44-4c6f280d3fae', // root, arm64
]);
const mbrLinux = 0x83;

interface Partition {
  readonly offset: number;
  readonly size: number;
}

/** @throws Error that says in plain words what is wrong */
export async function findFileSystem(read: ReadAt, diskBytes: number): Promise<FoundFileSystem> {
  const whole = await look(read, 0, diskBytes);
  if (whole.kind === 'squashfs' || whole.kind === 'ext') return { offset: 0, size: diskBytes, kind: whole.kind };
  if (whole.kind !== 'gpt' && whole.kind !== 'mbr') throw new Error(`it is ${whole.name}; of file systems, ext2, ext3, ext4 and SquashFS are read`);
  const partitions = whole.kind === 'gpt' ? await readGpt(read) : await readMbr(read);
  const [partition, ...others] = partitions;
  if (!partition) throw new Error('the disk has no Linux partition');
  if (others.length > 0) throw new Error(`the disk has ${partitions.length} Linux partitions, and a server has one root file system`);
  if (!Number.isSafeInteger(partition.offset + partition.size) || partition.size <= 0 || partition.offset + partition.size > diskBytes) throw new Error('the disk\'s Linux partition reaches past its end');
  const inside = await look(read, partition.offset, partition.size);
  if (inside.kind === 'ext') return { ...partition, kind: inside.kind };
  throw new Error(`the disk's Linux partition is ${inside.name}; ext2, ext3 and ext4 are read`);
}

async function look(read: ReadAt, offset: number, size: number): Promise<{ readonly kind: DiskKind | undefined; readonly name: string }> {
  const detected = detect(await read(offset, Math.min(headBytes, size)));
  if ('packing' in detected) return { kind: undefined, name: `a ${detected.packing} file` };
  return { kind: 'disk' in detected ? detected.disk : undefined, name: detected.foreign };
}

async function readMbr(read: ReadAt): Promise<Partition[]> {
  const sector = await read(0, sectorBytes);
  return [0, 1, 2, 3].map((index) => 446 + 16 * index).filter((at) => sector[at + 4] === mbrLinux)
    .map((at) => ({ offset: sector.readUInt32LE(at + 8) * sectorBytes, size: sector.readUInt32LE(at + 12) * sectorBytes }));
}

async function readGpt(read: ReadAt): Promise<Partition[]> {
  const header = await read(sectorBytes, sectorBytes);
  const [table, count, width] = [Number(header.readBigUInt64LE(72)) * sectorBytes, header.readUInt32LE(80), header.readUInt32LE(84)];
  if (count > maxEntries || width < 128 || width > 4096 || !Number.isSafeInteger(table)) throw new Error(`the disk's partition table has ${count} entries of ${width} bytes, which is not possible`);
  const entries = await read(table, count * width);
  if (entries.length < count * width) throw new Error('the disk\'s partition table reaches past its end');
  return Array.from({ length: count }, (_, index) => entries.subarray(index * width, (index + 1) * width)).filter((entry) => linuxTypes.has(guid(entry)))
    .map((entry) => ({ offset: Number(entry.readBigUInt64LE(32)) * sectorBytes, size: (Number(entry.readBigUInt64LE(40)) - Number(entry.readBigUInt64LE(32)) + 1) * sectorBytes }));
}

/** The first three fields are little-endian. */
function guid(entry: Buffer): string {
  const hex = (from: number, to: number, swap: boolean): string => (swap ? Buffer.from(entry.subarray(from, to)).reverse() : entry.subarray(from, to)).toString('hex');
  return [hex(0, 4, true), hex(4, 6, true), hex(6, 8, true), hex(8, 10, false), hex(10, 16, false)].join('-');
}

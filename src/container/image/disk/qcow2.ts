/**
 * The header of a QCOW2 image (QEMU's docs/interop/qcow2.rst), looked at before QEMU's own tool is: nothing that names another file,
 * and no more than is wanted, comes to it.
 */

/** Bytes of the header that are looked at: fixed fields and extensions. */
export const qcow2HeadBytes = 64 * 1024;

/** Incompatible features that are well known and harmless: dirty, compression type, extended L2 entries. */
const knownFeatures = 0b11001n;
const corruptBit = 0b10n;
const dataFileBit = 0b100n;
const dataFileExtension = 0x4441_5441;

/**
 * @returns what is wrong with it, in plain words, or its virtual size in bytes
 */
export function checkQcow2(head: Buffer, maxBytes: number): { readonly wrong: string } | { readonly size: number } {
  if (head.length < 72) return { wrong: 'its QCOW2 header is cut off' };
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) return { wrong: `its QCOW2 version is ${version}; 2 and 3 are known` };
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0) return { wrong: 'it is a QCOW2 image with a backing file, and only a part of a disk' };
  if (head.readUInt32BE(32) !== 0) return { wrong: 'it is an encrypted QCOW2 image' };
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) return { wrong: `its QCOW2 cluster size is 2^${clusterBits}; 2^9 to 2^21 are possible` };
  const size = head.readBigUInt64BE(24);
  if (size === 0n) return { wrong: 'its QCOW2 disk has no bytes' };
  if (size > BigInt(maxBytes)) return { wrong: `its QCOW2 disk has ${size} bytes; at most ${maxBytes} are allowed` };
  if (version === 3) {
    if (head.length < 104) return { wrong: 'its QCOW2 header is cut off' };
    const features = head.readBigUInt64BE(72);
    if ((features & dataFileBit) !== 0n) return { wrong: 'it is a QCOW2 image whose data are in another file' };
    if ((features & corruptBit) !== 0n) return { wrong: 'it is a QCOW2 image that is marked as corrupt' };
    if ((features & ~knownFeatures) !== 0n) return { wrong: `it is a QCOW2 image with unknown features (${(features & ~knownFeatures).toString(16)})` };
  }
  const extensions = readExtensions(head, version === 3 ? head.readUInt32BE(100) : 72);
  if (extensions === undefined) return { wrong: 'its QCOW2 header extensions are damaged' };
  if (extensions.has(dataFileExtension)) return { wrong: 'it is a QCOW2 image that names a data file' };
  return { size: Number(size) };
}

/** Kinds of the header's extensions; undefined if they do not end in the head. */
function readExtensions(head: Buffer, from: number): ReadonlySet<number> | undefined {
  const kinds = new Set<number>();
  for (let at = from; at + 8 <= head.length;) {
    const kind = head.readUInt32BE(at);
    if (kind === 0) return kinds;
    kinds.add(kind);
    at += 8 + Math.ceil(head.readUInt32BE(at + 4) / 8) * 8;
  }
  return undefined;
}

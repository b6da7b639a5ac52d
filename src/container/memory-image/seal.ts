/**
 * Sealed bytes: encrypted, and every one of them authenticated before it is given to anybody.
 *
 *     head   magic "\x89HAULMEM", version 1, log2 of the chunk size, key id (8), salt (32)
 *     chunk  AES-256-GCM of up to one chunk of plain bytes, and its tag (16); only the last one may be shorter
 *
 * Key: HKDF-SHA256 of the deployment's key with the salt, random for each image, and the whole head as info: each image has a key of
 * its own, and a changed head gives another one. Nonce: the chunk's number (11 bytes), and a byte that is 1 for the last chunk alone
 * (the STREAM construction, Hoang, Reyhanitabar, Rogaway, Vizár, 2015): chunks that are altered, left out, swapped or cut off do not open.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { HaulierError } from '../../base/errors.js';
import { readHead } from '../image/head.js';
import { keyBytes, keyIdBytes, type KeyRing, type SnapshotKey } from './keys.js';

const magic = Buffer.from('\x89HAULMEM', 'latin1');
const version = 1;
const saltBytes = 32;
const tagBytes = 16;
const cipher = 'aes-256-gcm';
const defaultChunkLog = 18;
const chunkLogs = { least: 6, most: 22 };

/** Bytes of the head. */
export const sealHeadBytes = magic.length + 2 + keyIdBytes + saltBytes;

/** True if these first bytes are of a sealed image, of any version. */
export function isSealed(head: Buffer): boolean {
  return head.subarray(0, magic.length).equals(magic);
}

const refuse = (image: string, reason: string): HaulierError => new HaulierError('MEMORY_IMAGE_REFUSED', { image, reason });

function subkey(key: SnapshotKey, head: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', key.secret, head.subarray(-saltBytes), Buffer.concat([Buffer.from('haulier memory image'), head]), keyBytes));
}

function nonce(index: number, last: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUIntBE(index, 5, 6);
  bytes[11] = last ? 1 : 0;
  return bytes;
}

/** Pieces of exactly `size` bytes, but the last one, which may be shorter, also empty. */
async function* pieces(source: AsyncIterable<Buffer>, size: number): AsyncGenerator<{ readonly bytes: Buffer; readonly last: boolean }> {
  let held: Buffer[] = [];
  let length = 0;
  for await (const part of source) {
    held.push(part);
    length += part.length;
    if (length <= size) continue;
    let all = Buffer.concat(held, length);
    for (; all.length > size; all = all.subarray(size)) yield { bytes: all.subarray(0, size), last: false };
    held = [all];
    length = all.length;
  }
  yield { bytes: Buffer.concat(held, length), last: true };
}

/** Seals `plain`. @param chunkLog log2 of the chunk size */
export async function* seal(key: SnapshotKey, plain: AsyncIterable<Buffer>, chunkLog = defaultChunkLog): AsyncGenerator<Buffer> {
  const head = Buffer.concat([magic, Buffer.from([version, chunkLog]), key.id, randomBytes(saltBytes)]);
  const secret = subkey(key, head);
  yield head;
  let index = 0;
  for await (const { bytes, last } of pieces(plain, 2 ** chunkLog)) {
    const sealing = createCipheriv(cipher, secret, nonce(index++, last));
    yield Buffer.concat([sealing.update(bytes), sealing.final(), sealing.getAuthTag()]);
  }
}

function unseal(secret: Buffer, index: number, last: boolean, chunk: Buffer): Buffer | undefined {
  if (chunk.length < tagBytes) return undefined;
  const opening = createDecipheriv(cipher, secret, nonce(index, last), { authTagLength: tagBytes });
  opening.setAuthTag(chunk.subarray(chunk.length - tagBytes));
  const plain = opening.update(chunk.subarray(0, chunk.length - tagBytes));
  try {
    return Buffer.concat([plain, opening.final()]);
  } catch {
    return undefined;
  }
}

/**
 * Opens what `seal` made. No byte comes out before its chunk is proved; that nothing is missing is known when it ends without throwing.
 * @param image for the error
 * @throws MEMORY_IMAGE_REFUSED, and what the source throws
 */
export async function* unsealed(keys: KeyRing, sealed: AsyncIterable<Buffer>, image: string): AsyncGenerator<Buffer> {
  const { head: begin, all } = await readHead(sealed, sealHeadBytes);
  const head = begin.subarray(0, sealHeadBytes);
  if (!isSealed(head)) throw refuse(image, 'it does not begin like one');
  if (head.length < sealHeadBytes) throw refuse(image, 'it is cut off in its head');
  const chunkLog = head[magic.length + 1] ?? 0;
  if (head[magic.length] !== version) throw refuse(image, `its format is version ${head[magic.length]}, this Haulier knows version ${version}`);
  if (chunkLog < chunkLogs.least || chunkLog > chunkLogs.most) throw refuse(image, 'its head is damaged');
  const id = head.subarray(magic.length + 2, magic.length + 2 + keyIdBytes);
  const key = keys.find((one) => one.id.equals(id));
  if (!key) throw refuse(image, `it is sealed with the key ${id.toString('hex')}, which is not among those of this host`);
  const secret = subkey(key, head);
  let index = 0;
  for await (const { bytes, last } of pieces(behind(all, sealHeadBytes), 2 ** chunkLog + tagBytes)) {
    const plain = unseal(secret, index, last, bytes);
    if (!plain) {
      const cut = last && (bytes.length < tagBytes || unseal(secret, index, false, bytes) !== undefined);
      throw refuse(image, cut ? `it is cut off after ${index} chunks` : `chunk ${index} is not what was sealed: it was altered, moved, or cut off`);
    }
    index++;
    yield plain;
  }
}

/** All but the first `count` bytes. */
async function* behind(bytes: AsyncIterable<Buffer>, count: number): AsyncGenerator<Buffer> {
  let left = count;
  for await (const part of bytes) {
    if (part.length > left) yield part.subarray(left);
    left = Math.max(0, left - part.length);
  }
}

/**
 * criu's images on their way: the small ones, which are many, together in one stream, each other one in its own, and an empty stream
 * that says that no more come. Small ones are read and written at once: they are in memory, and sixty of them one by one through the
 * thread pool take the time of a megabyte.
 */
import { createReadStream, createWriteStream, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import type { HaulChannel } from '../wire/channel.js';

const pieceBytes = 1024 * 1024;
const imageName = /^[\w.-]{1,100}$/;
const maxFiles = 20_000;
/** Larger ones go by themselves. */
const smallBytes = 64 * 1024;
/** Most that is gathered at either end. */
const gatheredBytes = 8 * 1024 * 1024;
const lengthBytes = 4;
const runtimeImage = 'descriptors.json';

/** Sends the files. @param files names and sizes @param onSent told what has gone, all in all */
export async function sendImages(channel: HaulChannel, folder: string, files: Readonly<Record<string, number>>, signal?: AbortSignal, onSent?: (bytes: number) => void): Promise<void> {
  let sent = 0;
  const counted = (): Transform => new Transform({ transform: (chunk: Buffer, _, done) => {
    onSent?.(sent += chunk.length);
    done(null, chunk);
  } });
  const { gathered, large } = split(files);
  for (const group of gathered) {
    sent += await sendGroup(channel, folder, group, signal);
    onSent?.(sent);
  }
  for (const [name, size] of large) {
    await pipeline(createReadStream(join(folder, name), { highWaterMark: pieceBytes }), counted(), channel.openStream('image', { name: 'image', file: name, size }), { signal });
  }
  channel.openStream('image', { name: 'image', last: true }).end();
}

/** @returns bytes of their contents */
async function sendGroup(channel: HaulChannel, folder: string, group: readonly Named[], signal?: AbortSignal): Promise<number> {
  const list = Buffer.from(JSON.stringify(group));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(list.length);
  const contents = group.map(([name]) => readFileSync(join(folder, name)));
  await pipeline([Buffer.concat([length, list, ...contents])], channel.openStream('image', { name: 'image', gathered: true }), { signal });
  return contents.reduce((sum, { length: bytes }) => sum + bytes, 0);
}

/**
 * The runtime's own image: it is there when criu has not begun yet, and at the other side the runtime wants it before criu, too.
 * @returns its name
 */
export async function sendRuntimeImage(channel: HaulChannel, folder: string, signal?: AbortSignal): Promise<string> {
  await sendGroup(channel, folder, [[runtimeImage, statSync(join(folder, runtimeImage)).size]], signal);
  return runtimeImage;
}

/** Files without those that have gone already. */
export const without = (files: Readonly<Record<string, number>>, gone: string): Record<string, number> => Object.fromEntries(Object.entries(files).filter(([name]) => name !== gone));

type Named = readonly [name: string, size: number];

function split(files: Readonly<Record<string, number>>): { readonly gathered: Named[][]; readonly large: Named[] } {
  const gathered: Named[][] = [];
  let room = 0;
  const large: Named[] = [];
  for (const [name, size] of Object.entries(files)) {
    if (size > smallBytes) {
      large.push([name, size]);
      continue;
    }
    if (room < size) {
      gathered.push([]);
      room = gatheredBytes;
    }
    gathered.at(-1)?.push([name, size]);
    room -= size;
  }
  return { gathered, large };
}

/**
 * Takes them into the folder, to the last one. The size of one that was sent while it grew is in the record of the dump.
 * @param onFirst called when the first of them, alone or with others, have come
 * @throws HAUL_PROTOCOL, HAUL_DAMAGED
 */
export async function receiveImages(channel: HaulChannel, folder: string, signal?: AbortSignal, onFirst?: () => void): Promise<void> {
  for (let count = 0; ; count++) {
    if (count === 1) onFirst?.();
    const stream = await channel.acceptStream('image', signal);
    const { file: name, size, gathered, growing, last } = stream.head;
    if (last === true) return void stream.resume();
    if (count >= maxFiles) throw new HaulierError('HAUL_PROTOCOL', { reason: 'too many images' });
    if (gathered === true) unpack(await buffer(stream), folder);
    else {
      const file = createWriteStream(join(folder, accepted(name)), { mode: 0o600, flags: 'wx', highWaterMark: pieceBytes });
      await pipeline(stream, file, { signal });
      if (growing !== true && file.bytesWritten !== size) throw new HaulierError('HAUL_DAMAGED', { what: `image ${String(name)}`, reason: `it has ${file.bytesWritten} bytes instead of ${String(size)}` });
    }
  }
}

function accepted(name: unknown): string {
  if (typeof name !== 'string' || !imageName.test(name) || name.startsWith('.')) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(name)} is no image` });
  return name;
}

function unpack(bytes: Buffer, folder: string): void {
  const end = lengthBytes + (bytes.length < lengthBytes ? 0 : bytes.readUInt32BE(0));
  let at = end;
  for (const [name, size] of listOf(bytes.subarray(lengthBytes, end))) {
    if (!(size >= 0) || at + size > bytes.length) throw new HaulierError('HAUL_DAMAGED', { what: `image ${name}`, reason: 'it is cut short' });
    writeFileSync(join(folder, accepted(name)), bytes.subarray(at, at + size), { mode: 0o600, flag: 'wx' });
    at += size;
  }
}

function listOf(bytes: Buffer): Named[] {
  try {
    const list = JSON.parse(bytes.toString('utf8')) as Named[];
    if (Array.isArray(list) && list.every((entry) => Array.isArray(entry) && Number.isSafeInteger(entry[1]))) return list;
  } catch {
    // said below
  }
  throw new HaulierError('HAUL_PROTOCOL', { reason: 'no list of images' });
}

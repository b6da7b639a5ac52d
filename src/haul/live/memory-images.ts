/**
 * criu's images on their way: the small ones, which are many, together in one stream, each other one in its own, and an empty stream
 * that says that no more come.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
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

/** Sends the files. @param files names and sizes @param onSent told what has gone, all in all */
export async function sendImages(channel: HaulChannel, folder: string, files: Readonly<Record<string, number>>, signal?: AbortSignal, onSent?: (bytes: number) => void): Promise<void> {
  let sent = 0;
  const counted = (): Transform => new Transform({ transform: (chunk: Buffer, _, done) => {
    onSent?.(sent += chunk.length);
    done(null, chunk);
  } });
  const { gathered, large } = split(files);
  for (const group of gathered) {
    const list = Buffer.from(JSON.stringify(group));
    const length = Buffer.alloc(lengthBytes);
    length.writeUInt32BE(list.length);
    const contents = await Promise.all(group.map(([name]) => readFile(join(folder, name))));
    onSent?.(sent += contents.reduce((sum, { length: bytes }) => sum + bytes, 0));
    await pipeline([Buffer.concat([length, list, ...contents])], channel.openStream('image', { name: 'image', gathered: true }), { signal });
  }
  for (const [name, size] of large) {
    await pipeline(createReadStream(join(folder, name), { highWaterMark: pieceBytes }), counted(), channel.openStream('image', { name: 'image', file: name, size }), { signal });
  }
  channel.openStream('image', { name: 'image', last: true }).end();
}

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

/** Takes them into the folder, to the last one. @throws HAUL_PROTOCOL, HAUL_DAMAGED */
export async function receiveImages(channel: HaulChannel, folder: string, signal?: AbortSignal): Promise<void> {
  for (let count = 0; ; count++) {
    const stream = await channel.acceptStream('image', signal);
    const { file: name, size, gathered, last } = stream.head;
    if (last === true) return void stream.resume();
    if (count >= maxFiles) throw new HaulierError('HAUL_PROTOCOL', { reason: 'too many images' });
    if (gathered === true) await unpack(await buffer(stream), folder);
    else {
      const file = createWriteStream(join(folder, accepted(name)), { mode: 0o600, flags: 'wx', highWaterMark: pieceBytes });
      await pipeline(stream, file, { signal });
      if (file.bytesWritten !== size) throw new HaulierError('HAUL_DAMAGED', { what: `image ${String(name)}`, reason: `it has ${file.bytesWritten} bytes instead of ${String(size)}` });
    }
  }
}

function accepted(name: unknown): string {
  if (typeof name !== 'string' || !imageName.test(name) || name.startsWith('.')) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(name)} is no image` });
  return name;
}

async function unpack(bytes: Buffer, folder: string): Promise<void> {
  const end = lengthBytes + (bytes.length < lengthBytes ? 0 : bytes.readUInt32BE(0));
  let at = end;
  for (const [name, size] of listOf(bytes.subarray(lengthBytes, end))) {
    if (!(size >= 0) || at + size > bytes.length) throw new HaulierError('HAUL_DAMAGED', { what: `image ${name}`, reason: 'it is cut short' });
    const file = await open(join(folder, accepted(name)), 'wx', 0o600);
    try {
      await file.writeFile(bytes.subarray(at, at + size));
    } finally {
      await file.close();
    }
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

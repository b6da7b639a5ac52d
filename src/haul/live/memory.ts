/** criu's images on their way: one stream a file, one after the other; the list of names and sizes is the seal. */
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import type { HaulChannel } from '../wire/channel.js';

const pieceBytes = 1024 * 1024;
const imageName = /^[\w.-]{1,100}$/;
const maxFiles = 20_000;

/** Sends the files. @param files names and sizes */
export async function sendImages(channel: HaulChannel, folder: string, files: Readonly<Record<string, number>>, signal?: AbortSignal): Promise<void> {
  for (const [name, size] of Object.entries(files)) {
    await pipeline(createReadStream(join(folder, name), { highWaterMark: pieceBytes }), channel.openStream('image', { name: 'image', file: name, size }), { signal });
  }
}

/** Takes them into the empty folder. @throws HAUL_PROTOCOL, HAUL_DAMAGED */
export async function receiveImages(channel: HaulChannel, folder: string, files: unknown, signal?: AbortSignal): Promise<Record<string, number>> {
  const wanted = typeof files === 'object' && files !== null ? Object.entries(files) : [];
  if (wanted.length === 0 || wanted.length > maxFiles) throw new HaulierError('HAUL_PROTOCOL', { reason: 'no list of images' });
  for (const [name, size] of wanted) {
    const stream = await channel.acceptStream('image', signal);
    if (stream.head['file'] !== name || !imageName.test(name) || name.startsWith('.') || stream.head['size'] !== size) throw new HaulierError('HAUL_PROTOCOL', { reason: `image ${JSON.stringify(name)} is not the one that was due` });
    const file = createWriteStream(join(folder, name), { mode: 0o600, flags: 'wx', highWaterMark: pieceBytes });
    await pipeline(stream, file, { signal });
    if (file.bytesWritten !== size) throw new HaulierError('HAUL_DAMAGED', { what: `image ${name}`, reason: `it has ${file.bytesWritten} bytes instead of ${String(size)}` });
  }
  return Object.fromEntries(wanted) as Record<string, number>;
}

/** criu's images on their way: one stream a file, one after the other; an empty one without a name says that no more come. */
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import type { HaulChannel } from '../wire/channel.js';

const pieceBytes = 1024 * 1024;
const imageName = /^[\w.-]{1,100}$/;
const maxFiles = 20_000;

/** Sends the files. @param files names and sizes @param onSent told what has gone, all in all */
export async function sendImages(channel: HaulChannel, folder: string, files: Readonly<Record<string, number>>, signal?: AbortSignal, onSent?: (bytes: number) => void): Promise<void> {
  let sent = 0;
  for (const [name, size] of Object.entries(files)) {
    const count = new Transform({ transform: (chunk: Buffer, _, done) => {
      onSent?.(sent += chunk.length);
      done(null, chunk);
    } });
    await pipeline(createReadStream(join(folder, name), { highWaterMark: pieceBytes }), count, channel.openStream('image', { name: 'image', file: name, size }), { signal });
  }
  channel.openStream('image', { name: 'image', last: true }).end();
}

/** Takes them into the folder, to the last one. @throws HAUL_PROTOCOL, HAUL_DAMAGED */
export async function receiveImages(channel: HaulChannel, folder: string, signal?: AbortSignal): Promise<void> {
  for (let count = 0; ; count++) {
    const stream = await channel.acceptStream('image', signal);
    const { file: name, size, last } = stream.head;
    if (last === true) return void stream.resume();
    if (typeof name !== 'string' || !imageName.test(name) || name.startsWith('.') || count >= maxFiles) throw new HaulierError('HAUL_PROTOCOL', { reason: `${JSON.stringify(name)} is no image` });
    const file = createWriteStream(join(folder, name), { mode: 0o600, flags: 'wx', highWaterMark: pieceBytes });
    await pipeline(stream, file, { signal });
    if (file.bytesWritten !== size) throw new HaulierError('HAUL_DAMAGED', { what: `image ${name}`, reason: `it has ${file.bytesWritten} bytes instead of ${String(size)}` });
  }
}

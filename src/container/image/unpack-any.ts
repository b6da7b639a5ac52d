/** An image of either kind: a root file system, or a snapshot with memory. The first bytes tell; what Glance calls it does not count. */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { unpackMemoryImage, type MemoryOpener } from '../memory-image/unpack.js';
import { isSealed, sealHeadBytes } from '../memory-image/seal.js';
import type { ImageSource } from '../spec.js';
import { readHead } from './head.js';
import { checkFormats, unpackImage, type UnpackLimits, type Unpacked } from './unpack.js';

/**
 * Unpacks `source` into `folder`, which holds an empty `rootfs/`.
 * @returns `memory`: a checkpoint and a manifest are there too
 * @throws as `unpackImage` and `unpackMemoryImage`
 */
export async function unpackAny(source: ImageSource, folder: string, opener: MemoryOpener, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked & { readonly memory: boolean }> {
  checkFormats(source);
  signal.throwIfAborted();
  const stream = await source.open(signal) as Readable;
  stream.on('error', () => undefined); // the reader gets it; without a listener a late one would end the process
  const close = (): void => { stream.destroy(); }; // frees a read that waits
  signal.addEventListener('abort', close, { once: true });
  try {
    const { head, all } = await readHead(stream, sealHeadBytes);
    if (isSealed(head)) return { ...(await unpackMemoryImage(source, all, folder, opener, limits, signal, progress)), memory: true };
    return { ...(await unpackImage({ ...source, open: async () => reread(all, stream) }, join(folder, 'rootfs'), limits, signal, progress)), memory: false };
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

/** The stream again from its first byte. Its end closes the source as well: only that frees a read which waits for a source that stalls. */
function reread(all: AsyncIterable<Buffer>, source: Readable): Readable {
  const again = Readable.from(all, { objectMode: false });
  const destroy = again._destroy.bind(again);
  again._destroy = (error, done) => {
    source.destroy();
    destroy(error, done);
  };
  return again;
}

/** An image of whatever kind. Its first bytes tell, and must be what Glance calls it. */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ApplicationConfig } from '../application/config.js';
import { unpackMemoryImage, type MemoryOpener } from '../memory-image/unpack.js';
import { isSealed } from '../memory-image/seal.js';
import type { ImageSource } from '../spec.js';
import { claimOf, requireClaim, type Claim } from './claim.js';
import { unpackDisk } from './disk/unpack.js';
import { detect, headBytes } from './format.js';
import { readHead } from './head.js';
import { unacceptable } from './image-error.js';
import { unpackDocker } from './oci/unpack.js';
import { archiveInTree } from './tree-check.js';
import { unpackImage, type UnpackLimits, type Unpacked } from './unpack.js';

/** What came of an image. */
export interface UnpackedAny extends Unpacked {
  /** A checkpoint and a manifest are there too. */
  readonly memory: boolean;
  readonly application: ApplicationConfig | undefined;
}

/**
 * Unpacks `source` into `folder`, which holds an empty `rootfs/`.
 * @throws as `unpackImage` and `unpackMemoryImage`
 */
export async function unpackAny(source: ImageSource, folder: string, opener: MemoryOpener, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<UnpackedAny> {
  const claim = claimOf(source);
  signal.throwIfAborted();
  const stream = await source.open(signal) as Readable;
  stream.on('error', () => undefined); // the reader gets it; without a listener a late one would end the process
  const close = (): void => { stream.destroy(); }; // frees a read that waits
  signal.addEventListener('abort', close, { once: true });
  try {
    const { head, all } = await readHead(stream, headBytes);
    if (claim === 'tree or disk' && isSealed(head)) return { ...(await unpackMemoryImage(source, all, folder, opener, limits, signal, progress)), memory: true, application: source.application };
    if (head.length < headBytes && source.size !== undefined && source.size > head.length) throw unacceptable(source.id, `it ends after ${head.length} of ${source.size} bytes`);
    const found = requireClaim(source, claim, detect(head));
    const unpacked = found === 'tarball'
      ? await unpackTarball({ ...source, open: async () => reread(all, stream) }, claim, folder, limits, signal, progress)
      : { ...(await unpackDisk({ source, bytes: all, qcow2: found === 'qcow2' }, folder, limits, signal, progress)), application: undefined };
    return { ...unpacked, memory: false, application: source.application ?? unpacked.application };
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

async function unpackTarball(source: ImageSource, claim: Claim, folder: string, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Omit<UnpackedAny, 'memory'>> {
  if (claim === 'docker') return await unpackDocker(source, folder, limits, signal, progress);
  const tree = join(folder, 'rootfs');
  const unpacked = await unpackImage(source, tree, limits, signal, progress);
  const archive = await archiveInTree(tree);
  if (archive !== undefined) throw unacceptable(source.id, `Glance has it as container format ${source.containerFormat}, but it is ${archive}: its container format is docker`);
  return { ...unpacked, application: undefined };
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

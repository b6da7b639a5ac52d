/**
 * Unpacks a snapshot with memory while it downloads: source -> count and hash -> unseal -> records -> the two tarballs, each as any
 * image's. Nothing is good before all of it is: the caller throws the folder away if this throws.
 */
import { chmod, chown, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { writeJsonAtomic } from '../../base/atomic.js';
import { faultPoint } from '../../base/fault-points.js';
import { checkFiles } from '../checkpoint/images.js';
import type { HostFacts } from '../checkpoint/facts.js';
import { unacceptable } from '../image/image-error.js';
import { StoredMeter } from '../image/meters.js';
import { unbroken, unpackImage, type UnpackLimits, type Unpacked } from '../image/unpack.js';
import type { ImageSource } from '../spec.js';
import { rangeSize } from '../storage/id-ranges.js';
import { readKeyRing } from './keys.js';
import { parseManifest, requireFit } from './manifest.js';
import { RecordReader, type PartName } from './records.js';
import { unsealed } from './seal.js';

/** What it takes to open one. */
export interface MemoryOpener {
  /** The deployment's key file. */
  readonly snapshotKey: string | undefined;
  /** What this host is: a snapshot that could not be resumed here is not even downloaded. */
  facts(): Promise<HostFacts>;
}

/** Names in a cache entry's folder, beside `rootfs`. */
export const checkpointFolder = 'checkpoint';
export const manifestFile = 'memory.json';

/**
 * @param bytes the source's, from the first one
 * @param folder gets `rootfs/` (which is there), `checkpoint/` and `memory.json`
 * @throws SNAPSHOT_KEY, MEMORY_IMAGE_REFUSED, MEMORY_IMAGE_MISFIT, IMAGE_UNACCEPTABLE, DISK_FULL, the source's own error, the signal's reason
 */
export async function unpackMemoryImage(source: ImageSource, bytes: AsyncIterable<Buffer>, folder: string, opener: MemoryOpener, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked> {
  const keys = await readKeyRing(opener.snapshotKey);
  const stored = new StoredMeter(source);
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of unbroken(source, bytes, stored)) {
      stored.add(chunk);
      progress(stored.bytes);
      yield chunk;
    }
  }
  const records = new RecordReader(unsealed(keys, counted(), source.id), source.id);
  const manifest = parseManifest(await records.manifest(), source.id);
  requireFit(manifest, await opener.facts());
  faultPoint('image.memory');
  const checkpoint = join(folder, checkpointFolder);
  await mkdir(checkpoint, { mode: 0o700 });
  const part = (name: PartName): ImageSource => ({ ...source, size: undefined, checksum: undefined, open: async () => Readable.from(records.part(name), { objectMode: false }) });
  const memory = await unpackImage(part('checkpoint'), checkpoint, limits, signal, () => undefined);
  const disk = await unpackImage(part('disk'), join(folder, 'rootfs'), limits, signal, () => undefined);
  await records.end();
  const wrong = stored.verdict();
  if (wrong !== undefined) throw unacceptable(source.id, wrong);
  await checkFiles({ images: checkpoint }, manifest.checkpoint);
  await closeImages(checkpoint);
  await writeJsonAtomic(join(folder, manifestFile), manifest);
  return { packing: disk.packing, storedBytes: stored.bytes, entries: memory.entries + disk.entries, bytes: memory.bytes + disk.bytes };
}

/**
 * criu's files as every container's mount of them shows them (see clone.ts): to the root of its range, and to the host's root as
 * group, which has the id after the last one of a range.
 */
async function closeImages(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    await chown(join(folder, name), 0, rangeSize);
    await chmod(join(folder, name), 0o640);
  }
  await chown(folder, 0, rangeSize);
  await chmod(folder, 0o750);
}

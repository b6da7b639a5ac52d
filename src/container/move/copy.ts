/** Copies a stopped container's directory, and grows its disk: the loop image first, then the ext4 in it. Nothing of it may be mounted. */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { asDiskFull } from '../../base/disk-full.js';
import type { ContainerSpec } from '../spec.js';
import { rootFsPaths } from '../storage/root-fs.js';

const gib = 1024 ** 3;
const copyTimeoutMs = 4 * 3600_000;
const checkTimeoutMs = 1800_000;

/**
 * Copies the directory `from` to `to` (thrown away before, if it is there), with holes and, where the file system can, shared
 * blocks; then grows its disk to `spec`, which becomes its spec.
 * @throws DISK_FULL, DISK_SHRINK, COMMAND_FAILED, the signal's reason; `to` may be half-made then
 */
export async function copyContainer(from: string, to: string, spec: ContainerSpec, signal: AbortSignal): Promise<void> {
  await run('rm', ['-rf', '--one-file-system', '--', to], { timeoutMs: 600_000 });
  try {
    await run('cp', ['-a', '--one-file-system', '--sparse=always', '--reflink=auto', '-T', '--', from, to], { timeoutMs: copyTimeoutMs, signal });
  } catch (error) {
    throw asDiskFull(error, to);
  }
  await growDisk(rootFsPaths(to).disk, spec.id, spec.limits.rootGiB, signal);
  await writeJsonAtomic(join(to, 'spec.json'), spec);
}

/**
 * Grows a disk to `sizeGiB`; 0 or its present size leaves it as it is. Interrupted, it can be called again: the file grows first, and
 * a file system smaller than its file is whole.
 * @throws DISK_SHRINK if it is larger already
 */
export async function growDisk(disk: string, instance: string, sizeGiB: number, signal?: AbortSignal): Promise<void> {
  const { size } = await stat(disk);
  const wanted = sizeGiB === 0 ? size : sizeGiB * gib;
  if (wanted < size) throw new HaulierError('DISK_SHRINK', { instance, now: size / gib, wanted: sizeGiB });
  const file = await open(disk, 'r+');
  try {
    await file.truncate(wanted);
    // resize2fs wants a file system that was checked since its last mount; 1: what it found is mended
    await run('e2fsck', ['-f', '-p', disk], { timeoutMs: checkTimeoutMs, okCodes: [0, 1], signal });
    await run('resize2fs', [disk], { timeoutMs: checkTimeoutMs, signal });
    await file.sync();
  } catch (error) {
    throw asDiskFull(error, disk);
  } finally {
    await file.close();
  }
}

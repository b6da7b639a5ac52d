/**
 * A container's own disk: a sparse ext4 image of exactly the flavor's size, loop-mounted. It is the size limit (project quotas need
 * kernel options that many hosts lack) and holds the overlay's `upper/` and `work/`.
 *
 * Chosen by measurement (10 GiB, Linux 6.18): mkfs 8 ms, and a journal costs nothing of it, so there is one, and a host's crash
 * costs no fsck. `assume_storage_prezeroed` and `noinit_itable` keep the kernel from writing hundreds of MB of empty inode tables into
 * the sparse file. `minixdf` makes df show the whole size. No 5 % for root: its root is the container's. Each disk has its own UUID.
 */
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { asDiskFull } from '../../base/disk-full.js';
import { rangeSize } from './id-ranges.js';

/** The overlay's folders on the disk. */
export const upperFolder = 'upper';
export const workFolder = 'work';

const gib = 1024 ** 3;
const journalMiB = (sizeGiB: number): number => (sizeGiB < 4 ? 16 : 64);

/**
 * Makes the image file `path` with a file system that holds empty `upper/` and `work/`, owned by id 0. Mode 0600. Whole or not there.
 * @param sizeGiB size, a whole number above 0
 * @throws DISK_FULL, COMMAND_FAILED, the signal's reason
 */
export async function makeDisk(path: string, sizeGiB: number, signal?: AbortSignal): Promise<void> {
  if (!Number.isInteger(sizeGiB) || sizeGiB <= 0) throw new HaulierError('BAD_ARGUMENT', { method: 'makeDisk', argument: 'sizeGiB', problem: `${sizeGiB} is no size` });
  const temporary = `${path}.tmp`;
  const seed = `${path}.seed`;
  try {
    await rm(temporary, { force: true });
    for (const folder of [upperFolder, workFolder]) {
      await mkdir(join(seed, folder), { recursive: true });
      await chmod(join(seed, folder), 0o755); // whatever the umask says
    }
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.truncate(sizeGiB * gib);
    } finally {
      await file.close();
    }
    await run('mkfs.ext4', ['-q', '-F', '-b', '4096', '-m', '0', '-J', `size=${journalMiB(sizeGiB)}`,
      '-E', 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,assume_storage_prezeroed=1', '-d', seed, temporary], { signal, timeoutMs: 120_000 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asDiskFull(error, path);
  } finally {
    await rm(seed, { recursive: true, force: true });
  }
}

/** The map of an idmapped mount as mount(8)'s `X-mount.idmap` wants it: ids 0..65535 on disk are `idBase`.. on the host. */
export function baseIdmap(idBase: number): string {
  return `b:0:${idBase}:${rangeSize}`;
}

/**
 * The map of a writable layer: as `baseIdmap`, and the host's root is id 65536 on disk. Without that root has no id on the disk,
 * overlayfs cannot make its work folder (EOVERFLOW) and silently mounts read-only.
 */
export function layerIdmap(idBase: number): string {
  return `${baseIdmap(idBase)} b:${rangeSize}:0:1`;
}

/** Mounts the disk at the folder `at`, idmapped to `idBase`. The loop device goes away with the mount. @throws COMMAND_FAILED */
export async function mountDisk(path: string, at: string, idBase: number, signal?: AbortSignal): Promise<void> {
  await run('mount', ['-t', 'ext4', '-o', `loop,nodev,minixdf,noinit_itable,errors=remount-ro,X-mount.idmap=${layerIdmap(idBase)}`, '--', path, at], { signal });
}

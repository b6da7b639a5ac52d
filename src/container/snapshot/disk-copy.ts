/**
 * A copy of a container's root file system as it was at one moment, in the instance folder:
 *
 *     snapshot/disk      a copy of `disk`; unlinked as soon as it is mounted, so that nothing of it outlives a crash
 *     snapshot/layer/    the copy, mounted with the ids that are on it
 *     snapshot/rootfs/   overlay of the image's tree and the copy, read-only
 *     snapshot/checkpoint/  its memory of the same moment, where that was asked for (memory.ts)
 *
 * The folder is closed to all but root: these mounts show the guest's set-uid files with unshifted ids.
 *
 * The disk is copied while the guest goes on. If nothing at all was written to it from one flush to the next, that copy is as good
 * as one of a frozen guest, and the guest never stands still; else it is copied once more, frozen. A guest that writes costs the copy
 * twice; the second time it is in memory. With its memory in the snapshot it always stands still for that, and the disk is looked at then.
 *
 * The copy is a reflink where the host's file system can (XFS, Btrfs: a few ms, no space), else the written blocks are copied, holes
 * stay holes: that is the guest's own changes, not the image. ext4 replays its journal when the copy is mounted, and frees what was
 * deleted but open.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '../../base/fault-points.js';
import type { Log } from '../../base/log.js';
import { run } from '../../base/run.js';
import { checkpointPaths, removeCheckpoint, type CheckpointPaths } from '../checkpoint/images.js';
import { settle } from '../checkpoint/in-flight.js';
import { asDiskFull } from '../../base/disk-full.js';
import { mountsUnder, unmountAll } from '../storage/mounts.js';
import { lowerOptions, rootFsPaths, type RootFsPaths } from '../storage/root-fs.js';

/** Fault points of the copy, in order; the first one only of a guest that writes. */
export const diskCopyFaultPoints = ['snapshot.frozen', 'snapshot.copied', 'snapshot.mounted'] as const;

const snapshotFolder = 'snapshot';
/** A copy that takes this long is stuck, or larger than a snapshot may freeze a guest for. */
const copyTimeoutMs = 300_000;
const settleMs = 60_000;

/** Where a snapshot's memory lies. */
export const memoryPaths = (instanceDir: string): CheckpointPaths => checkpointPaths({ folder: join(instanceDir, snapshotFolder) });

/** Runs `work` while nothing writes to the disk. */
export interface Still {
  readonly run: (work: () => Promise<void>) => Promise<void>;
  /** It has something of its own to do in that moment: it is run also where the disk does not need it. */
  readonly always: boolean;
}

/**
 * Makes the copy.
 * @param trees those below the disk, the lowest first, with ids 0..65535
 * @returns where it is: its `rootfs` is the copy, read-only
 * @throws DISK_FULL, COMMAND_FAILED, the signal's reason; then nothing is left
 */
export async function copyRootFs(instanceDir: string, trees: readonly string[], still: Still, log: Log, signal: AbortSignal): Promise<RootFsPaths> {
  await removeCopy(instanceDir, log);
  const source = rootFsPaths(instanceDir);
  const folder = join(instanceDir, snapshotFolder);
  const copy = rootFsPaths(folder);
  try {
    await mkdir(folder, { mode: 0o700 });
    for (const path of [copy.layer, copy.rootfs]) await mkdir(path, { mode: 0o700 });
    const mounted = (await mountsUnder(source.layer)).length > 0;
    const copyDisk = async (): Promise<void> => void (await run('cp', ['--reflink=auto', '--sparse=auto', '--', source.disk, copy.disk], { timeoutMs: copyTimeoutMs, signal }));
    const flush = async (): Promise<void> => { if (mounted) await run('sync', ['--file-system', '--', source.layer], { timeoutMs: copyTimeoutMs, signal }); };
    await flush(); // what is old goes to the disk before anything stands still
    const before = await writesOf(source.layer);
    const written = async (): Promise<boolean> => mounted && (before === undefined || before !== await writesOf(source.layer));
    await copyDisk();
    await flush();
    if (still.always || await written()) {
      await still.run(async () => {
        await flush();
        if (still.always && !(await written())) return;
        faultPoint('snapshot.frozen');
        await copyDisk();
      });
    }
    faultPoint('snapshot.copied');
    const options = 'nodev,nosuid,noexec';
    await run('mount', ['-t', 'ext4', '-o', `loop,${options},noinit_itable,errors=remount-ro`, '--', copy.disk, copy.layer], { signal });
    await unlink(copy.disk);
    // the same index: without it a hard link of which one name was changed would fall apart into two files
    await run('mount', ['-t', 'overlay', '-o', `ro,${options},index=on,nfs_export=on,${lowerOptions(trees)},upperdir=${copy.upper},workdir=${copy.work}`, '--', 'overlay', copy.rootfs], { signal });
    faultPoint('snapshot.mounted');
    return copy;
  } catch (error) {
    await removeCopy(instanceDir, log);
    throw asDiskFull(error, folder);
  }
}

/**
 * How much was ever written to the disk under a mount: what its loop device has completed. It tells nothing of what is still in
 * memory, so it is read after a flush.
 * @returns undefined if the kernel does not count
 */
async function writesOf(layer: string): Promise<string | undefined> {
  const device = (await mountsUnder(layer)).find((mount) => mount.path === layer)?.source;
  const name = /^\/dev\/(loop\d+)$/.exec(device ?? '')?.[1];
  if (name === undefined) return undefined;
  const block = join('/sys/block', name);
  const [stat, counted] = await Promise.all([readFile(join(block, 'stat'), 'utf8'), readFile(join(block, 'queue/iostats'), 'utf8')]).catch(() => ['', '']);
  // Documentation/block/stat.rst: the 7th are sectors written, the 14th sectors discarded (requests would count mere flushes)
  const fields = stat.trim().split(/\s+/);
  return counted?.trim() === '1' && fields.length >= 7 ? [6, 13].map((place) => fields[place]).join(' ') : undefined;
}

/** Takes the copy away, whatever is left of it. Idempotent. */
export async function removeCopy(instanceDir: string, log: Log): Promise<void> {
  const folder = join(instanceDir, snapshotFolder);
  const copy = rootFsPaths(folder);
  const memory = memoryPaths(instanceDir);
  if (existsSync(memory.folder)) {
    await settle(memory.folder, settleMs, log); // a criu whose service was killed ends by itself
    await removeCheckpoint(memory);
  }
  for (const mount of await mountsUnder(folder)) await unmountAll(mount.path, log);
  await rm(copy.disk, { force: true });
  // rmdir, never a recursive removal: nothing of a guest is to be reached by it
  for (const path of [copy.rootfs, copy.layer, folder]) await rmdir(path).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
}

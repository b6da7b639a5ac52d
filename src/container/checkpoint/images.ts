/**
 * A checkpoint on disk: `<instance>/checkpoint/` with
 *   images/    criu's files, closed to others; criu reads them as the container's own root, so a restore hands them to it
 *   work/      criu's logs and statistics
 *   meta.json  what it is; written last, after all files are on the disk: with it the checkpoint is whole, without it it is rubbish
 */
import { chmodSync, chownSync, existsSync, statSync } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, realpath, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readJson, syncDirectory, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { unmountBelow } from '../cleanup.js';
import type { GuestGroups } from './cgroup-groups.js';
import type { HostFacts } from './facts.js';
import { mountInMemory, unmountMemory } from './memory-folder.js';
import type { CheckpointPaths } from './paths.js';
import type { DumpStats } from './stats.js';

export { checkpointPaths, type CheckpointPaths } from './paths.js';

/** `meta.json`. */
export interface CheckpointMeta {
  readonly version: 1;
  readonly at: string;
  readonly host: HostFacts;
  /** criu's files by name and size: a file that lost its end is noticed before the processes are half made. */
  readonly files: Readonly<Record<string, number>>;
  readonly bytes: number;
  readonly groups: GuestGroups;
  /** When PID 1 was started first. */
  readonly startedAt: string | undefined;
  readonly stats: DumpStats | undefined;
  /** The shortest watchdog of its services (see `shortestWatchdog`), seconds. */
  readonly watchdogSeconds?: number | undefined;
  /** It came with the image of the container: criu's files are the image's, `images/` only shows them. Not in an image's own record. */
  readonly from?: CheckpointOrigin;
}

/** Where an image's checkpoint comes from. */
export interface CheckpointOrigin {
  /** The server that was frozen; the container itself when it was shelved. */
  readonly instance: string;
  /** Addresses that it had and the container has not. */
  readonly addresses: readonly { readonly address: string; readonly scope: string }[];
}

/**
 * Makes the folders anew, empty. The mapped root passes through the outer one but cannot list it.
 * @param memory they are to be in memory, which will hold so many bytes, where there is enough of it
 * @returns true if they are
 */
export async function makeCheckpointFolders(paths: CheckpointPaths, memory?: { readonly bytes: number; readonly log: Log }): Promise<boolean> {
  await removeCheckpoint(paths);
  await mkdir(paths.folder, { mode: 0o711 });
  const inMemory = memory !== undefined && (await mountInMemory(paths.folder, memory.bytes, memory.log));
  await chmod(paths.folder, 0o711);
  await mkdir(paths.images, { mode: 0o700 });
  await mkdir(paths.work, { mode: 0o700 });
  return inMemory;
}

/** Removes it; the marker first, so that no half-removed one is ever taken for whole. A criu that was killed leaves its cgroup mounts in work/. */
export async function removeCheckpoint(paths: CheckpointPaths): Promise<void> {
  await rm(paths.meta, { force: true });
  if (!existsSync(paths.folder)) return;
  for (const folder of [paths.images, paths.work]) await unmountBelow(folder);
  await unmountMemory(paths.folder);
  await unmountBelow(paths.folder);
  await rm(paths.folder, { recursive: true, force: true });
}

/** Bytes that the file system of `folder` has left for the service. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** criu's link to the images of the round before (pre-dumps of a haul): no file of its own. */
export const parentLink = 'parent';

async function imageNames(paths: Pick<CheckpointPaths, 'images'>): Promise<string[]> {
  return (await readdir(paths.images)).filter((name) => name !== parentLink).sort();
}

/** criu's files by name and size. */
export async function imageFiles(paths: Pick<CheckpointPaths, 'images'>): Promise<Record<string, number>> {
  return Object.fromEntries((await imageNames(paths)).map((name) => [name, statSync(join(paths.images, name)).size] as const));
}

/** Puts every file on the disk. Their folder's own entry follows with meta.json, which is in the same one. @throws DISK_FULL */
export async function syncImages(paths: CheckpointPaths): Promise<void> {
  try {
    await Promise.all((await imageNames(paths)).map((name) => syncFile(join(paths.images, name))));
    await syncDirectory(paths.images);
  } catch (error) {
    throw notWritten(error, paths);
  }
}

function notWritten(error: unknown, paths: CheckpointPaths): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new HaulierError('DISK_FULL', { path: paths.images, reason: 'the images could not be written' }, { cause: error });
}

const earlyPauseMs = 25;

/**
 * Puts the memory on the disk while criu still writes it, so that little is left when it is done.
 * @throws what `work` throws; DISK_FULL and whatever else a sync met: the kernel tells an error only once
 */
export async function syncMeanwhile<T>(paths: CheckpointPaths, work: Promise<T>): Promise<T> {
  const ended = new AbortController();
  const early = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      for (const name of (await readdir(paths.images)).filter((entry) => entry.startsWith('pages-'))) {
        await syncFile(join(paths.images, name)).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error; // a dump that is tried once more takes its first images away
        });
      }
      await sleep(earlyPauseMs, undefined, { signal: ended.signal }).catch(() => undefined);
    }
  };
  const synced = early().catch((error: unknown) => notWritten(error, paths));
  const result = await work.finally(() => ended.abort());
  const problem = await synced;
  if (problem) throw problem;
  return result;
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** Declares the checkpoint whole. */
export async function writeMeta(paths: CheckpointPaths, meta: CheckpointMeta): Promise<void> {
  await writeJsonAtomic(paths.meta, meta);
}

/** @returns undefined if there is no whole checkpoint @throws STATE_DAMAGED */
export async function readMeta(paths: CheckpointPaths): Promise<CheckpointMeta | undefined> {
  const value = (await readJson(paths.meta)) as CheckpointMeta | undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null || value.version !== 1 || typeof value.files !== 'object' || typeof value.host !== 'object') {
    throw new HaulierError('STATE_DAMAGED', { path: paths.meta, reason: 'not a checkpoint record' });
  }
  return value;
}

/** @throws STATE_DAMAGED if a file is missing or has another size than when it was written */
export async function checkFiles(paths: Pick<CheckpointPaths, 'images'>, meta: Pick<CheckpointMeta, 'files'>): Promise<void> {
  const found = await imageFiles(paths).catch((): Record<string, number> => ({}));
  for (const [name, size] of Object.entries(meta.files)) {
    const reason = found[name] === undefined ? 'it is missing' : found[name] !== size ? `it has ${found[name]} bytes instead of ${size}` : undefined;
    if (reason) throw new HaulierError('STATE_DAMAGED', { path: join(paths.images, name), reason });
  }
}

/**
 * Hands the images to the root of the container's user namespace, as whom criu reads some of them, and leaves them readable for the
 * host's root group: criu's first process reads one (timens) when it is in that namespace but maybe not yet mapped, as host gid 0.
 */
export async function ownImages(paths: Pick<CheckpointPaths, 'images'>, idBase: number): Promise<void> {
  for (const name of await imageNames(paths)) { // at once: they were just written, and a container may stand still until this is done
    const path = join(paths.images, name);
    chownSync(path, idBase, 0);
    chmodSync(path, 0o640);
  }
  await chown(paths.images, idBase, 0);
  await chmod(paths.images, 0o750);
  const parent = await realpath(join(paths.images, parentLink)).catch(() => undefined);
  if (parent) await ownImages({ images: parent }, idBase);
}

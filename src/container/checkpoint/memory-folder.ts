/**
 * A checkpoint's folder in memory, for a haul: its images are of use only while they are under way, and nobody needs them after a crash
 * of the host. A disk's cache takes twice as long to fill, and what is left in it is written out for nothing.
 */
import { readFile, statfs } from 'node:fs/promises';
import { messageOf } from '../../base/errors.js';
import { KeyedLock } from '../../base/lock.js';
import type { Log } from '../../base/log.js';
import { run } from '../../base/run.js';
import { listMounts } from '../storage/mounts.js';

const mebibyte = 1024 * 1024;
/** Must stay free, for everybody else on the host. */
const spareBytes = 256 * mebibyte;
const fileSystem = 'tmpfs';

/** What each folder's haul was promised, bytes. */
const promised = new Map<string, number>();
const lock = new KeyedLock();

/** Of what was promised, what is not used yet and therefore still looks free. The memory of a container that was restored is counted twice for the moment until its images go. */
async function outstandingBytes(): Promise<number> {
  const mounted = new Set((await listMounts()).flatMap(({ path, type }) => (type === fileSystem ? [path] : [])));
  let sum = 0;
  for (const [folder, bytes] of promised) {
    if (!mounted.has(folder)) promised.delete(folder); // it went with its container
    else sum += Math.max(0, bytes - (await statfs(folder).then(({ blocks, bfree, bsize }) => (blocks - bfree) * bsize, () => 0)));
  }
  return sum;
}

/** Memory that a host can give without swapping, by the text of `/proc/meminfo`. */
export function availableBytes(meminfo: string): number {
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) * 1024;
}

/**
 * Mounts a file system in memory at an empty folder, and keeps what it needs for it until it is unmounted.
 * @param needs bytes that will be in it, and what else the haul needs of this host's memory
 * @returns false where that is too much, or it cannot be mounted: the folder is as it was
 */
export async function mountInMemory(folder: string, needs: number, log: Log): Promise<boolean> {
  return await lock.hold(fileSystem, () => mount(folder, needs, log)); // one after the other: two that look at once would see the same memory free
}

async function mount(folder: string, needs: number, log: Log): Promise<boolean> {
  const free = availableBytes(await readFile('/proc/meminfo', 'utf8')) - spareBytes - (await outstandingBytes());
  if (needs > free) {
    log.info({ folder, needsMiB: Math.round(needs / mebibyte), freeMiB: Math.round(free / mebibyte) }, 'memory is short: the images of a haul lie on the disk');
    return false;
  }
  try {
    await run('mount', ['-t', fileSystem, '-o', `nodev,nosuid,mode=0711,size=${Math.floor(free / 1024)}k`, '--', 'haulier', folder]);
    promised.set(folder, needs);
    return true;
  } catch (error) {
    log.warn({ err: error, folder }, `the images of a haul lie on the disk: ${messageOf(error)}`);
    return false;
  }
}

/** Takes it away, with all that is in it; whoever still has a file of it open keeps that. Nothing if there is none. */
export async function unmountMemory(folder: string): Promise<void> {
  promised.delete(folder);
  if ((await listMounts()).some(({ path, type }) => path === folder && type === fileSystem)) await run('umount', ['--lazy', '--no-canonicalize', '--', folder]);
}

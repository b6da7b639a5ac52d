/**
 * A container's own figures: memory, processors, uptime and load in /proc, which the kernel has of the whole host only. lxcfs (Debian's
 * package of that name) serves them; its files are bound over the kernel's. Where it does not run containers see the host's figures.
 *
 * For criu they are mounts from outside, which the runtime names at a dump and gives again at a restore. So one that has them must get
 * them again wherever it is restored: from lxcfs, or, on a host without it, the host's own files.
 */
import { join } from 'node:path';
import { messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';
import type { ContainerHostOptions } from '../container-host.js';
import { listMounts } from '../storage/mounts.js';

/** The files, by their paths in the container; below the folder of lxcfs they have the same. */
export const figureFiles: readonly string[] = [
  '/proc/cpuinfo', '/proc/diskstats', '/proc/loadavg', '/proc/meminfo', '/proc/stat', '/proc/swaps', '/proc/uptime', '/sys/devices/system/cpu/online',
];

/** Type of its mounts. */
export const lxcfsType = 'fuse.lxcfs';

/** A read of it takes a millisecond; one that is stopped never answers. */
const answerMs = 5000;

/** lxcfs as it runs here. */
export interface Lxcfs {
  readonly path: string;
  /** major:minor of its file system: another one after every start of it. */
  readonly device: string;
}

/** What is mounted there, whether or not it answers. */
function mounted(path: string): Lxcfs | undefined {
  const mount = listMounts(path).findLast((one) => one.path === path);
  return mount?.type === lxcfsType ? { path, device: mount.device } : undefined;
}

/** @returns the running lxcfs, or in words why there is none */
export async function findLxcfs(options: Pick<ContainerHostOptions, 'lxcfs'>): Promise<Lxcfs | string> {
  if (options.lxcfs === undefined) return 'lxcfs_path is empty';
  const found = mounted(options.lxcfs);
  if (!found) return `no lxcfs is mounted on ${options.lxcfs}`;
  try {
    await run('cat', figureFiles.map((file) => join(found.path, file)), { timeoutMs: answerMs }); // in a process of its own: it could hang
  } catch (error) {
    return `lxcfs on ${options.lxcfs} does not answer: ${messageOf(error)}`;
  }
  return found;
}

/** Folder below which the files are for a container that must have them: lxcfs's, or the host's root. */
export async function figuresRoot(options: Pick<ContainerHostOptions, 'lxcfs'>): Promise<string> {
  const found = await findLxcfs(options);
  return typeof found === 'string' ? '/' : found.path;
}

/**
 * A second mount of a container's disk, with the ids that are on it (0..65535, and 65536 for the host's root): what is read and
 * written there can go to a host where the container has another range.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../base/log.js';
import { run } from '../../base/run.js';
import { mountImage } from '../../container/storage/disk.js';
import { listMounts, unmountAll } from '../../container/storage/mounts.js';
import { rootFsPaths } from '../../container/storage/root-fs.js';

const viewFolder = 'haul';
const options = 'nodev,nosuid,noexec';

/** Paths of the view in an instance folder. */
export function viewPaths(instanceFolder: string): { readonly view: string; readonly upper: string } {
  const view = join(instanceFolder, viewFolder);
  return { view, upper: join(view, 'upper') };
}

/** Mounts it; the container may run. Idempotent. @returns the overlay's upper folder in it */
export async function openView(instanceFolder: string, signal?: AbortSignal): Promise<string> {
  const { disk, layer } = rootFsPaths(instanceFolder);
  const { view, upper } = viewPaths(instanceFolder);
  const mounts = listMounts(instanceFolder);
  if (mounts.some(({ path }) => path === view)) return upper;
  await mkdir(view, { recursive: true, mode: 0o700 });
  // where the disk is mounted already, its loop device: a second one would be a second file system on the same bytes
  const device = mounts.find(({ path }) => path === layer)?.source;
  if (device === undefined) await mountImage(disk, view, `${options},minixdf,noinit_itable,errors=remount-ro`, signal);
  else await run('mount', ['-t', 'ext4', '-o', options, '--', device, view], { signal });
  return upper;
}

/** Takes it away. Idempotent. */
export async function closeView(instanceFolder: string, log: Log): Promise<void> {
  const { view } = viewPaths(instanceFolder);
  await unmountAll(view, log);
  await rmdir(view).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
}

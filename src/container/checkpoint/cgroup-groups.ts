/**
 * The control groups that a guest made below its own. criu leaves out those without a process, but systemd's inotify watches point
 * into them, so they are noted before a dump and made again before the restore.
 */
import { existsSync } from 'node:fs';
import { chown, mkdir, readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { cgroupFolders, delegateCgroups, type CgroupLayout } from '../cgroup.js';

/** One group: its path below the container's own, and whose it is, as ids inside the container. */
export interface GuestGroup {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
}

/** Groups of one hierarchy, by its mount point, parents before children. */
export type GuestGroups = Readonly<Record<string, readonly GuestGroup[]>>;

/** Most groups that are noted: more would be a guest's mischief. */
const most = 10_000;

function points(layout: CgroupLayout): string[] {
  return [...new Set([layout.unified, layout.v1.get('name=systemd')].filter((point) => point !== undefined))];
}

/** Notes them. */
export async function noteGroups(layout: CgroupLayout, cgroupsPath: string, idBase: number): Promise<GuestGroups> {
  const found: Record<string, GuestGroup[]> = {};
  for (const point of points(layout)) {
    const own = join(point, cgroupsPath);
    const groups: GuestGroup[] = [];
    const queue = [own];
    for (let folder = queue.shift(); folder !== undefined && groups.length < most; folder = queue.shift()) {
      for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
        if (!entry.isDirectory()) continue;
        const child = join(folder, entry.name);
        const { uid, gid } = await stat(child);
        groups.push({ path: relative(own, child), uid: uid - idBase, gid: gid - idBase });
        queue.push(child);
      }
    }
    found[point] = groups;
  }
  return found;
}

const inside = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < 65_536;

/** Makes the container's own groups and those below, and hands them to their owners. Idempotent. */
export async function makeGroups(layout: CgroupLayout, cgroupsPath: string, idBase: number, groups: GuestGroups): Promise<void> {
  for (const folder of cgroupFolders(layout, cgroupsPath)) await mkdir(folder, { recursive: true });
  await delegateCgroups(layout, cgroupsPath, idBase);
  for (const [point, below] of Object.entries(groups)) {
    if (!points(layout).includes(point)) continue;
    for (const { path, uid, gid } of below) {
      if (path.split('/').includes('..')) continue;
      const folder = join(point, cgroupsPath, path);
      if (!existsSync(folder)) await mkdir(folder);
      if (!inside(uid) || !inside(gid)) continue;
      await chown(folder, idBase + uid, idBase + gid);
      for (const file of ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control', 'tasks']) {
        if (existsSync(join(folder, file))) await chown(join(folder, file), idBase + uid, idBase + gid);
      }
    }
  }
}

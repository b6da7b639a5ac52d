/** Where a container's control groups are, on hosts with cgroup v1 beside an (empty) v2 tree and on hosts with v2 alone. */
import { existsSync } from 'node:fs';
import { chown, readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { foldersIn, textOf } from './kernel-files.js';

/** The host's cgroup mounts. */
export interface CgroupLayout {
  /** True if there is no v1 hierarchy with a controller. */
  readonly pureCgroup2: boolean;
  /** Mount point of the v2 tree, if any. */
  readonly unified: string | undefined;
  /** v1 controller name (or `name=systemd`) to mount point; empty on a pure v2 host. */
  readonly v1: ReadonlyMap<string, string>;
  /** True if swap can be limited. */
  readonly swapLimits: boolean;
}

const v1Options = new Set(['blkio', 'cpu', 'cpuacct', 'cpuset', 'devices', 'freezer', 'hugetlb', 'memory', 'net_cls', 'net_prio', 'perf_event', 'pids', 'rdma', 'misc', 'name=systemd']);

/** Reads the layout from the text of `/proc/self/mounts`. */
export function parseCgroupMounts(mounts: string): Omit<CgroupLayout, 'swapLimits'> {
  const v1 = new Map<string, string>();
  let unified: string | undefined;
  for (const line of mounts.split('\n')) {
    const [, point, type, options] = line.split(' ');
    if (!point || !options) continue;
    if (type === 'cgroup2') unified ??= point;
    if (type !== 'cgroup') continue;
    for (const option of options.split(',')) if (v1Options.has(option) && !v1.has(option)) v1.set(option, point); // later ones are a criu's at work
  }
  const controllers = [...v1.keys()].filter((name) => !name.startsWith('name='));
  return { pureCgroup2: controllers.length === 0 && unified !== undefined, unified, v1 };
}

/** Looks at this host. */
export async function readCgroupLayout(): Promise<CgroupLayout> {
  const layout = parseCgroupMounts(await readFile('/proc/self/mounts', 'utf8'));
  const memory = layout.v1.get('memory');
  const swapLimits = memory ? existsSync(join(memory, 'memory.memsw.limit_in_bytes')) : existsSync('/proc/swaps');
  return { ...layout, swapLimits };
}

/** Where they are inside a container. The runtime makes it in the tree before a restore, although /sys covers it then. */
export const cgroupMountPoint = ['sys', 'fs', 'cgroup'];

/** Every folder that belongs to `cgroupsPath`, one a hierarchy. */
export function cgroupFolders(layout: CgroupLayout, cgroupsPath: string): string[] {
  const points = new Set([...layout.v1.values(), ...(layout.unified ? [layout.unified] : [])]);
  return [...points].map((point) => join(point, cgroupsPath));
}

/** The folder of one controller: in its v1 hierarchy, else in the v2 tree. */
export function controllerFolder(layout: CgroupLayout, controller: string, cgroupsPath: string): string | undefined {
  const point = layout.v1.get(controller) ?? (layout.pureCgroup2 ? layout.unified : undefined);
  return point === undefined ? undefined : join(point, cgroupsPath);
}

/** Files that the owner of a delegated group needs (kernel's cgroup-v2.rst, "Model of Delegation"); limits stay root's. */
const delegatedFiles = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control', 'memory.oom.group', 'memory.reclaim', 'tasks'];

/** Hands a container's group in the v2 tree and in `name=systemd` to the root of its user namespace: systemd makes its own groups below. */
export async function delegateCgroups(layout: CgroupLayout, cgroupsPath: string, idBase: number): Promise<void> {
  const points = [layout.unified, layout.v1.get('name=systemd')].filter((point) => point !== undefined);
  for (const point of new Set(points)) {
    const folder = join(point, cgroupsPath);
    if (!existsSync(folder)) continue;
    await chown(folder, idBase, idBase);
    const present = new Set(await readdir(folder));
    for (const file of delegatedFiles) if (present.has(file)) await chown(join(folder, file), idBase, idBase);
  }
}

/** True if the container's group is frozen (or freezing). */
export async function isFrozen(layout: CgroupLayout, cgroupsPath: string): Promise<boolean> {
  const freezer = layout.v1.get('freezer');
  const file = freezer ? join(freezer, cgroupsPath, 'freezer.state') : join(layout.unified ?? '', cgroupsPath, 'cgroup.freeze');
  try {
    const text = (await readFile(file, 'utf8')).trim();
    return freezer ? text !== 'THAWED' : text === '1';
  } catch {
    return false;
  }
}

/** Pids in the container's group and the groups below it. */
export function cgroupPids(layout: CgroupLayout, cgroupsPath: string): number[] {
  const pids = new Set<number>();
  for (const folder of cgroupFolders(layout, cgroupsPath)) {
    for (const group of [...groupsBelow(folder), folder]) {
      for (const pid of textOf(join(group, 'cgroup.procs')).split('\n')) if (Number(pid) > 0) pids.add(Number(pid));
    }
  }
  return [...pids];
}

/** Removes what is left of the container's groups. Groups that still hold a process stay. @returns folders that could not be removed */
export async function removeCgroups(layout: CgroupLayout, cgroupsPath: string): Promise<string[]> {
  const left: string[] = [];
  for (const folder of cgroupFolders(layout, cgroupsPath)) {
    if (!existsSync(folder)) continue;
    for (const group of [...groupsBelow(folder), folder]) {
      await rmdir(group).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') left.push(group);
      });
    }
  }
  return left;
}

/** Groups below `folder`, deepest first. */
function groupsBelow(folder: string): string[] {
  return foldersIn(folder).map((name) => join(folder, name)).flatMap((child) => [...groupsBelow(child), child]);
}

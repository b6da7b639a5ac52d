/**
 * Watches of control groups that are gone. An init system watches the groups of its services by inotify; between the end of such a group
 * and that of the watch criu finds no file for it ("Can't dump that handle", or no handle at all: "error parsing [inotify") and the dump
 * fails. It is a matter of milliseconds, so a container is not frozen in it.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { foldersIn } from '../kernel-files.js';

/** One watch, as /proc/PID/fdinfo tells it (Documentation/filesystems/proc.rst). */
export interface Watch {
  readonly inode: number;
  /** The file system's device number, as stat(2) tells it. */
  readonly device: number;
  /** False: the kernel has no name for the file any more. */
  readonly hasHandle: boolean;
}

/** A device number as stat(2) tells it, from the kernel's own form (include/linux/kdev_t.h `new_encode_dev`). */
function toUser(device: number): number {
  const [major, minor] = [device >>> 20, device & 0xfffff];
  return (minor & 0xff) + major * 0x100 + (minor & ~0xff) * 0x1000;
}

/** The watches in the text of an fdinfo file. */
export function watchesIn(fdinfo: string): Watch[] {
  return [...fdinfo.matchAll(/^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+) (.*)$/gm)].map(([, inode, device, rest]) => (
    { inode: parseInt(inode ?? '', 16), device: toUser(parseInt(device ?? '', 16)), hasHandle: rest?.includes('fhandle-bytes:') === true }));
}

/** What init systems watch in a group; '.': the group itself. */
const watched = ['.', 'cgroup.events', 'memory.events'];

function inodesBelow(folder: string, names: (folder: string) => readonly string[], inodes: Set<number>): Set<number> {
  for (const name of names(folder)) {
    const inode = statSync(join(folder, name), { throwIfNoEntry: false })?.ino;
    if (inode !== undefined) inodes.add(inode);
  }
  for (const below of foldersIn(folder)) inodesBelow(join(folder, below), names, inodes);
  return inodes;
}

/** All watches of these processes; none of one that has ended. */
export function watchesOf(pids: readonly number[]): Watch[] {
  return pids.flatMap(watchesOfOne);
}

function watchesOfOne(pid: number): Watch[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).filter((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === 'anon_inode:inotify').flatMap((fd) => watchesIn(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')));
  } catch {
    return []; // it has ended
  }
}

/** True if one of the watches, of processes that stand still, is one. @param group the folder of their control group in the unified hierarchy */
export function someDeadWatch(all: readonly Watch[], group: string): boolean {
  const device = statSync(group, { throwIfNoEntry: false })?.dev;
  const watches = all.filter((watch) => watch.device === device);
  if (watches.length === 0) return false;
  if (watches.some(({ hasHandle }) => !hasHandle)) return true;
  const usual = inodesBelow(group, () => watched, new Set());
  const unusual = watches.filter(({ inode }) => !usual.has(inode));
  if (unusual.length === 0) return false;
  const there = inodesBelow(group, readdirSync, new Set());
  return unusual.some(({ inode }) => !there.has(inode));
}

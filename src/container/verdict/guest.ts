/** A container's processes as the host sees them in /proc, read once for all reasons of a verdict. Nothing is stopped for it. */
import { statSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { readMounts, type GuestMount } from './mounts.js';
import { linkOf, namesIn, textOf } from '../kernel-files.js';
import { readSockets, type GuestSockets } from './sockets.js';

/** One open file. */
export interface GuestFile {
  readonly fd: number;
  /** As the kernel names it: a path, `socket:[5]`, `anon_inode:[eventfd]`. */
  readonly link: string;
  /** open(2)'s flags. */
  readonly flags: number;
  readonly mountId: number;
  /** The whole of `/proc/PID/fdinfo/FD`. */
  readonly info: string;
  /** What it is; undefined if it cannot be asked. */
  readonly kind: 'file' | 'folder' | 'character device' | 'block device' | 'other' | undefined;
  /** Names that it has. */
  readonly links: number;
  readonly device: { readonly major: number; readonly minor: number };
}

/** One process. */
export interface GuestProcess {
  readonly pid: number;
  readonly name: string;
  /** Pid that the guest sees. */
  readonly insidePid: number;
  readonly parent: number;
  readonly tracer: number;
  /** Namespaces by kind, as `uts:[4026531838]`. */
  readonly namespaces: Readonly<Record<string, string>>;
  readonly files: readonly GuestFile[];
}

/** All of a container. */
export interface Guest {
  /** Host pid of PID 1. */
  readonly init: GuestProcess;
  readonly processes: readonly GuestProcess[];
  /** PID 1's root directory; the device as the kernel numbers it (major << 20 | minor). */
  readonly root: { readonly inode: number; readonly device: number };
  /** Mounts of every mount namespace in use. */
  readonly mounts: ReadonlyMap<string, readonly GuestMount[]>;
  readonly sockets: GuestSockets;
  /** Network devices in its own namespace. */
  readonly devices: readonly string[];
  /** Names of the devices that the host gave it. */
  readonly ownDevices: readonly string[];
}

const namespaceKinds = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'pid_for_children', 'time', 'user', 'uts'];

/** How a person names a process. */
export const named = (process: Pick<GuestProcess, 'insidePid' | 'name'>): string => `process ${process.insidePid} (${process.name})`;

const field = (text: string, name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '';

/** Of the open file itself, through the kernel's link: no path is resolved. A file of a file system is asked for on the side, it may hang. */
async function statOf(path: string, link: string): Promise<Stats | undefined> {
  if (link.startsWith('/')) return await stat(path).catch(() => undefined);
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

async function readFileEntry(pid: number, fd: string): Promise<GuestFile | undefined> {
  const path = `/proc/${pid}/fd/${fd}`;
  const link = linkOf(path);
  if (link === undefined) return undefined;
  const info = textOf(`/proc/${pid}/fdinfo/${fd}`);
  const what = await statOf(path, link);
  const rdev = what?.rdev ?? 0;
  return {
    fd: Number(fd), link, info,
    flags: parseInt(field(info, 'flags') || '0', 8),
    mountId: Number(field(info, 'mnt_id') || -1),
    kind: what && (what.isFile() ? 'file' : what.isDirectory() ? 'folder' : what.isCharacterDevice() ? 'character device' : what.isBlockDevice() ? 'block device' : 'other'),
    links: what?.nlink ?? 0,
    device: { major: Math.floor(rdev / 256) & 0xfff, minor: (rdev & 0xff) | (Math.floor(rdev / 4096) & 0xfff00) },
  };
}

/** Files read before others get a turn. */
const filesAtOnce = 256;

async function readFiles(pid: number, fds: readonly string[]): Promise<GuestFile[]> {
  const found: GuestFile[] = [];
  for (let from = 0; from < fds.length; from += filesAtOnce) {
    if (from > 0) await breathe();
    const files = await Promise.all(fds.slice(from, from + filesAtOnce).map((fd) => readFileEntry(pid, fd)));
    found.push(...files.filter((file) => file !== undefined));
  }
  return found;
}

/** @returns undefined if it ended in between */
async function readProcess(pid: number): Promise<GuestProcess | undefined> {
  const [status, fds] = [textOf(`/proc/${pid}/status`), namesIn(`/proc/${pid}/fd`)];
  if (status === '' || !fds) return undefined;
  return {
    pid,
    name: field(status, 'Name'),
    insidePid: Number(field(status, 'NSpid').split(/\s+/)[1] ?? pid),
    parent: Number(field(status, 'PPid')),
    tracer: Number(field(status, 'TracerPid')),
    namespaces: Object.fromEntries(namespaceKinds.map((kind) => [kind, linkOf(`/proc/${pid}/ns/${kind}`) ?? ''])),
    files: await readFiles(pid, fds),
  };
}

/** A device number of stat(2), as the kernel itself writes it in fdinfo. */
const kernelDevice = (device: number): number => {
  const major = Math.floor(device / 256) & 0xfff;
  const minor = (device & 0xff) | (Math.floor(device / 4096) & 0xfff00);
  return major * 2 ** 20 + minor;
};

/** Reads it. @returns undefined if its PID 1 is gone */
export async function readGuest(initPid: number, pids: readonly number[], ownDevices: readonly string[]): Promise<Guest | undefined> {
  const processes: GuestProcess[] = [];
  for (const pid of pids) {
    const process = await readProcess(pid);
    if (process) processes.push(process);
  }
  const init = processes.find((process) => process.pid === initPid);
  if (!init) return undefined;
  const mounts = new Map<string, readonly GuestMount[]>();
  for (const { pid, namespaces } of processes) {
    const namespace = namespaces['mnt'] ?? '';
    if ((mounts.get(namespace)?.length ?? 0) === 0) mounts.set(namespace, readMounts(pid)); // none: that process ended in between
  }
  // the longest-lived process of each network namespace: PID 1 comes first
  const networks = new Map([...processes].reverse().concat(init).map(({ pid, namespaces }) => [namespaces['net'] ?? '', pid]));
  const text = textOf(`/proc/${initPid}/net/dev`);
  const devices = [...text.matchAll(/^\s*([^:\s]+):/gm)].map((match) => match[1] as string);
  const root = await stat(`/proc/${initPid}/root`).catch(() => undefined);
  if (!root) return undefined;
  return { init, processes, root: { inode: root.ino, device: kernelDevice(root.dev) }, mounts, sockets: readSockets([...networks.values()]), devices, ownDevices };
}

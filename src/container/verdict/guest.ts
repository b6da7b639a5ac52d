/** A container's processes as the host sees them in /proc, read once for all reasons of a verdict. Nothing is stopped for it. */
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { readMounts, type GuestMount } from './mounts.js';
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

async function readFileEntry(pid: number, fd: string): Promise<GuestFile | undefined> {
  const path = `/proc/${pid}/fd/${fd}`;
  const [link, info, what] = await Promise.all([
    readlink(path).catch(() => undefined), readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => ''),
    stat(path).catch(() => undefined), // through the link of the kernel: the open file itself, no path is resolved
  ]);
  if (link === undefined) return undefined;
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

async function readProcess(pid: number): Promise<GuestProcess | undefined> {
  try {
    const [status, fds, namespaces] = await Promise.all([
      readFile(`/proc/${pid}/status`, 'utf8'), readdir(`/proc/${pid}/fd`),
      Promise.all(namespaceKinds.map(async (kind) => [kind, await readlink(`/proc/${pid}/ns/${kind}`).catch(() => '')] as const)),
    ]);
    const files = await Promise.all(fds.map((fd) => readFileEntry(pid, fd)));
    return {
      pid,
      name: field(status, 'Name'),
      insidePid: Number(field(status, 'NSpid').split(/\s+/)[1] ?? pid),
      parent: Number(field(status, 'PPid')),
      tracer: Number(field(status, 'TracerPid')),
      namespaces: Object.fromEntries(namespaces),
      files: files.filter((file) => file !== undefined),
    };
  } catch {
    return undefined; // it ended in between
  }
}

/** A device number of stat(2), as the kernel itself writes it in fdinfo. */
const kernelDevice = (device: number): number => {
  const major = Math.floor(device / 256) & 0xfff;
  const minor = (device & 0xff) | (Math.floor(device / 4096) & 0xfff00);
  return major * 2 ** 20 + minor;
};

/** Reads it. @returns undefined if its PID 1 is gone */
export async function readGuest(initPid: number, pids: readonly number[], ownDevices: readonly string[]): Promise<Guest | undefined> {
  const processes = (await Promise.all(pids.map(readProcess))).filter((process) => process !== undefined);
  const init = processes.find((process) => process.pid === initPid);
  if (!init) return undefined;
  const mounts = new Map<string, readonly GuestMount[]>();
  for (const { pid, namespaces } of processes) {
    const namespace = namespaces['mnt'] ?? '';
    if ((mounts.get(namespace)?.length ?? 0) === 0) mounts.set(namespace, await readMounts(pid)); // none: that process ended in between
  }
  // the longest-lived process of each network namespace: PID 1 comes first
  const networks = new Map([...processes].reverse().concat(init).map(({ pid, namespaces }) => [namespaces['net'] ?? '', pid]));
  const text = await readFile(`/proc/${initPid}/net/dev`, 'utf8').catch(() => '');
  const devices = [...text.matchAll(/^\s*([^:\s]+):/gm)].map((match) => match[1] as string);
  const root = await stat(`/proc/${initPid}/root`).catch(() => undefined);
  if (!root) return undefined;
  return { init, processes, root: { inode: root.ino, device: kernelDevice(root.dev) }, mounts, sockets: await readSockets([...networks.values()]), devices, ownDevices };
}

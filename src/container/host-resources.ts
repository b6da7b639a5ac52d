/** What this host offers, read from the kernel each time: nothing is assumed and nothing is remembered. */
import { readFile, statfs } from 'node:fs/promises';
import { machine } from 'node:os';
import type { HostResources } from './spec.js';

const gib = 1024 ** 3;

/** Counts a kernel list of numbers such as `0-3,8`. Source: cpuset(7), "List format". */
export function parseCpuList(text: string): ReadonlySet<number> {
  const cpus = new Set<number>();
  for (const part of text.trim().split(',').filter(Boolean)) {
    const [first = 0, last = first] = part.split('-').map(Number);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return cpus;
}

/** Value of the first line `key: value` (or `key<tab>: value`) of a /proc file's text. */
function field(text: string, key: string): string | undefined {
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0 && line.slice(0, colon).trim() === key) return line.slice(colon + 1).trim();
  }
  return undefined;
}

/** Processors that this service may run on (affinity and cpuset, proc(5) Cpus_allowed_list) and that are online. */
export function countCpus(status: string, online: string): number {
  const allowed = parseCpuList(field(status, 'Cpus_allowed_list') ?? '');
  const up = parseCpuList(online);
  const both = [...allowed].filter((cpu) => up.size === 0 || up.has(cpu)).length;
  return Math.max(1, both);
}

/** CPU model, vendor and flags from /proc/cpuinfo; ARM's names for them are understood too. */
export function parseCpuinfo(text: string): { readonly model: string; readonly vendor: string; readonly flags: readonly string[] } {
  const flags = field(text, 'flags') ?? field(text, 'Features') ?? '';
  return {
    model: field(text, 'model name') ?? field(text, 'Model') ?? field(text, 'cpu model') ?? 'unknown',
    vendor: field(text, 'vendor_id') ?? field(text, 'CPU implementer') ?? 'unknown',
    flags: flags.split(/\s+/).filter(Boolean),
  };
}

/**
 * The line that `uptime` (procps) prints: ` 03:50:12 up 1 day,  2:03,  1 user,  load average: 0.10, 0.20, 0.30`. Nova's API hands it
 * to clients, and the openstack client takes it apart with a regular expression.
 * @param now local time shown; @param seconds time since boot; @param loads the three load averages as in /proc/loadavg
 */
export function formatUptime(now: Date, seconds: number, users: number, loads: readonly string[]): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor(minutes / 60) % 24;
  const clock = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':');
  const daysText = days > 0 ? `${days} ${days === 1 ? 'day' : 'days'}, ` : '';
  const restText = hours > 0 ? `${String(hours).padStart(2)}:${two(minutes % 60)}` : `${minutes % 60} min`;
  return ` ${clock} up ${daysText}${restText}, ${String(users).padStart(2)} ${users === 1 ? 'user' : 'users'},  load average: ${loads.slice(0, 3).join(', ')}`;
}

const utmpRecordBytes = 384;
const userProcess = 7;

/** Counts logged-in users in a utmp file (utmp(5): records of 384 bytes, type USER_PROCESS); hosts without one have none. */
export function countUsers(utmp: Buffer): number {
  let users = 0;
  for (let at = 0; at + utmpRecordBytes <= utmp.length; at += utmpRecordBytes) if (utmp.readInt16LE(at) === userProcess) users++;
  return users;
}

async function readText(path: string, otherwise = ''): Promise<string> {
  return await readFile(path, 'utf8').catch(() => otherwise);
}

/**
 * Reads the host's resources.
 * @param instancesPath folder whose file system's size and free space (to ordinary users) are told
 * @throws the system's error if that folder is not there
 */
export async function readHostResources(instancesPath: string): Promise<HostResources> {
  const [status, online, meminfo, cpuinfo, uptime, loadavg, utmp, disk] = await Promise.all([
    readText('/proc/self/status'), readText('/sys/devices/system/cpu/online'), readText('/proc/meminfo'), readText('/proc/cpuinfo'),
    readText('/proc/uptime', '0 0'), readText('/proc/loadavg', '0.00 0.00 0.00'), readFile('/run/utmp').catch(() => Buffer.alloc(0)), statfs(instancesPath),
  ]);
  const mib = (key: string): number => Math.floor(parseInt(field(meminfo, key) ?? '0', 10) / 1024);
  const cpu = parseCpuinfo(cpuinfo);
  return {
    cpus: countCpus(status, online),
    memoryMiB: mib('MemTotal'),
    memoryAvailableMiB: mib('MemAvailable'),
    diskGiB: Math.floor(disk.blocks * disk.bsize / gib),
    diskFreeGiB: Math.floor(disk.bavail * disk.bsize / gib),
    architecture: machine(),
    cpuModel: cpu.model,
    cpuVendor: cpu.vendor,
    cpuFlags: cpu.flags,
    uptime: formatUptime(new Date(), parseFloat(uptime), countUsers(utmp), loadavg.split(' ')),
  };
}

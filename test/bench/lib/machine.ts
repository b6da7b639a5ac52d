/** What the kernel tells of memory and processor time: of the machine, and of processes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ticksPerSecond = 100; // USER_HZ, the unit of /proc/PID/stat on every Linux

/** Of /proc/PID/smaps_rollup, in MiB. */
export function rollup(pid: number, field: 'Pss' | 'Rss' | 'Private_Clean' | 'Private_Dirty'): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(text)?.[1]) / 1024;
}

function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Processor time of a process, without its children's, in seconds. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Processor time of the commands that a process has run and waited for, in seconds. */
export function childrenCpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[13]) + Number(fields[14])) / ticksPerSecond;
}

/** When a process began, milliseconds since 1970, to 10 ms. */
export function beganAt(pid: number): number {
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return Date.now() - (uptime - Number(statOf(pid)[19]) / ticksPerSecond) * 1000;
}

/** The arguments of every process of this machine, by pid. */
export function commandLines(): ReadonlyMap<number, readonly string[]> {
  return new Map(readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      return [[Number(name), readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')] as const];
    } catch {
      return []; // it has ended
    }
  }));
}

const memoryFields = ['MemAvailable', 'Slab', 'SUnreclaim', 'KernelStack', 'PageTables', 'Percpu'] as const;

/** Memory of the machine by its kind, in MiB; `MemAvailable` is what the kernel could still give. */
export type Memory = Readonly<Record<(typeof memoryFields)[number], number>>;

/** Reads it. */
export function memory(): Memory {
  const text = readFileSync('/proc/meminfo', 'utf8');
  return Object.fromEntries(memoryFields.map((field) => [field, Number(new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(text)?.[1]) / 1024])) as Memory;
}

/** What has come to it, or, of MemAvailable, gone from it. */
export function memoryTaken(before: Memory, after: Memory): Memory {
  return Object.fromEntries(memoryFields.map((field) => [field, field === 'MemAvailable' ? before[field] - after[field] : after[field] - before[field]])) as Memory;
}

/** The sum of several. */
export function memorySum(all: readonly Memory[]): Memory {
  return Object.fromEntries(memoryFields.map((field) => [field, all.reduce((sum, one) => sum + one[field], 0)])) as Memory;
}

/** What a control group and all below it hold of memory that cannot be dropped, in MiB: of processes, of tmpfs, of the kernel for them. */
export function groupMiB(folder: string): number {
  const stat = readFileSync(join(folder, 'memory.stat'), 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  const kernel = join(folder, 'memory.kmem.usage_in_bytes'); // cgroup v1
  const bytes = existsSync(kernel) ? field('total_rss') + field('total_shmem') + Number(readFileSync(kernel, 'utf8')) : field('anon') + field('shmem') + field('kernel');
  return bytes / 1024 ** 2;
}

/** The control group for memory of a process's machine of the devstack: what runs in it lies in the leaf `host`, containers beside that. */
export function machineGroup(pid: number): string {
  const path = /^\d+:(?:memory|):(\/.*)\/host$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n').filter((line) => /:(memory|):/.test(line)).sort().reverse().join('\n'))?.[1] ?? '';
  return [join('/sys/fs/cgroup/memory', path), join('/sys/fs/cgroup', path)].find((folder) => existsSync(join(folder, 'memory.stat'))) ?? '';
}

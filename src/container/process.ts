/** Processes by pid and start time, so that a reused pid is never mistaken for the one that was meant. */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** One particular process. */
export interface ProcessId {
  readonly pid: number;
  /** Its start in clock ticks since boot (field 22 of /proc/PID/stat). */
  readonly startTicks: number;
}

/** Start time out of the text of `/proc/PID/stat`; undefined for a zombie. The program's name may hold anything, so count from its last `)`. */
export function startTicksOf(stat: string): number | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const ticks = Number(fields[19]);
  return Number.isFinite(ticks) ? ticks : undefined;
}

/** Identifies a living process; undefined if there is none. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const startTicks = startTicksOf(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    return startTicks === undefined ? undefined : { pid, startTicks };
  } catch {
    return undefined;
  }
}

/** True while that very process lives. */
export function isAlive(id: ProcessId): boolean {
  return identify(id.pid)?.startTicks === id.startTicks;
}

/** Waits until the process is gone. @returns false if it still lives after `timeoutMs` */
export async function waitGone(id: ProcessId, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (let pause = 1; isAlive(id); pause = Math.min(pause * 1.3, 50)) {
    if (performance.now() >= end) return false;
    await sleep(pause, undefined, signal ? { signal } : {});
  }
  return true;
}

/** Pids of processes whose arguments contain `argument` as one whole argument, or as the end of one that starts with a path. */
export async function pidsWithArgument(argument: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const text = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (text.split('\0').includes(argument)) found.push(Number(name));
  }
  return found;
}

/** This boot's id. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

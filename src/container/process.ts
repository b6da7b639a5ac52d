/** Processes by pid and start time, so that a reused pid is never mistaken for the one that was meant. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
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

/** Of a second; the kernel's USER_HZ, the same on every architecture that Node.js runs on. */
const clockTicks = 100;

/** How long it has lived, whatever becomes of the wall clock. */
export function ageSeconds(id: ProcessId): number {
  return parseFloat(readFileSync('/proc/uptime', 'utf8')) - id.startTicks / clockTicks;
}

/** Kills that very process, if it lives. */
export function kill(id: ProcessId): void {
  if (!isAlive(id)) return;
  try {
    process.kill(id.pid, 'SIGKILL');
  } catch {
    // it ended in between
  }
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

/** True for a process that runs as the service's user on the host; guests never do, their ids are mapped. */
export async function isServiceUsers(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]) === process.getuid?.();
}

/** This boot's id. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

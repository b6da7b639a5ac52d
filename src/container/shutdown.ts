/** How to ask a guest's PID 1 to shut its system down. Every init has its own way; its program's name tells which. */
import { readlink } from 'node:fs/promises';
import { posix } from 'node:path';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { waitGone, type ProcessId } from './process.js';
import type { Runc } from './runtime/runc.js';

/** A signal to PID 1, or a command to run in the container. */
export type ShutdownWay = { readonly signal: string } | { readonly command: readonly string[] };

const ways: Readonly<Record<string, ShutdownWay>> = {
  systemd: { signal: 'SIGRTMIN+3' }, // halt.target; systemd(1). In a container systemd then exits by reboot(2)
  busybox: { signal: 'SIGUSR2' }, // poweroff; init/init.c
  init: { command: ['/sbin/init', '0'] }, // sysvinit (also under OpenRC): has no signal for it, `telinit 0` by its FIFO
  'openrc-init': { command: ['/sbin/openrc-shutdown', '--poweroff', 'now'] },
  'runit-init': { command: ['/sbin/init', '0'] },
  's6-svscan': { signal: 'SIGUSR2' },
};

/** How to shut a PID 1 of that program down. Anything unknown gets what any daemon understands. */
export function shutdownWay(program: string): ShutdownWay {
  return ways[program] ?? { signal: 'SIGTERM' };
}

/** Name of the program that a process runs; the link's text is only compared, never followed. */
export async function programOf(pid: number): Promise<string> {
  const link = await readlink(`/proc/${pid}/exe`).catch(() => '');
  return posix.basename(link.replace(/ \(deleted\)$/, ''));
}

const execTimeoutMs = 10_000;

/** Real-time signals by number: runc knows signals by the names of Go's table, which lacks them. SIGRTMIN is 34 for programs of glibc (signal(7)). */
export function signalWord(name: string): string {
  const [, edge, distance] = /^(?:SIG)?RT(MIN|MAX)(?:[+-](\d+))?$/.exec(name) ?? [];
  if (edge === undefined) return name;
  return `${edge === 'MIN' ? 34 + Number(distance ?? 0) : 64 - Number(distance ?? 0)}`;
}

/**
 * Asks PID 1 to shut down, with the signal that an application's image names, again every `retryMs`, until it is gone or `timeoutMs` has passed.
 * @returns true if it went
 */
export async function askToShutDown(
  runc: Runc,
  id: string,
  process: ProcessId,
  timing: { readonly timeoutMs: number; readonly retryMs: number; readonly stopSignal?: string | undefined },
  log: Pick<Log, 'warn' | 'debug'>,
  signal?: AbortSignal,
): Promise<boolean> {
  const program = await programOf(process.pid);
  const way = timing.stopSignal === undefined ? shutdownWay(program) : { signal: timing.stopSignal };
  const end = performance.now() + timing.timeoutMs;
  for (;;) {
    const left = end - performance.now();
    if (left <= 0) return await waitGone(process, 0);
    log.debug({ program, way }, 'asking to shut down');
    try {
      if ('signal' in way) await runc.kill(id, signalWord(way.signal));
      else await runc.exec(id, way.command, Math.min(execTimeoutMs, left));
    } catch (error) {
      log.warn({ err: error, program }, `cannot ask ${program} to shut down: ${messageOf(error)}`);
    }
    const wait = Math.min(Math.max(timing.retryMs, 100), Math.max(end - performance.now(), 0));
    if (await waitGone(process, wait, signal)) return true;
  }
}

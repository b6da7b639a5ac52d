/**
 * Notices that criu is gone in the middle of its work. In a restore the processes that it has half made, and its helpers, wait for it for
 * ever then, in a dump a helper may, and they hold its end of the runtime's connection open: the runtime waits as long.
 */
import { readdir, readFile } from 'node:fs/promises';
import { HaulierError } from '../../base/errors.js';
import { identify, isAlive, isServiceUsers, type ProcessId } from '../process.js';
import { isCriu } from './criu-apart.js';
import { killedWords, saysEnd } from './criu-log.js';
import { isMarked } from './in-flight.js';

const lookMs = 250;
/** It is missed at so many looks: the runtime itself is told of an end that criu has brought about, and needs its time to say so. */
const looks = 4;

/**
 * Runs what makes criu work, and aborts its signal when criu has ended without a word in its log of how.
 * @param folder the checkpoint's @param logFile criu's, which is not there before it begins @param gone what is thrown then
 * @throws what `work` throws
 */
export async function whileCriuLives<T>(folder: string, logFile: string, gone: HaulierError, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const lost = new AbortController();
  let criu: ProcessId | undefined;
  let missed = 0;
  const look = async (): Promise<void> => {
    if (criu && isAlive(criu)) return;
    criu = await leadingCriu(folder);
    const log = criu ? '' : await readFile(logFile, 'utf8').catch(() => '');
    missed = log !== '' && !saysEnd(log) ? missed + 1 : 0; // without a log it has not begun, and left nobody behind
    if (missed >= looks) lost.abort(gone);
  };
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => { timer = setTimeout(() => void look().catch(() => undefined).finally(() => { if (timer) next(); }), lookMs).unref(); };
  next();
  try {
    return await work(lost.signal);
  } finally {
    clearTimeout(timer);
    timer = undefined;
  }
}

/** Of a restore: nothing that is left of it will go on. */
export const lostInRestore = (): HaulierError => new HaulierError('RUNTIME_FAILED', { action: 'restore the container', reason: killedWords, halted: true });
/** Of a dump. */
export const lostInDump = (): HaulierError => new HaulierError('SUSPEND_FAILED', { reason: killedWords, killed: true, halted: true });

/**
 * The criu that the runtime has started: not what criu itself has forked, which bears its name too, and has never called execve. It is
 * known by its parent's mark alone: criu writes the title that it shows (`setproctitle`) over its own environment.
 */
async function leadingCriu(folder: string): Promise<ProcessId | undefined> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || (await commandOf(name)) !== 'criu' || (await wasOnlyForked(name))) continue;
    const status = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
    const parent = /^PPid:\t(\d+)$/m.exec(status)?.[1] ?? '0';
    if (!isCriu(status) || !(await isServiceUsers(Number(name)))) continue;
    if ((await commandOf(parent)) !== 'criu' && (await isMarked(parent, folder))) return identify(Number(name));
  }
  return undefined;
}

/** PF_FORKNOEXEC (include/linux/sched.h), in field 9 of /proc/PID/stat. An orphan's parent does not tell it apart: the runtime adopts its descendants. */
async function wasOnlyForked(pid: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]) & 0x40) !== 0;
}

const commandOf = async (pid: string): Promise<string> => (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim();

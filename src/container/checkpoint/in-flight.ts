/**
 * criu processes that still work on a container's images, also those of a service that died: known by the files that they hold, and
 * by a mark in their environment, which the runtime has, and criu until it writes its title over it. Only processes of the service's own user count: a
 * guest can name its folders and variables as it likes, and what criu has half restored, as the guest's user, goes with its control group.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { identify, isAlive, isServiceUsers, type ProcessId } from '../process.js';
import { servesPages } from './page-daemon.js';

const pollMs = 20;
const lookMs = 500;
/** SIGKILL does not end what is frozen, or waits for a disk that is gone. */
const killedMs = 15_000;

/** Name of the mark; its value is the checkpoint's folder. */
export const criuMark = 'HAULIER_CHECKPOINT';

/** True for what criu's run left; the monitor carries the mark for its whole life and is none. */
export async function isMarked(pid: string, folder: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  if (!environment.split('\0').includes(`${criuMark}=${folder}`)) return false;
  return !/(^|\/)conmon\0/.test(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''));
}

/** Processes with a file below `folder` open, or working in it; not those that serve pages from it to a container that runs. */
export async function processesIn(folder: string): Promise<ProcessId[]> {
  const found: ProcessId[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid || !(await isServiceUsers(Number(name)))) continue;
    const fds = await readdir(`/proc/${name}/fd`).catch(() => []);
    const links = await Promise.all([`/proc/${name}/cwd`, ...fds.map((fd) => `/proc/${name}/fd/${fd}`)].map((path) => readlink(path).catch(() => '')));
    if (!links.some((link) => link === folder || link.startsWith(`${folder}/`)) && !(await isMarked(name, folder))) continue;
    const id = servesPages(Number(name), folder) ? undefined : identify(Number(name));
    if (id) found.push(id);
  }
  return found;
}

/**
 * Waits until nobody works on `folder` any more: criu, asked to stop or orphaned, cures the processes that it looked into before it
 * ends, so it gets its time. What is still there after that is killed.
 * @param idleMs also what neither it nor anything that it started has done anything for so long: it hangs
 * @throws RUNTIME_FAILED if something survives that for `lastMs`
 */
export async function settle(folder: string, timeoutMs: number, log?: Pick<Log, 'warn'>, idleMs = timeoutMs, lastMs = killedMs): Promise<void> {
  const end = performance.now() + timeoutMs;
  let done = '';
  let since = performance.now();
  let killed: number | undefined;
  for (let working = await processesIn(folder); working.length > 0; working = await processesIn(folder)) {
    const now = await progressOf(working);
    if (now !== done) [done, since] = [now, performance.now()];
    const late = performance.now() >= end || performance.now() - since >= idleMs;
    if (late && performance.now() - (killed ??= performance.now()) > lastMs) throw new HaulierError('RUNTIME_FAILED', { action: 'end what works on a checkpoint', reason: `processes ${working.map(({ pid }) => pid).join(', ')} survive SIGKILL` });
    if (late) log?.warn({ folder, processes: await Promise.all(working.map(({ pid }) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))) }, 'killing what still works on a checkpoint');
    for (const { pid } of late ? working : []) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it ended in between
      }
    }
    const look = performance.now() + Math.min(idleMs, lookMs);
    while (working.some(isAlive) && performance.now() < Math.min(look, end + pollMs)) await sleep(pollMs);
  }
}

/** What these processes and those below them have done so far: processor time, and who runs or waits for a disk just now. */
export async function progressOf(working: readonly ProcessId[]): Promise<string> {
  const all = (await Promise.all((await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(async (name) => {
    const text = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    const [state = '', parent = '', ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return text === '' ? [] : [{ pid: Number(name), parent: Number(parent), state, ticks: Number(rest[9]) + Number(rest[10]) }];
  }))).flat();
  const family = new Set(working.map(({ pid }) => pid));
  for (let size = 0; size < family.size;) {
    size = family.size;
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid);
  }
  const members = all.filter(({ pid }) => family.has(pid));
  // one that runs or waits for a disk is never the same twice
  const busy = members.some(({ state }) => state === 'R' || state === 'D') ? String(performance.now()) : '';
  return `${members.map(({ pid, ticks }) => `${pid}:${ticks}`).join()} ${busy}`;
}

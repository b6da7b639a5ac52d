/**
 * Takes criu out of the control group that it is about to freeze: the runtime puts it into the container's own for a restore, and at
 * the end it would stand still there itself, with the processes in its hand.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupLayout } from '../cgroup.js';

const lookMs = 2;

/**
 * Looks for it until it is found or `over` aborts. Not before it has begun (its log is there): until then the runtime may still have to
 * read from /proc which group it is in, which is what criu takes for the container's own.
 *
 * A runtime that does it otherwise is no harm: a container that criu has frozen with
 * itself is let go at once.
 */
export async function keepCriuApart(layout: CgroupLayout, cgroupsPath: string, log: string, over: AbortSignal): Promise<void> {
  const freezer = layout.v1.get('freezer');
  if (freezer === undefined) return;
  const group = join(freezer, cgroupsPath);
  for (; !over.aborted; await sleep(lookMs)) {
    if (!existsSync(log)) continue;
    const pid = (await pidsIn(group)).find((entry) => entry.criu)?.pid;
    if (pid !== undefined) return void (await writeFile(join(dirname(group), 'cgroup.procs'), String(pid)).catch(() => undefined)); // or it has ended
    if ((await readFile(join(group, 'freezer.state'), 'utf8').catch(() => '')).trim() === 'FROZEN' && !over.aborted) return await writeFile(join(group, 'freezer.state'), 'THAWED');
  }
}

async function pidsIn(group: string): Promise<{ readonly pid: number; readonly criu: boolean }[]> {
  const pids = (await readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n').map(Number).filter((pid) => pid > 0);
  return await Promise.all(pids.map(async (pid) => ({ pid, criu: isCriu(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')) })));
}

/** True if the text of `/proc/PID/status` is criu's own: its half-made processes bear its name too, but live in the container's PID namespace. */
export function isCriu(status: string): boolean {
  return /^Name:\tcriu$/m.test(status) && /^NSpid:\t\d+$/m.test(status);
}

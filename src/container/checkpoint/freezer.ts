/** Stands a container still before criu looks at it: criu polls the freezer in steps of 100 ms and would lose one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { CgroupLayout } from '../cgroup.js';
import { cgroupPids, isFrozen } from '../cgroup.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { someDeadWatch, watchesOf } from './dead-watch.js';
import { rootFsPaths } from '../storage/root-fs.js';
import { someInVfork } from './vfork.js';
import { recallNames, someNameless } from './watched-folders.js';

const settleMs = 10_000;
const pollMs = 1;
/** One that forks all the time can outrun the kernel: let go and caught again, it is had the next time. */
const againMs = 100;
const longestPauseMs = 50;
/** One whose child never runs another program, or that keeps a watch of what is gone, is taken as it is: criu will tell. */
const passingMs = 6000;
/** Most that it goes on for between two looks: shells that start programs all the time are out of one for a moment only. */
const passingPauseMs = 4;
/** A folder that has no name any more gets none by looking. */
const maxRecalls = 2;

/**
 * Freezes every process of it, by the kernel's own switch (the runtime's command for it takes 8 ms), and neither in the middle of a vfork nor with a watch of what is gone, or of a folder whose name the kernel has dropped.
 * @throws RUNTIME_FAILED if it does not stand still in time
 */
export async function freeze(parts: HostParts, id: string, signal?: AbortSignal): Promise<void> {
  const path = cgroupsPath(parts, id);
  const { file, frozen, thawed } = freezerSwitch(parts.cgroups, path);
  const { unified } = parts.cgroups;
  const { rootfs } = rootFsPaths(parts.store.paths(id).folder);
  let began = performance.now();
  let patience = againMs;
  let pause = pollMs;
  let recalls = 0;
  while (performance.now() - began < settleMs) {
    await writeFile(file, frozen).catch((error: unknown) => { throw notFrozen(messageOf(error)); });
    if (await standsStillWithin(parts.cgroups, path, patience, signal)) {
      if (performance.now() - began > passingMs) return;
      const pids = cgroupPids(parts.cgroups, path);
      const watches = watchesOf(pids);
      const nameless = recalls < maxRecalls && someNameless(watches, rootfs);
      if (!nameless && !someInVfork(pids) && !(unified !== undefined && someDeadWatch(watches, join(unified, path)))) return;
      await writeFile(file, thawed);
      if (nameless) {
        recalls++;
        const walk = performance.now();
        await recallNames(rootfs, signal).catch((error: unknown) => parts.log.warn({ err: error, instance: id }, `cannot look at the folders of ${id}: ${messageOf(error)}`));
        signal?.throwIfAborted();
        began += performance.now() - walk;
      } else await sleep(Math.random() * passingPauseMs); // never in step with the guest
    } else {
      patience *= 2; // one that waits for a disk stands still later
      await writeFile(file, thawed);
      await sleep(pause);
      pause = Math.min(pause * 2, longestPauseMs);
    }
  }
  throw notFrozen(`some process still moves after ${settleMs / 1000} s`);
}

function notFrozen(reason: string): HaulierError {
  return new HaulierError('RUNTIME_FAILED', { action: 'freeze the container', reason });
}

/** True if it is to stand still and comes to that in time, without being let go for a moment meanwhile. */
export async function staysFrozen(parts: Pick<HostParts, 'cgroups' | 'options'>, id: string, signal?: AbortSignal): Promise<boolean> {
  const path = cgroupsPath(parts, id);
  return (await isFrozen(parts.cgroups, path)) && (await standsStillWithin(parts.cgroups, path, settleMs, signal));
}

/** Lets it go on. */
export async function thaw(parts: Pick<HostParts, 'options' | 'cgroups' | 'runc'>, id: string): Promise<void> {
  const path = cgroupsPath(parts, id);
  if (!(await isFrozen(parts.cgroups, path))) return;
  const { file, thawed } = freezerSwitch(parts.cgroups, path);
  await writeFile(file, thawed);
  if (await isFrozen(parts.cgroups, path)) await parts.runc.resume(id);
}

/** Where the kernel's switch is, and what is written to it, in both generations of control groups. */
export function freezerSwitch(layout: CgroupLayout, path: string): { readonly file: string; readonly frozen: string; readonly thawed: string } {
  const freezer = layout.v1.get('freezer');
  return freezer ? { file: join(freezer, path, 'freezer.state'), frozen: 'FROZEN', thawed: 'THAWED' } : { file: join(layout.unified ?? '', path, 'cgroup.freeze'), frozen: '1', thawed: '0' };
}

async function standsStillWithin(layout: CgroupLayout, path: string, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  for (const end = performance.now() + timeoutMs; !(await standsStill(layout, path)); await sleep(pollMs, undefined, signal ? { signal } : {})) {
    if (performance.now() >= end) return false;
  }
  return true;
}

/** True once the kernel says that all stand still, and not only that it was asked to see to it. */
async function standsStill(layout: CgroupLayout, path: string): Promise<boolean> {
  const freezer = layout.v1.get('freezer');
  if (freezer) return (await readFile(join(freezer, path, 'freezer.state'), 'utf8')).trim() === 'FROZEN';
  return /^frozen 1$/m.test(await readFile(join(layout.unified ?? '', path, 'cgroup.events'), 'utf8'));
}

/** Stands a container still before criu looks at it: criu polls the freezer in steps of 100 ms and would lose one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import type { CgroupLayout } from '../cgroup.js';
import { cgroupPids, isFrozen } from '../cgroup.js';
import { cgroupsPath, type HostParts } from '../parts.js';

const settleMs = 10_000;
/** The kernel alone stands a container still within a millisecond, unless it forks or sleeps uninterruptibly. */
const quickMs = 30;
const pollMs = 1;

/** Freezes every process of it: the kernel's own switch (0.5 ms), and the runtime (8 ms) for one that keeps moving. @throws RUNTIME_FAILED if it does not stand still in time */
export async function freeze(parts: HostParts, id: string, signal?: AbortSignal): Promise<void> {
  const path = cgroupsPath(parts, id);
  const { file, frozen } = switchOf(parts.cgroups, path);
  const asked = await writeFile(file, frozen).then(() => true, () => false);
  if (asked && (await standsStillWithin(parts.cgroups, path, quickMs, signal))) return;
  await parts.runc.pause(id, signal);
  if (!(await standsStillWithin(parts.cgroups, path, settleMs, signal))) throw new HaulierError('RUNTIME_FAILED', { action: 'freeze the container', reason: `some process still moves after ${settleMs / 1000} s` });
}

/** A guest that does nothing but start programs is caught in one of its vforks in one of five freezes. */
const vforkTries = 50;
/** Where the kernel lets the parent of a vfork wait for its child (kernel/fork.c); by its inlined caller's name in most builds. */
const vforkWaits = new Set(['kernel_clone', 'wait_for_vfork_done']);

/**
 * The same for a dump: never in the middle of a vfork(2), whose parent waits for its child in a way that criu cannot interrupt; it
 * would wait for 10 s and give up. Such a container goes on for a moment and is frozen again.
 */
export async function freezeToDump(parts: HostParts, id: string, signal?: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries++) {
    await freeze(parts, id, signal);
    if (tries === vforkTries || !(await inVfork(await cgroupPids(parts.cgroups, cgroupsPath(parts, id))))) return;
    await thaw(parts, id);
    await sleep(2 * pollMs * (1 + Math.random()), undefined, signal ? { signal } : {}); // never in step with the guest
  }
}

async function inVfork(pids: readonly number[]): Promise<boolean> {
  for (const pid of pids) {
    for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
      if (vforkWaits.has((await readFile(`/proc/${pid}/task/${thread}/wchan`, 'utf8').catch(() => '')).trim())) return true;
    }
  }
  return false;
}

/** Lets it go on. */
export async function thaw(parts: HostParts, id: string): Promise<void> {
  const path = cgroupsPath(parts, id);
  if (!(await isFrozen(parts.cgroups, path))) return;
  const { file, thawed } = switchOf(parts.cgroups, path);
  await writeFile(file, thawed);
  if (await isFrozen(parts.cgroups, path)) await parts.runc.resume(id);
}

/** Where the kernel's switch is, in both generations of control groups. */
function switchOf(layout: CgroupLayout, path: string): { readonly file: string; readonly frozen: string; readonly thawed: string } {
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

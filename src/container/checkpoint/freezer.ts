/** Stands a container still before criu looks at it: criu polls the freezer in steps of 100 ms and would lose one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import type { CgroupLayout } from '../cgroup.js';
import { isFrozen } from '../cgroup.js';
import { cgroupsPath, type HostParts } from '../parts.js';

const settleMs = 10_000;
const pollMs = 2;

/** Freezes every process of it. @throws RUNTIME_FAILED if it does not stand still in time */
export async function freeze(parts: HostParts, id: string, signal?: AbortSignal): Promise<void> {
  await parts.runc.pause(id, signal);
  const end = performance.now() + settleMs;
  while (!(await standsStill(parts.cgroups, cgroupsPath(parts, id)))) {
    if (performance.now() >= end) throw new HaulierError('RUNTIME_FAILED', { action: 'freeze the container', reason: `some process still moves after ${settleMs / 1000} s` });
    await sleep(pollMs, undefined, signal ? { signal } : {});
  }
}

/** Lets it go on. The runtime first; where that cannot any more (its record is damaged), the kernel. */
export async function thaw(parts: HostParts, id: string): Promise<void> {
  const path = cgroupsPath(parts, id);
  if (!(await isFrozen(parts.cgroups, path))) return;
  try {
    await parts.runc.resume(id);
  } catch (error) {
    const { file, thawed } = switchOf(parts.cgroups, path);
    await writeFile(file, thawed).catch(() => { throw error; });
  }
}

/** Where the kernel's switch is, in both generations of control groups. */
function switchOf(layout: CgroupLayout, path: string): { readonly file: string; readonly thawed: string } {
  const freezer = layout.v1.get('freezer');
  return freezer ? { file: join(freezer, path, 'freezer.state'), thawed: 'THAWED' } : { file: join(layout.unified ?? '', path, 'cgroup.freeze'), thawed: '0' };
}

/** True once the kernel says that all stand still, and not only that it was asked to see to it. */
async function standsStill(layout: CgroupLayout, path: string): Promise<boolean> {
  const freezer = layout.v1.get('freezer');
  if (freezer) return (await readFile(join(freezer, path, 'freezer.state'), 'utf8')).trim() === 'FROZEN';
  return /^frozen 1$/m.test(await readFile(join(layout.unified ?? '', path, 'cgroup.events'), 'utf8'));
}

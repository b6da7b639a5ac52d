/**
 * criu apart from the control group that it freezes: the runtime puts it into the container's own for a restore, and at the end it would
 * stand still there itself, with the processes in its hand. It leaves when the runtime has asked for the restore, and has read from /proc
 * which group criu was in: that is what criu takes for the container's own.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import type { CgroupLayout } from '../cgroup.js';

const lookMs = 2;
/** The kernel's time until all processes of a group stand still. */
const frozenMs = 10_000;

/** `cgroup.procs` of the freezer's group above the container's, which criu joins before it begins (`CriuGate`). */
export function groupAbove(layout: CgroupLayout, cgroupsPath: string): string | undefined {
  const freezer = layout.v1.get('freezer');
  return freezer === undefined ? undefined : join(dirname(join(freezer, cgroupsPath)), 'cgroup.procs');
}

const lineOf = async (file: string): Promise<string> => (await readFile(file, 'utf8').catch(() => '')).trim();

/** True if the group above the container's was frozen for itself: with it every container of the host stands still. */
export async function parentFrozen(layout: CgroupLayout, cgroupsPath: string): Promise<boolean> {
  const freezer = layout.v1.get('freezer');
  return freezer !== undefined && (await lineOf(join(dirname(join(freezer, cgroupsPath)), 'freezer.self_freezing'))) === '1';
}

/** Lets the group above the container's go on. */
export async function thawParent(layout: CgroupLayout, cgroupsPath: string): Promise<void> {
  const freezer = layout.v1.get('freezer');
  if (freezer !== undefined) await writeFile(join(dirname(join(freezer, cgroupsPath)), 'freezer.state'), 'THAWED');
}

/** After a restore that was to end frozen. @throws RUNTIME_FAILED if it is not the container's own group, and that alone, that criu froze */
export async function requireOwnFreeze(layout: CgroupLayout, cgroupsPath: string): Promise<void> {
  const wrong = (reason: string): HaulierError => new HaulierError('RUNTIME_FAILED', { action: 'restore the container', reason });
  if (await parentFrozen(layout, cgroupsPath)) throw wrong('criu froze the group above it');
  const group = join(layout.v1.get('freezer') ?? '', cgroupsPath);
  if ((await lineOf(join(group, 'freezer.self_freezing'))) !== '1') throw wrong('criu did not freeze it');
  for (const end = performance.now() + frozenMs; (await lineOf(join(group, 'freezer.state'))) !== 'FROZEN'; await sleep(lookMs)) {
    if (performance.now() >= end) throw wrong('it does not stand still');
  }
}

/** True if the text of `/proc/PID/status` is criu's own: its half-made processes bear its name too, but live in the container's PID namespace. */
export function isCriu(status: string): boolean {
  return /^Name:\tcriu$/m.test(status) && /^NSpid:\t\d+$/m.test(status);
}

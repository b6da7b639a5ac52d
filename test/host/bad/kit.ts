/** What the tests of bad guests and bad hosts share. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, cgroupPids, controllerFolder, readCgroupLayout } from '../../../src/container/cgroup.js';
import type { StopTiming } from '../../../src/container/container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { counted } from '../container/checkpoint-kit.js';
import { makeSpec, operate, pidsWithArgument, until, type Bed } from '../container/harness.js';

/** A stop without asking. */
export const atOnce = { timeoutMs: 0, retryMs: 0 };

/** Makes and starts a container of the busybox system, and waits until its counter counts. */
export async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, change);
  await operate((operation) => bed.host.create(spec, operation));
  await start(bed, spec.id);
  return spec;
}

/** Starts it, and waits until its counter counts. */
export async function start(bed: Bed, id: string): Promise<void> {
  await operate((operation) => bed.host.startContainer(id, operation));
  await until('it counts', async () => (await counted(bed.host, id)) > 0);
}

/** The container counts on. */
export async function countsOn(bed: Bed, id: string): Promise<void> {
  const before = await counted(bed.host, id);
  await until(`${id} counts on`, async () => (await counted(bed.host, id)) > before);
}

export const destroy = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.destroy(id, operation));
export const stop = (bed: Bed, id: string, timing: StopTiming = atOnce): Promise<void> => operate((operation) => bed.host.stopContainer(id, timing, operation));

/** What is left of a container on this host, in words. */
export async function traces(bed: Bed, id: string): Promise<string[]> {
  const left: string[] = [];
  const note = (what: string, found: boolean): void => { if (found) left.push(what); };
  note('mount', (await readFile('/proc/self/mountinfo', 'utf8')).includes(id));
  note('loop device', (await run('losetup', ['-a'])).stdout.includes(id));
  for (const folder of cgroupFolders(await readCgroupLayout(), join(bed.options.cgroupParent, id))) note(folder, existsSync(folder));
  for (const name of await readdir(bed.options.instancesPath)) note(`directory ${name}`, name.startsWith(id));
  for (const folder of ['containers', 'exits', 'ports', 'runc']) note(`run/${folder}`, (await readdir(join(bed.options.runPath, folder)).catch((): string[] => [])).includes(id));
  for (const pid of await pidsWithArgument(id)) note(`process ${await commandOf(pid)}`, true);
  return left;
}

const commandOf = async (pid: number): Promise<string> => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');

/** Deletes it, and fails if anything of it stays. */
export async function destroyWhole(bed: Bed, id: string): Promise<void> {
  await destroy(bed, id);
  await until('nothing is left of it', async () => (await traces(bed, id)).length === 0).catch(async (error: Error) => { throw new Error(`${error.message}: ${(await traces(bed, id)).join(', ')}`); });
}

/** Pids of a container, as this host sees them. */
export async function pidsOf(bed: Bed, id: string): Promise<number[]> {
  return cgroupPids(await readCgroupLayout(), join(bed.options.cgroupParent, id));
}

/** A file of one of its control groups, in either generation; empty if there is none. */
export async function groupValue(bed: Bed, id: string, controller: string, v1: string, v2: string): Promise<string> {
  const layout = await readCgroupLayout();
  const folder = controllerFolder(layout, controller, join(bed.options.cgroupParent, id)) ?? '';
  return (await readFile(join(folder, layout.pureCgroup2 ? v2 : v1), 'utf8').catch(() => '')).trim();
}

/** Resident memory of a process, KiB. */
export async function residentKiB(pid: number): Promise<number> {
  return Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0);
}

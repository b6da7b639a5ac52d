/** Takes away what a container is made of at run time, whatever is left of it. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../base/errors.js';
import { run } from '../base/run.js';
import { freezerSwitch } from './checkpoint/freezer.js';
import { endPageDaemon, expectEnd } from './checkpoint/page-daemon.js';
import { checkpointPaths } from './checkpoint/paths.js';
import { cgroupPids, isFrozen, removeCgroups } from './cgroup.js';
import { cgroupsPath, type HostParts } from './parts.js';
import { identify, waitGone } from './process.js';
import { isMonitorPid, starters } from './runtime/starters.js';
import { mountsUnder } from './storage/mounts.js';

const monitorWaitMs = 3000;
const cgroupTries = 40;
const cgroupPauseMs = 25;

/**
 * Kills the container if it runs and removes the runtime's record, its monitor, its cgroups.
 * @param options.inFlight a service may have died while a runtime was being started: look for such processes too
 */
export async function removeRuntime(parts: HostParts, id: string, options: { readonly inFlight: boolean }): Promise<void> {
  const checkpoint = checkpointPaths(parts.store.paths(id));
  await expectEnd(checkpoint);
  if (options.inFlight) await killStarters(parts, id);
  // a runtime that was killed while it restored leaves the guest's tree mounted in its record (`criu-root`), which is removed recursively
  if (existsSync(join(parts.runc.root, id, 'criu-root'))) await unmountBelow(join(parts.runc.root, id));
  await removeRecord(parts, id, options);
  await killCgroup(parts, id);
  await endPageDaemon(checkpoint);
  await endMonitor(parts, id);
  await parts.store.clearRunning(id);
}

/** The runtime's command also ends what runs; where nothing does, the record is but a folder, and 15 ms are saved (no poststop hooks, groups: below). */
async function removeRecord(parts: HostParts, id: string, { inFlight }: { readonly inFlight: boolean }): Promise<void> {
  if (!inFlight && cgroupPids(parts.cgroups, cgroupsPath(parts, id)).length === 0) return await parts.runc.forget(id);
  try {
    await parts.runc.delete(id);
  } catch (error) {
    parts.log.warn({ err: error, instance: id }, `runc cannot delete its record: ${messageOf(error)}`);
    await parts.runc.forget(id);
  }
}

/** The monitor, and the runtime while it creates or restores. */
async function killStarters(parts: HostParts, id: string): Promise<void> {
  const monitor = await monitorPid(parts, id);
  const running = await parts.store.running(id);
  for (const pid of await starters(parts, id)) {
    if (pid === monitor && running) continue; // the monitor of a whole container ends by itself, after its exit file
    const target = identify(pid);
    if (!target) continue;
    kill(pid);
    await waitGone(target, monitorWaitMs);
  }
}

/** Kills processes that the runtime did not know of, until the groups are empty and gone. */
async function killCgroup(parts: HostParts, id: string): Promise<void> {
  const path = cgroupsPath(parts, id);
  for (let attempt = 0; attempt < cgroupTries; attempt++) {
    for (const pid of cgroupPids(parts.cgroups, path)) kill(pid);
    if (attempt === 0 && (await isFrozen(parts.cgroups, path))) await letDie(parts, path);
    if ((await removeCgroups(parts.cgroups, path)).length === 0) return;
    await sleep(cgroupPauseMs);
  }
  const frozen = await isFrozen(parts.cgroups, path);
  parts.log.error({ instance: id, frozen }, `cgroups of ${id} cannot be removed`);
}

/** Frozen by the freezer of cgroup v1 a killed process ends only when it is let go. */
async function letDie(parts: HostParts, path: string): Promise<void> {
  const { file, thawed } = freezerSwitch(parts.cgroups, path);
  await writeFile(file, thawed).catch((error: unknown) => parts.log.warn({ err: error }, `cannot let it end: ${messageOf(error)}`));
}

async function monitorPid(parts: HostParts, id: string): Promise<number | undefined> {
  const pid = Number(await readFile(parts.store.paths(id).conmonPidFile, 'utf8').catch(() => ''));
  return pid > 0 && (await isMonitorPid(parts, id, pid)) ? pid : undefined;
}

/** The monitor ends when its container has; one that does not is killed. */
async function endMonitor(parts: HostParts, id: string): Promise<void> {
  const pid = await monitorPid(parts, id);
  const monitor = pid === undefined ? undefined : identify(pid);
  if (!monitor || (await waitGone(monitor, monitorWaitMs))) return;
  parts.log.warn({ instance: id, pid }, 'killing a monitor that did not end');
  kill(monitor.pid);
  await waitGone(monitor, monitorWaitMs);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended in between
  }
}

/** Unmounts everything below a folder that is about to be removed: a recursive removal must never reach through a mount. */
export async function unmountBelow(folder: string): Promise<void> {
  for (const { path } of mountsUnder(folder)) await run('umount', [path]);
}

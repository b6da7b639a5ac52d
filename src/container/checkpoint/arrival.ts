/**
 * Restores a container that another host has frozen. What the restore needs is made ready piece by piece while the container still
 * runs there and its memory is on its way; what is left for the end is the runtime's own work. Where the host can do it the restored
 * container stands frozen until `letRun`: whoever decides that it runs here decides before its first instruction.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../base/atomic.js';
import { messageOf } from '../../base/errors.js';
import { together } from '../../base/together.js';
import { isFrozen, removeCgroups } from '../cgroup.js';
import { removeRuntime } from '../cleanup.js';
import { makeFolderInside } from '../guest-tree.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify } from '../process.js';
import { startMonitor } from '../runtime/conmon.js';
import type { ContainerSpec } from '../spec.js';
import { applicationOf } from '../application/process.js';
import { monitorOptions, writeBundle } from '../start.js';
import { makeGroups, type GuestGroups } from './cgroup-groups.js';
import { canStayFrozen, stayFrozen, stayFrozenOption } from './cgroup-image.js';
import { haulCriuConfig, restoreCriuOptions } from './criu-options.js';
import { keepCriuApart, parentFrozen, requireOwnFreeze, thawParent } from './criu-apart.js';
import { whileCriuLives } from './criu-lost.js';
import { killFrozen } from './dump.js';
import { freeze, thaw } from './freezer.js';
import { checkpointPaths, ownImages } from './images.js';
import { criuMark } from './in-flight.js';
import { forgetPageDaemon, startPageDaemon, type PageSource } from './page-daemon.js';
import { cgroupMountPoint, recordResumed, restoreTimeoutMs, resumeFailure, stayOrEnd, wasResumed } from './restore.js';

/** Ahead of everything: runtime's leftovers, ports, bundle, control groups, the lower parts of its tree. Its folder is in its place. */
export async function prepareArrival(parts: HostParts, spec: ContainerSpec, idBase: number, signal: AbortSignal): Promise<void> {
  const { id } = spec;
  const store = parts.store.paths(id);
  await removeRuntime(parts, id, { inFlight: false });
  await rm(join(parts.exitFolder, id), { force: true });
  await together(
    parts.storage.mountAhead(id, idBase),
    removeCgroups(parts.cgroups, cgroupsPath(parts, id)).then(() => makeGroups(parts.cgroups, cgroupsPath(parts, id), idBase, {})),
    applicationOf(parts, id).then((application) => writeBundle(parts, spec, idBase, join(store.folder, 'rootfs'), { application, restored: { from: undefined } })).then(() => writeAtomic(store.criuConfig, haulCriuConfig)),
    (async () => { for (const vif of spec.vifs) await parts.plugger.plug(id, vif, false, signal); })(),
  );
}

/** When its file system is whole. */
export async function mountArrival(parts: HostParts, id: string, idBase: number): Promise<void> {
  await makeFolderInside(await parts.storage.mount(id, idBase), cgroupMountPoint, { uid: idBase, gid: idBase });
}

/** When its images are whole. */
export async function takeImages(parts: HostParts, id: string, idBase: number, groups: GuestGroups): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(id));
  await together(
    (canStayFrozen(parts.cgroups) ? stayFrozen(paths.images) : Promise.resolve()).then(() => ownImages(paths, idBase)),
    makeGroups(parts.cgroups, cgroupsPath(parts, id), idBase, groups),
    forgetPageDaemon(paths),
    rm(paths.restoreLog, { force: true }),
  );
}

/** How its memory comes in. */
export interface ArrivalMemory {
  /** Bytes of the images. */
  readonly bytes: number;
  /** It goes on before all of its memory is read. */
  readonly lazy: boolean;
  /** Where the memory is that is not in the images. */
  readonly elsewhere?: PageSource | undefined;
}

/**
 * Restores it; it stands frozen then where that is possible (`canStayFrozen`).
 * @returns host pid of PID 1
 * @throws RESUME_FAILED: nothing of it runs
 */
export async function restoreArrival(parts: HostParts, spec: ContainerSpec, memory: ArrivalMemory): Promise<number> {
  const paths = checkpointPaths(parts.store.paths(spec.id));
  const still = canStayFrozen(parts.cgroups);
  const runtimeOptions = [
    ...restoreCriuOptions.map((option) => (still && option.startsWith('--manage-cgroups-mode=') ? stayFrozenOption : option)),
    `--work-path=${paths.work}`, ...(memory.lazy ? ['--lazy-pages'] : []),
  ];
  const over = new AbortController();
  const group = cgroupsPath(parts, spec.id);
  const stoodStill = await parentFrozen(parts.cgroups, group);
  const apart = still ? keepCriuApart(parts.cgroups, group, paths.restoreLog, over.signal) : Promise.resolve(true);
  apart.catch((error: unknown) => parts.log.warn({ err: error, instance: spec.id }, `cannot take criu out of the group that it freezes: ${messageOf(error)}`));
  try {
    if (memory.lazy) await startPageDaemon(parts, spec.id, paths, memory.elsewhere);
    const pid = await whileCriuLives(paths, (signal) => startMonitor(parts.options.conmon, parts.runc, { ...monitorOptions(parts, spec), restore: { imagePath: paths.images, runtimeOptions, timeoutMs: restoreTimeoutMs(memory.bytes), environment: { [criuMark]: paths.folder } } }, signal));
    over.abort();
    if (!(await apart.catch(() => true))) await requireOwnFreeze(parts.cgroups, group);
    return pid;
  } catch (error) {
    await killFrozen(parts, spec.id).catch((failure: unknown) => parts.log.warn({ err: failure, instance: spec.id }, `after a failed restore: ${messageOf(failure)}`));
    if (!stoodStill && (await parentFrozen(parts.cgroups, group))) await thawParent(parts.cgroups, group); // or no container of this host runs on
    await stayOrEnd(parts, spec, paths, error);
    throw await resumeFailure(paths, error);
  } finally {
    over.abort();
  }
}

/** PID 1 of a container that was restored here, maybe by an earlier life of the service; undefined if it does not run. */
export async function arrivedPid(parts: HostParts, id: string): Promise<number | undefined> {
  const pid = Number(await readFile(parts.store.paths(id).pidFile, 'utf8').catch(() => ''));
  const known = pid > 0 && (await wasResumed(checkpointPaths(parts.store.paths(id)))) && identify(pid) ? await parts.runc.state(id) : undefined;
  return known?.pid === pid && (known.status === 'running' || known.status === 'paused') ? pid : undefined;
}

/** It is this host's: lets it run, or stand if it was paused. Idempotent. */
export async function letRun(parts: HostParts, id: string, paused: boolean): Promise<void> {
  if (!paused) await thaw(parts, id);
  else if (!(await isFrozen(parts.cgroups, cgroupsPath(parts, id)))) await freeze(parts, id);
}

/** On record from now on. */
export async function recordArrived(parts: HostParts, id: string, pid: number | undefined, about: { readonly startedAt: string | undefined; readonly paused: boolean }): Promise<void> {
  if (pid !== undefined) await recordResumed(parts, id, pid, about.startedAt);
  await parts.store.update(id, { phase: 'ready', wanted: about.paused ? 'paused' : 'running', suspendedFor: undefined, exit: undefined });
}

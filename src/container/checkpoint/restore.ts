/**
 * Resumes a suspended container from its images.
 *
 * A failure leaves it suspended, with its images, for another try. From the moment at which criu lets the processes go the images are
 * the past: they write to the disk again, and a second restore would put old memory on a new file system. criu's log tells that moment.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { together } from '../../base/together.js';
import { removeRuntime, unmountBelow } from '../cleanup.js';
import type { Readiness } from '../container-host.js';
import { isOwn, showImages } from '../memory-image/clone.js';
import { becomeItself } from '../memory-image/identity.js';
import { makeFolderInside } from '../guest-tree.js';
import { hushPorts, unhushPorts } from '../network/hush.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify } from '../process.js';
import { startMonitor } from '../runtime/conmon.js';
import type { ContainerSpec } from '../spec.js';
import { applicationOf } from '../application/process.js';
import { monitorOptions, writeBundle } from '../start.js';
import { cgroupMountPoint, removeCgroups } from '../cgroup.js';
import { beginStep, cleanupStep } from '../steps.js';
import { makeGroups } from './cgroup-groups.js';
import { imageRuntimeOptions, restoreCriuOptions } from './criu-options.js';
import { lostInRestore, whileCriuLives } from './criu-lost.js';
import { saysResumed, wordsOf } from './criu-log.js';
import { hasFigures } from './figure-image.js';
import { misfits, readHostFacts } from './facts.js';
import { checkFiles, checkpointPaths, ownImages, readMeta, removeCheckpoint, type CheckpointMeta, type CheckpointPaths } from './images.js';
import { rootFsPaths } from '../storage/root-fs.js';
import { criuMark, settle } from './in-flight.js';
import { resumesLazily } from './lazy.js';
import { holdPids } from './pids-limit.js';
import { endPageDaemon, forgetPageDaemon, startPageDaemon, type PageSource } from './page-daemon.js';
import { parseRestoreStats, readStatsFile, type RestoreStats } from './stats.js';

const settleMs = 5000;

/** A criu that hangs is not waited for any longer; one that dies in the middle is noticed before (criu-lost.ts). */
export const restoreTimeoutMs = (bytes: number): number => 30_000 + bytes / 32_768;

/** How it went. */
export interface Resumed {
  /** criu's account, where it left one. */
  readonly stats: RestoreStats | undefined;
  /** Its memory is still coming in; the images are needed until then. */
  readonly lazy: boolean;
}

/**
 * From its return on the images are the past; whoever calls this takes them away (see `PageKeeper`).
 * @param ready awaited before the restore: the ports are wired
 * @param elsewhere where the memory is that is not in the images: then it comes lazily, or not at all
 * @returns undefined if it runs already
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, STATE_DAMAGED; RESUME_FAILED and whatever plugging throws: it stays suspended
 */
export async function resumeContainer(parts: HostParts, id: string, operation: Operation, ready: Readiness | undefined, elsewhere?: PageSource): Promise<Resumed | undefined> {
  const { store } = parts;
  if (typeof ready === 'object') ready.catch(() => undefined); // awaited below, maybe long after it failed
  const [spec, state] = await Promise.all([store.readSpec(id), store.readState(id)]);
  if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase === 'ready' && state.wanted === 'running' && (await store.running(id))) return undefined;
  if (state.phase !== 'ready' || state.wanted !== 'suspended') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'resume' });
  const paths = checkpointPaths(store.paths(id));
  const meta = await usable(parts, paths);

  const attempt = async (lazy: boolean): Promise<number> => {
    beginStep(operation, 'container.resume.record');
    await store.update(id, { phase: 'resuming' });
    try {
      return await restore(parts, spec, { idBase: state.idBase, meta, paths, lazy, elsewhere }, operation, ready);
    } catch (error) {
      await stayOrEnd(parts, spec, paths, error);
      throw error;
    }
  };
  let lazy = elsewhere !== undefined || (!meta.from && await resumesLazily(parts, id, meta));
  const pid = await attempt(lazy).catch(async (error: unknown) => {
    if (!lazy || elsewhere || !isHaulierError(error, 'RESUME_FAILED') || (await store.readState(id))?.wanted !== 'suspended') throw error;
    operation.log.warn({ err: error }, `reading all memory first, because that failed: ${error.message}`);
    lazy = false;
    return await attempt(false);
  });
  cleanupStep(operation, 'container.resume.restored');
  const refusing = unhushPorts(spec.vifs, parts.log);
  if (meta.from) {
    cleanupStep(operation, 'container.resume.identity');
    await becomeItself(parts, spec, pid, state.idBase, rootFsPaths(store.paths(id).folder).rootfs, meta.from);
  }
  const stats = await readStatsFile(join(paths.work, 'stats-restore'), parseRestoreStats);
  await refusing; // before the record: nobody looks for it afterwards
  await recordResumed(parts, id, pid, meta.startedAt);
  cleanupStep(operation, 'container.resume.recorded');
  await rm(paths.meta, { force: true });
  cleanupStep(operation, 'container.resume.done');
  return { stats, lazy };
}

/** @returns the checkpoint, if this host can take it back @throws RESUME_FAILED, STATE_DAMAGED; nothing was touched */
async function usable(parts: HostParts, paths: CheckpointPaths): Promise<CheckpointMeta> {
  const meta = await readMeta(paths);
  if (!meta) throw new HaulierError('RESUME_FAILED', { reason: `there are no whole images in ${paths.folder}` });
  if (!meta.from) await checkFiles(paths, meta);
  const here = await readHostFacts(parts.options).catch((error: unknown) => {
    throw new HaulierError('RESUME_FAILED', { reason: messageOf(error) }, { cause: error });
  });
  const [reason] = misfits(meta.host, here);
  if (reason) throw new HaulierError('RESUME_FAILED', { reason });
  return meta;
}

interface Restore {
  readonly idBase: number;
  readonly meta: CheckpointMeta;
  readonly paths: CheckpointPaths;
  readonly lazy: boolean;
  readonly elsewhere: PageSource | undefined;
}

/** @returns host pid of PID 1 */
async function restore(parts: HostParts, spec: ContainerSpec, what: Restore, operation: Operation, ready: Readiness | undefined): Promise<number> {
  const { meta, paths } = what;
  await prepare(parts, spec, what, operation);
  beginStep(operation, 'container.resume.ready');
  await (typeof ready === 'function' ? ready() : ready);
  beginStep(operation, 'container.resume.restore');
  const runtimeOptions = [...(meta.from ? imageRuntimeOptions : restoreCriuOptions), `--work-path=${paths.work}`, ...(what.lazy ? ['--lazy-pages'] : [])];
  try {
    // not to be given up half-way while criu lives: it takes a second, and its end is clear
    const options = { ...monitorOptions(parts, spec), restore: { imagePath: paths.images, runtimeOptions, timeoutMs: restoreTimeoutMs(meta.bytes), environment: { [criuMark]: paths.folder } } };
    return await whileCriuLives(paths.folder, paths.restoreLog, lostInRestore(), (signal) => startMonitor(parts.options.conmon, parts.runc, options, signal));
  } catch (error) {
    throw await resumeFailure(paths, error);
  }
}

/** What stopped a restore, in criu's own words where it has left some. */
export async function resumeFailure(paths: Pick<CheckpointPaths, 'restoreLog'>, error: unknown): Promise<unknown> {
  if (!isHaulierError(error, 'RUNTIME_FAILED', 'COMMAND_TIMEOUT')) return error;
  const { reason = error.message, halted } = error.details;
  // what a criu that was killed leaves behind may complain in its log when it is ended
  return new HaulierError('RESUME_FAILED', { reason: halted === true ? reason : await wordsOf(paths.restoreLog, String(reason)), halted }, { cause: error });
}

/** All that the restore needs, side by side. */
async function prepare(parts: HostParts, spec: ContainerSpec, { idBase, meta, paths, lazy, elsewhere }: Restore, operation: Operation): Promise<void> {
  const { id } = spec;
  const group = cgroupsPath(parts, id);
  beginStep(operation, 'container.resume.mount');
  await removeRuntime(parts, id, { inFlight: false });
  const bundle = async (): Promise<void> => {
    const rootfs = await parts.storage.mount(id, idBase);
    await makeFolderInside(rootfs, cgroupMountPoint, { uid: idBase, gid: idBase });
    beginStep(operation, 'container.resume.bundle');
    if (meta.from) {
      await showImages(parts, spec, idBase, paths);
      await checkFiles(paths, { files: Object.fromEntries(Object.entries(meta.files).filter(([name]) => !isOwn(name))) });
    }
    const own = meta.from ? { ...spec, figures: await hasFigures(paths.images) } : spec;
    if (own.figures !== spec.figures) await parts.store.writeSpec(own);
    await writeBundle(parts, own, idBase, rootfs, { application: await applicationOf(parts, id), restored: { from: meta.from } });
  };
  const plug = async (): Promise<void> => {
    beginStep(operation, 'container.resume.plug');
    for (const vif of spec.vifs) await parts.plugger.plug(id, vif, false, operation.signal);
    await hushPorts(spec.vifs, operation.signal);
  };
  const images = async (): Promise<void> => {
    for (const path of [join(parts.exitFolder, id), paths.restoreLog]) await rm(path, { force: true });
    await forgetPageDaemon(paths);
    if (lazy) beginStep(operation, 'container.resume.pages');
    await together(meta.from ? Promise.resolve() : ownImages(paths, idBase), lazy ? startPageDaemon(parts, id, paths, elsewhere) : Promise.resolve());
  };
  const groups = async (): Promise<void> => {
    beginStep(operation, 'container.resume.groups');
    await removeCgroups(parts.cgroups, group);
    await makeGroups(parts.cgroups, group, idBase, meta.groups);
  };
  await together(bundle(), plug(), images(), groups());
}

/** It runs: on record before the images go. */
export async function recordResumed(parts: HostParts, id: string, pid: number, startedAt: string | undefined): Promise<void> {
  await holdPids(parts, id);
  const process = identify(pid);
  if (process) await parts.store.writeRunning(id, process, startedAt ?? new Date().toISOString());
  await parts.store.update(id, { phase: 'ready', wanted: 'running', suspendedFor: undefined, exit: undefined });
}

/** True if the last restore came so far that processes ran. */
export async function wasResumed(paths: CheckpointPaths): Promise<boolean> {
  return saysResumed(await readFile(paths.restoreLog, 'utf8').catch(() => ''));
}

/** After a failed restore: suspended as before, or, if processes ran and ended, stopped. Never throws. @param failure what stopped it: where nothing goes on any more, nothing is waited for */
export async function stayOrEnd(parts: HostParts, spec: ContainerSpec, paths: CheckpointPaths, failure?: unknown): Promise<void> {
  const { id } = spec;
  const patienceMs = isHaulierError(failure) && failure.details['halted'] === true ? 0 : settleMs;
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['end its page daemon', () => endPageDaemon(paths)],
    ['end criu', () => settle(paths.folder, patienceMs)],
    ['unmount what criu left', () => unmountBelow(paths.folder)],
    ['remove its runtime', () => removeRuntime(parts, id, { inFlight: true })],
    ['let its ports refuse again', () => unhushPorts(spec.vifs, parts.log)],
    ['unplug its ports', () => parts.plugger.unplugAll(id, spec.vifs)],
    ['unmount its tree', () => parts.storage.unmount(id)],
    ['remove its exit file', () => rm(join(parts.exitFolder, id), { force: true })],
    ['record it', async () => {
      if ((await parts.store.readState(id))?.phase === 'arriving') return; // of a haul: who receives it takes it away
      const ran = await wasResumed(paths);
      if (!ran) return await parts.store.update(id, { phase: 'ready', wanted: 'suspended' });
      await parts.store.update(id, { phase: 'ready', wanted: 'stopped', suspendedFor: undefined, exit: { code: 255, at: new Date().toISOString(), wanted: false } });
      await removeCheckpoint(paths);
    }],
  ];
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      parts.log.error({ err: error, instance: id }, `after a failed resume of ${id}: cannot ${what}: ${messageOf(error)}`);
    }
  }
}

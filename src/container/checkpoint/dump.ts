/**
 * Suspends a container: its processes go to disk, its memory is free, nothing of it runs.
 *
 *   freeze, close its ports -> criu writes the images and lets the container stand there, frozen -> images synced, meta.json written
 *   -> processes killed before any of them can move, runtime, ports and tree taken away -> recorded
 *
 * meta.json is the commit: before it, any failure and any crash ends with the container going on as if nothing had been; after it the
 * work is only ever finished forward, by whoever comes next. At no moment is there neither a living container nor whole images.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { together } from '../../base/together.js';
import type { Operation } from '../../base/operation.js';
import { cgroupPids } from '../cgroup.js';
import { removeRuntime } from '../cleanup.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify, isAlive, waitGone, type ProcessId } from '../process.js';
import type { ContainerSpec } from '../spec.js';
import type { InstanceState } from '../state.js';
import { beginStep, cleanupStep } from '../steps.js';
import { verdictOf } from '../verdict/verdict.js';
import { noteGroups } from './cgroup-groups.js';
import { runtimeCriuOptions } from './criu-options.js';
import { breaksOff, wordsOf } from './criu-log.js';
import { readHostFacts } from './facts.js';
import { freeze, thaw } from './freezer.js';
import { checkpointPaths, freeBytes, imageFiles, makeCheckpointFolders, removeCheckpoint, syncImages, syncMeanwhile, writeMeta, type CheckpointMeta, type CheckpointPaths } from './images.js';
import { criuMark, settle } from './in-flight.js';
import { closePorts, openPorts, unlockNetwork } from './ports.js';
import { whileProgressing } from './progress.js';
import { parseDumpStats, readStatsFile } from './stats.js';

/**
 * criu's time to end by itself after it was given up: it cures the processes that it looked into. Killed in the middle it may take
 * them with it, so that is done only where it has come to a halt.
 */
const settleMs = 120_000;
const haltedMs = 2000;
const killWaitMs = 15_000;
/** Beside the memory: criu's other files, and air for everybody else on that disk. */
const spareBytes = 32 * 1024 * 1024;

/**
 * @param wantedBy who will ask for it back (see `InstanceState.suspendedFor`)
 * @returns what it was dumped as; undefined if it was suspended already
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE; SUSPEND_FAILED, DISK_FULL: it runs on as before
 */
export async function suspendContainer(parts: HostParts, id: string, operation: Operation, wantedBy: 'user' | 'host'): Promise<CheckpointMeta | undefined> {
  const { store } = parts;
  const [spec, state] = await Promise.all([store.readSpec(id), store.readState(id)]);
  if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase === 'ready' && state.wanted === 'suspended') return undefined;
  if (state.phase !== 'ready' || state.wanted !== 'running' || !(await store.running(id))) {
    throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'suspend' });
  }
  beginStep(operation, 'container.suspend.record');
  await store.update(id, { phase: 'suspending', suspendedFor: wantedBy });
  let meta: CheckpointMeta;
  const stoodStill: NamedProcess[] = [];
  try {
    meta = await dump(parts, spec, state, operation, stoodStill);
    beginStep(operation, 'container.suspend.commit');
    await writeMeta(checkpointPaths(store.paths(id)), meta);
  } catch (error) {
    await goOn(parts, spec, isHaulierError(error) && error.details['halted'] === true ? haltedMs : settleMs);
    throw withLosses(error, stoodStill);
  }
  await finishSuspend(parts, spec, operation, wantedBy);
  return meta;
}

/** Up to whole images of a container that stands frozen. */
async function dump(parts: HostParts, spec: ContainerSpec, state: InstanceState, operation: Operation, stoodStill: NamedProcess[]): Promise<CheckpointMeta> {
  const { id } = spec;
  const paths = checkpointPaths(parts.store.paths(id));
  beginStep(operation, 'container.suspend.prepare');
  const [host] = await together(
    readHostFacts(parts.options).catch((error: unknown) => {
      throw new HaulierError('SUSPEND_FAILED', { reason: messageOf(error) }, { cause: error });
    }),
    requireWayBack(parts, id),
    makeCheckpointFolders(paths).then(() => requireSpace(parts, id, paths.folder)),
  );

  beginStep(operation, 'container.suspend.freeze');
  await freeze(parts, id, operation.signal);
  beginStep(operation, 'container.suspend.close');
  const [groups, processes] = await together(noteGroups(parts.cgroups, cgroupsPath(parts, id), state.idBase), namedProcesses(parts, id), closePorts(spec.vifs, operation.signal));
  stoodStill.push(...processes);
  beginStep(operation, 'container.suspend.dump');
  await writeImages(parts, id, paths, operation.signal);
  beginStep(operation, 'container.suspend.dumped');
  await syncImages(paths);
  const files = await imageFiles(paths);
  const stats = await readStatsFile(join(paths.work, 'stats-dump'), parseDumpStats);
  return { version: 1, at: new Date().toISOString(), host, files, bytes: Object.values(files).reduce((sum, size) => sum + size, 0), groups, startedAt: state.startedAt, stats };
}

/** criu's part: the container stays where it is, frozen. @throws SUSPEND_FAILED, DISK_FULL, the signal's reason */
async function writeImages(parts: HostParts, id: string, paths: CheckpointPaths, signal: AbortSignal): Promise<void> {
  const args = [...runtimeCriuOptions, '--leave-running', '--image-path', paths.images, '--work-path', paths.work];
  try {
    await whileProgressing(paths, signal, (given) => syncMeanwhile(paths, parts.runc.checkpoint(id, args, given, { [criuMark]: paths.folder })));
  } catch (error) {
    if (!isHaulierError(error, 'RUNTIME_FAILED')) throw error; // given up, or come to a halt
    const killed = breaksOff(await readFile(paths.dumpLog, 'utf8').catch(() => ''));
    throw new HaulierError('SUSPEND_FAILED', { reason: await wordsOf(paths.dumpLog, String(error.details['reason'])), killed }, { cause: error });
  }
}

/**
 * A criu that is killed while its code runs inside a process can take that process with it (one in 60 of those that were killed at
 * random moments), and nothing can be done about it: at least it is said.
 */
function withLosses(error: unknown, stoodStill: readonly NamedProcess[]): unknown {
  if (!isHaulierError(error, 'SUSPEND_FAILED') || error.details['killed'] !== true) return error;
  const lost = stoodStill.filter((process) => !isAlive(process)).map(({ name }) => name);
  return lost.length === 0 ? error : new HaulierError('SUSPEND_FAILED', { ...error.details, reason: `${String(error.details['reason'])}; gone since then, maybe with it: ${lost.join(', ')}`, lost: lost.join(' ') }, { cause: error });
}

interface NamedProcess extends ProcessId {
  readonly name: string;
}

/** The container's processes. */
async function namedProcesses(parts: HostParts, id: string): Promise<NamedProcess[]> {
  const found = await Promise.all((await cgroupPids(parts.cgroups, cgroupsPath(parts, id))).map(async (pid) => {
    const process = identify(pid);
    return process && { ...process, name: (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim() };
  }));
  return found.filter((process) => process !== undefined);
}

/** @throws SUSPEND_FAILED for what could be dumped but never restored */
async function requireWayBack(parts: HostParts, id: string): Promise<void> {
  const trap = (await verdictOf(parts, id))?.findings.find(({ effect }) => effect === 'traps');
  if (trap) throw new HaulierError('SUSPEND_FAILED', { reason: `${trap.text}: it could not be resumed` });
}

/** @throws DISK_FULL if its memory cannot fit, before it is disturbed */
async function requireSpace(parts: HostParts, id: string, folder: string): Promise<void> {
  const [need, free] = await Promise.all([memoryBytes(parts, id), freeBytes(folder)]);
  const mib = (bytes: number): number => Math.round(bytes / 1024 ** 2);
  if (need + spareBytes > free) throw new HaulierError('DISK_FULL', { path: folder, reason: `its memory takes ${mib(need)} MiB and ${mib(spareBytes)} MiB must stay free, but only ${mib(free)} MiB are` });
}

/** Memory that would be written: what no file holds, each page counted once. */
export async function memoryBytes(parts: HostParts, id: string): Promise<number> {
  const sizes = await Promise.all((await cgroupPids(parts.cgroups, cgroupsPath(parts, id))).map(async (pid) => {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    return [...text.matchAll(/^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB$/gm)].reduce((sum, match) => sum + Number(match[1]) * 1024, 0);
  }));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Gives a suspend up: criu ends, the container goes on, nothing is left of the try. Never throws. */
export async function goOn(parts: HostParts, spec: ContainerSpec, patienceMs = settleMs): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(spec.id));
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['end criu', () => settle(paths.folder, patienceMs)],
    ['thaw it', () => thaw(parts, spec.id)],
    ['unlock its network', () => unlockNetwork(parts, spec.id)],
    ['open its ports', () => openPorts(spec.vifs, parts.log)],
    ['remove the images', () => removeCheckpoint(paths)],
    ['record it', () => parts.store.update(spec.id, { phase: 'ready', wanted: 'running', suspendedFor: undefined })],
  ];
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      parts.log.error({ err: error, instance: spec.id }, `after a failed suspend of ${spec.id}: cannot ${what}: ${messageOf(error)}`);
    }
  }
}

/**
 * The images are whole: takes the container away. Idempotent; also finishes what a dead service began.
 * Its ports are closed: the kernel ends the connections of killed processes, and the peers must not hear of it.
 */
export async function finishSuspend(parts: HostParts, spec: ContainerSpec, operation: Operation, wantedBy: 'user' | 'host'): Promise<void> {
  const { id } = spec;
  const running = await parts.store.running(id);
  cleanupStep(operation, 'container.suspend.kill');
  for (const pid of await cgroupPids(parts.cgroups, cgroupsPath(parts, id))) kill(pid); // all of them, frozen: none runs another instruction
  await thaw(parts, id);
  if (running && !(await waitGone(running, killWaitMs))) throw new HaulierError('RUNTIME_FAILED', { action: 'end the suspended container', reason: `process ${running.pid} survives SIGKILL` });
  cleanupStep(operation, 'container.suspend.runtime');
  await together(
    removeRuntime(parts, id, { inFlight: false }),
    parts.plugger.unplugAll(id, spec.vifs),
    parts.storage.unmount(id),
  );
  cleanupStep(operation, 'container.suspend.unmount');
  await parts.store.update(id, { phase: 'ready', wanted: 'suspended', suspendedFor: wantedBy, exit: undefined });
  cleanupStep(operation, 'container.suspend.recorded');
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it was ending
  }
}

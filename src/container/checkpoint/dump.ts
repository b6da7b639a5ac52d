/**
 * Suspends a container: its processes go to disk, its memory is free, nothing of it runs.
 *
 *   freeze, close its ports -> criu writes the images and lets the container stand there, frozen; meanwhile its disk is flushed
 *   -> images synced, meta.json written
 *   -> processes killed before any of them can move, runtime, ports and tree taken away -> recorded
 *
 * meta.json is the commit: before it, any failure and any crash ends with the container going on as if nothing had been; after it the
 * work is only ever finished forward, by whoever comes next. At no moment is there neither a living container nor whole images.
 */
import { rm } from 'node:fs/promises';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { together } from '../../base/together.js';
import type { Operation } from '../../base/operation.js';
import { cgroupPids } from '../cgroup.js';
import { removeRuntime } from '../cleanup.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { waitGone } from '../process.js';
import { isQuiesced, requireUnquiesced } from '../quiesce.js';
import type { ContainerSpec } from '../spec.js';
import type { InstanceState } from '../state.js';
import { beginStep, cleanupStep } from '../steps.js';
import { noteGroups } from './cgroup-groups.js';
import { criuDump, describeDump, requireDumpable, requireSpace } from './criu-dump.js';
import { freeze, thaw } from './freezer.js';
import { checkpointPaths, makeCheckpointFolders, removeCheckpoint, syncImages, syncMeanwhile, writeMeta, type CheckpointMeta } from './images.js';
import { settle } from './in-flight.js';
import { carriers, namedProcesses, withLosses, type NamedProcess } from './losses.js';
import { chooseNetworkLock } from './network-lock.js';
import { closePorts, openPorts, unlockNetwork } from './ports.js';
import { shortestWatchdog } from './watchdog.js';

/**
 * criu's time to end by itself after it was given up: it cures the processes that it looked into. Killed in the middle it may take
 * them with it, so that is done only where it has come to a halt.
 */
const settleMs = 120_000;
const haltedMs = 2000;
const killWaitMs = 15_000;

/**
 * @param wantedBy who will ask for it back (see `InstanceState.suspendedFor`)
 * @returns what it was dumped as; undefined if it was suspended already
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE; SUSPEND_FAILED, DISK_FULL: it runs on, or stays paused, as before
 */
export async function suspendContainer(parts: HostParts, id: string, operation: Operation, wantedBy: 'user' | 'host'): Promise<CheckpointMeta | undefined> {
  const { store } = parts;
  const [spec, state] = await Promise.all([store.readSpec(id), store.readState(id)]);
  if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase === 'ready' && state.wanted === 'suspended') return undefined;
  if (state.phase !== 'ready' || (state.wanted !== 'running' && state.wanted !== 'paused') || !(await store.running(id))) {
    throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'suspend' });
  }
  beginStep(operation, 'container.suspend.record');
  await store.update(id, { phase: 'suspending', suspendedFor: wantedBy });
  let meta: CheckpointMeta;
  const stoodStill: NamedProcess[] = [];
  try {
    await requireUnquiesced(parts, id, 'suspend');
    meta = await dump(parts, spec, state, operation, stoodStill);
    beginStep(operation, 'container.suspend.commit');
    await writeMeta(checkpointPaths(store.paths(id)), meta);
  } catch (error) {
    const carrying = carriers(stoodStill);
    await goOn(parts, spec, patienceAfter(error));
    throw withLosses(error, stoodStill, carrying);
  }
  await finishSuspend(parts, spec, operation, wantedBy).catch(async (error: unknown) => {
    if (await store.running(id)) throw error;
    // its images are whole and nothing of it runs: what is left standing goes with the resume, or with the container
    parts.log.error({ err: error, instance: id }, `${id} is suspended, but not all of it is taken away: ${messageOf(error)}`);
    await store.update(id, { phase: 'ready', wanted: 'suspended', suspendedFor: wantedBy, exit: undefined });
  });
  return meta;
}

/** Up to whole images of a container that stands frozen. */
async function dump(parts: HostParts, spec: ContainerSpec, state: InstanceState, operation: Operation, stoodStill: NamedProcess[]): Promise<CheckpointMeta> {
  const { id } = spec;
  const paths = checkpointPaths(parts.store.paths(id));
  beginStep(operation, 'container.suspend.prepare');
  const [host] = await together(requireDumpable(parts, id), makeCheckpointFolders(paths).then(() => requireSpace(parts, id, paths.folder)));

  beginStep(operation, 'container.suspend.freeze');
  if (state.wanted !== 'paused') await freeze(parts, id, operation.signal); // which may let it go for a moment
  beginStep(operation, 'container.suspend.close');
  stoodStill.push(...namedProcesses(parts, id));
  const [groups] = await together(noteGroups(parts.cgroups, cgroupsPath(parts, id), state.idBase), closePorts(spec.vifs, operation.signal));
  beginStep(operation, 'container.suspend.dump');
  const flush = async (): Promise<HaulierError | undefined> => await parts.storage.flush(id).then(() => undefined, unflushed);
  await chooseNetworkLock(parts, id, true);
  let flushed = flush();
  await syncMeanwhile(paths, criuDump(parts, id, paths, operation.signal, [], { frozenAnew: async () => { // they must be on the disk before it goes
    await flushed;
    await chooseNetworkLock(parts, id, true);
    flushed = flush();
  } }));
  beginStep(operation, 'container.suspend.dumped');
  const [meta, , problem] = await together(describeDump(paths, { host, groups, startedAt: state.startedAt, watchdogSeconds: shortestWatchdog(parts, id) }), syncImages(paths), flushed);
  if (problem) throw problem;
  return meta;
}

/** What the guest wrote must be as durable as its memory, which counts on it: after a crash of the host it would meet an older file system. */
const unflushed = (error: unknown): HaulierError => new HaulierError('SUSPEND_FAILED', { reason: `its disk cannot be written out: ${messageOf(error)}` }, { cause: error });

/** How long criu may take to end after `error`, milliseconds. */
export function patienceAfter(error: unknown): number {
  return isHaulierError(error) && error.details['halted'] === true ? haltedMs : settleMs;
}

/** Gives a suspend up: criu ends, the container goes on, nothing is left of the try. Never throws. */
export async function goOn(parts: HostParts, spec: ContainerSpec, patienceMs = settleMs): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(spec.id));
  await attempt(parts, spec, [
    ['end criu', () => settle(paths.folder, patienceMs)],
    ['withdraw the images', () => rm(paths.meta, { force: true })], // before it moves: they are the past then
    ...letGoSteps(parts, spec),
    ['remove the images', () => removeCheckpoint(paths)],
    ['record it', () => recordLetGo(parts, spec)], // with the disk free again, if they had filled it
  ]);
}

/** After a dump that left it standing: it goes on; one that was paused stays so. Never throws. */
export async function letGo(parts: HostParts, spec: ContainerSpec): Promise<void> {
  await attempt(parts, spec, [...letGoSteps(parts, spec), ['record it', () => recordLetGo(parts, spec)]]);
}

type Step = readonly [what: string, work: () => Promise<unknown>];

function letGoSteps(parts: HostParts, spec: ContainerSpec): Step[] {
  return [
    ['thaw it', async () => { if ((await parts.store.readState(spec.id))?.wanted !== 'paused' && !(await isQuiesced(parts, spec.id))) await thaw(parts, spec.id); }],
    ['unlock its network', () => unlockNetwork(parts, spec.id)],
    ['open its ports', () => openPorts(spec.vifs, parts.log)],
  ];
}

async function recordLetGo(parts: HostParts, spec: ContainerSpec): Promise<void> {
  await parts.store.update(spec.id, { phase: 'ready', suspendedFor: undefined });
}

async function attempt(parts: HostParts, spec: ContainerSpec, steps: readonly Step[]): Promise<void> {
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      parts.log.error({ err: error, instance: spec.id }, `after a failed dump of ${spec.id}: cannot ${what}: ${messageOf(error)}`);
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
  await killFrozen(parts, id);
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

/** Kills every process of a container that stands frozen: none runs another instruction. A frozen one does not die, so it is thawed then. */
export async function killFrozen(parts: HostParts, id: string): Promise<void> {
  for (const pid of cgroupPids(parts.cgroups, cgroupsPath(parts, id))) kill(pid);
  await thaw(parts, id);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it was ending
  }
}

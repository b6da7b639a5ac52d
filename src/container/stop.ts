/** Stops a container: asks, then kills, then takes its runtime, ports and mounts away. A suspended one loses its memory, as by pulling the plug. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import type { StopTiming } from './container-host.js';
import { thaw } from './checkpoint/freezer.js';
import { checkpointPaths, removeCheckpoint } from './checkpoint/images.js';
import { expectEnd } from './checkpoint/page-daemon.js';
import { removeRuntime } from './cleanup.js';
import type { HostParts } from './parts.js';
import { isAlive, kill, waitGone, type ProcessId } from './process.js';
import type { ExitWatcher } from './runtime/exits.js';
import { defaultStopSignal, isOwnInit } from './application/config.js';
import { applicationOf } from './application/process.js';
import { askToShutDown } from './shutdown.js';
import type { InstanceState } from './state.js';
import { beginStep, cleanupStep } from './steps.js';

const killWaitMs = 15_000;
const exitFileWaitMs = 1000;
const pollMs = 5;

/**
 * Idempotent, also for a container that ended by itself.
 * @throws INSTANCE_NOT_FOUND; DISK_FULL before it is touched; RUNTIME_FAILED if it survives SIGKILL
 */
export async function stopContainer(parts: HostParts, exits: ExitWatcher, id: string, timing: StopTiming, operation: Operation): Promise<void> {
  const { store } = parts;
  const state = await store.readState(id);
  const spec = await store.readSpec(id);
  if (!state || !spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  beginStep(operation, 'container.stop.record');
  const running = await store.running(id);
  const wanted = running ? true : (state.exit?.wanted ?? (state.wanted === 'stopped' || state.wanted === 'suspended'));
  const note = (change: Partial<InstanceState>, must: boolean): Promise<void> => store.update(id, { wanted: 'stopped', suspendedFor: undefined, ...change }).catch((error: unknown) => {
    if (must || !isHaulierError(error, 'DISK_FULL')) throw error; // what is not on record is so by the end, or it counts as stopped all the same
    operation.log.warn({ err: error }, messageOf(error));
  });
  await note({}, timing.evenUnrecorded !== true);
  if (state.wanted === 'suspended') await removeCheckpoint(checkpointPaths(store.paths(id)));
  if (running) await end(parts, id, running, timing, operation);

  cleanupStep(operation, 'container.stop.runtime');
  const code = running || (await store.lastRunning(id)) ? await exitCode(exits, id) : undefined;
  await removeRuntime(parts, id, { inFlight: state.phase === 'starting' });
  await removeCheckpoint(checkpointPaths(store.paths(id))); // of a resume whose pages were still coming
  cleanupStep(operation, 'container.stop.unplug');
  await parts.plugger.unplugAll(id, spec.vifs);
  cleanupStep(operation, 'container.stop.unmount');
  await parts.storage.unmount(id);
  await note({ ...(state.phase === 'starting' ? { phase: 'ready' } : {}), ...(code === undefined ? {} : { exit: { code, at: new Date().toISOString(), wanted } }) }, false);
  await exits.clear(id);
  cleanupStep(operation, 'container.stop.done');
}

async function end(parts: HostParts, id: string, process: ProcessId, timing: StopTiming, operation: Operation): Promise<void> {
  if (timing.timeoutMs > 0) {
    beginStep(operation, 'container.stop.ask');
    await thaw(parts, id);
    if (await askToShutDown(parts.runc, id, process, { ...timing, stopSignal: await stopSignal(parts, id) }, operation.log, operation.signal)) return;
    operation.log.info({ timeoutMs: timing.timeoutMs }, 'did not shut down in time, killing it');
  }
  cleanupStep(operation, 'container.stop.kill');
  await expectEnd(checkpointPaths(parts.store.paths(id)));
  kill(process); // the end of PID 1 ends its whole PID namespace, whatever the runtime is at
  if (isAlive(process)) await thaw(parts, id).catch((error: unknown) => operation.log.warn({ err: error }, `cannot let it end: ${messageOf(error)}`));
  if (!(await waitGone(process, killWaitMs))) throw new HaulierError('RUNTIME_FAILED', { action: 'kill the container', reason: `process ${process.pid} survives SIGKILL` });
}

/** The signal that an application wants; undefined for a system, which is asked in its init's own way, and where its image is gone. */
async function stopSignal(parts: HostParts, id: string): Promise<string | undefined> {
  const application = await applicationOf(parts, id).catch(() => undefined);
  return application && !(isOwnInit(application) && application.stopSignal === defaultStopSignal) ? application.stopSignal : undefined;
}

/** conmon writes the exit file a moment after PID 1's end. */
async function exitCode(exits: ExitWatcher, id: string): Promise<number | undefined> {
  const deadline = performance.now() + exitFileWaitMs;
  for (;;) {
    const code = await exits.read(id);
    if (code !== undefined || performance.now() >= deadline) return code;
    await sleep(pollMs);
  }
}

/**
 * P.Haul's `restart`: a container that criu would refuse is stopped at the source and started at the destination. Its processes and
 * connections end, its file system stays. The commit is that of all hauls (`protocol.ts`): the stopped container stands for the frozen
 * one, is started again where it was if the haul is given up, and at the destination it runs mute until that has committed.
 */
import { HaulierError, messageOf } from '../../base/errors.js';
import { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import type { ContainerHost } from '../../container/container-host.js';
import type { HostParts } from '../../container/parts.js';
import { requireUnquiesced } from '../../container/quiesce.js';
import type { ContainerSpec } from '../../container/spec.js';
import { startContainer } from '../../container/start.js';
import { obstacles, verdictOf } from '../../container/verdict/verdict.js';
import type { HaulChannel } from '../wire/channel.js';
import { closeView, openView, viewPaths } from '../disk/layer-view.js';
import { receiveOwnFiles } from '../disk/own-files.js';
import { land, type Arrival } from '../disk/receive.js';
import { receiveRounds } from '../disk/rounds.js';
import type { RestartTiming } from '../progress.js';
import { mutePorts } from './mute.js';
import { haulStep } from './steps.js';

/** What a haul asks of those who look after containers. */
export type ContainerLife = Pick<ContainerHost, 'startContainer' | 'stopContainer' | 'resume' | 'pause'> & {
  /** Looks after a container from now on. */
  watch(id: string): Promise<void>;
};

/** Of one that a dead service was stopping: it has been asked already. */
const unfinished: RestartTiming = { timeoutMs: 30_000, retryMs: 10_000 };
const syncTimeoutMs = 600_000;

/** Why criu would refuse the running container, in words; undefined if it may try. */
export async function whyRestart(parts: HostParts, id: string): Promise<string | undefined> {
  const verdict = await verdictOf(parts, id);
  const reasons = verdict ? obstacles(verdict) : [];
  return reasons.length > 0 ? `it cannot be frozen: ${reasons.join('; ')}` : undefined;
}

/** At the source: shuts it down. That it is to run again is on record before, by its phase and in the haul's record. */
export async function stopToHaul(parts: HostParts, life: ContainerLife, id: string, timing: RestartTiming, operation: Operation): Promise<void> {
  await parts.store.update(id, { phase: 'departing' });
  await requireUnquiesced(parts, id, 'haul'); // it may have been since the haul began
  await life.stopContainer(id, timing, operation);
}

/**
 * At the source: the haul is given up. Starts it again if it was stopped for it; waits for the end of a shutdown that had begun. Never
 * throws: one that does not start is stopped then, as after any failed start.
 * @param stopped the haul's record says that it was stopped for it: one whose start was cut short by the service's death is stopped by its own record
 * @returns false if it was not stopped for a haul
 */
export async function startAgain(parts: HostParts, life: ContainerLife, id: string, stopped: boolean): Promise<boolean> {
  const state = await parts.store.readState(id);
  const cutShort = stopped && state?.phase === 'ready' && state.wanted === 'stopped' && !(await parts.store.running(id));
  if (!cutShort && (state?.phase !== 'departing' || state.wanted !== 'stopped')) return false;
  parts.log.warn({ instance: id }, 'the haul by restart was given up: starting the container again');
  try {
    await new Operation({ name: 'start_again', instance: id, log: parts.log }).run(async (operation) => {
      await closeView(parts.store.paths(id).folder, parts.log);
      if (await parts.store.running(id)) await life.stopContainer(id, unfinished, operation);
      await life.startContainer(id, operation);
    });
  } catch (error) {
    parts.log.error({ err: error, instance: id }, `cannot start the container again after a haul that was given up: ${messageOf(error)}`);
    await parts.store.update(id, { phase: 'ready', wanted: 'stopped' });
  }
  return true;
}

/** At the destination: takes in a container that is stopped meanwhile, to the source's `restore`. It is here, whole and on the disk, then. @param landed told when it is found by its id */
export async function receiveStopped(parts: HostParts, channel: HaulChannel, arrival: Arrival, operation: Operation, landed: () => void): Promise<void> {
  const { signal } = operation;
  await receiveOwnFiles(channel, arrival.folder, signal);
  haulStep(operation, 'haul.destination.land');
  const { offer } = arrival;
  await land(parts, { ...arrival, offer: { ...offer, state: { ...offer.state, wanted: 'stopped', suspendedFor: undefined, exit: undefined } } }, 'arriving');
  landed();
  const { folder } = parts.store.paths(arrival.spec.id);
  const upper = await openView(folder, signal);
  haulStep(operation, 'haul.destination.prepared');
  channel.send({ type: 'prepared' });
  const { mode } = await channel.receive(['memory'], signal);
  if (mode !== 'restart') throw new HaulierError('HAUL_PROTOCOL', { reason: 'a haul that began as a restart is none' });
  haulStep(operation, 'haul.destination.layer');
  await receiveRounds(channel, upper, viewPaths(folder).view, signal);
  await closeView(folder, parts.log);
  await run('sync', ['--file-system', '--', folder], { timeoutMs: syncTimeoutMs, signal });
  await channel.receive(['restore'], signal);
}

/** At the destination: starts it, its ports mute from before its first instruction on. @throws whatever keeps it from running */
export async function startMute(parts: HostParts, spec: ContainerSpec, operation: Operation): Promise<void> {
  await startContainer(parts, spec.id, operation, () => mutePorts(spec.vifs, operation.signal));
  if (!(await parts.store.running(spec.id))) throw new HaulierError('HAUL_FAILED', { reason: 'it ended as soon as it was started' });
}

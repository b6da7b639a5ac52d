/** At the service's start: looks at every instance directory and brings record and reality together, without disturbing a running container. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HaulierError, messageOf } from '../base/errors.js';
import { checkpointPaths } from './checkpoint/images.js';
import { dropStaleImages, recoverResume, recoverSuspend } from './checkpoint/recover.js';
import { removeRuntime } from './cleanup.js';
import type { HostParts } from './parts.js';
import { identify } from './process.js';
import { unquiesce } from './quiesce.js';
import { thawAfterCrash } from './snapshot/snapshot.js';

/** What was found, for the log. */
export interface Reconciled {
  readonly running: readonly string[];
  /** Half-made or half-removed: only `destroy` is left to do with them. */
  readonly halfMade: readonly string[];
  readonly damaged: readonly string[];
}

/** What can be done with one whose record is gone or damaged; what runs of it goes on. */
const onlyDelete = 'until it is restored the server can only be deleted; if it runs, it goes on';

/** Never throws for one container's sake. */
export async function reconcile(parts: HostParts): Promise<Reconciled> {
  const running: string[] = [];
  const halfMade: string[] = [];
  const damaged: string[] = [];
  for (const id of await parts.store.ids()) {
    try {
      const state = await parts.store.readState(id);
      if (state && state.phase !== 'creating' && !(await parts.store.readSpec(id))) throw new HaulierError('STATE_DAMAGED', { path: parts.store.paths(id).spec, reason: 'it is gone' });
      if (state?.phase === 'ready' && (state.wanted === 'running' || state.wanted === 'paused')) await findRunning(parts, id, state.startedAt);
      if (!state) parts.log.error({ instance: id }, `${parts.store.paths(id).state} is gone, or was never written: ${onlyDelete}`);
      if (!state || state.phase === 'creating' || state.phase === 'removing') halfMade.push(id);
      else if (state.phase === 'starting') await finishStart(parts, id);
      else if (state.phase === 'suspending' || state.phase === 'dumping') await recoverSuspend(parts, id);
      else if (state.phase === 'resuming') await recoverResume(parts, id);
      else if (state.wanted !== 'suspended' && existsSync(checkpointPaths(parts.store.paths(id)).folder)) await dropStaleImages(parts, id);
      if (await parts.store.running(id)) running.push(id);
      await thawAfterCrash(parts, id);
      await unquiesce(parts, id);
    } catch (error) {
      parts.log.error({ err: error, instance: id }, `${messageOf(error)}: ${onlyDelete}`);
      damaged.push(id);
    }
  }
  return { running, halfMade, damaged };
}

/** The note of which process is PID 1 is gone or damaged, but the runtime knows it: it is written anew, else what runs would count as ended. */
async function findRunning(parts: HostParts, id: string, startedAt: string | undefined): Promise<void> {
  if ((await parts.store.lastRunning(id)) || !existsSync(join(parts.runc.root, id))) return;
  const known = await parts.runc.state(id);
  const process = known && (known.status === 'running' || known.status === 'paused') ? identify(known.pid) : undefined;
  if (!process) return;
  parts.log.warn({ instance: id, pid: process.pid }, `${parts.store.paths(id).running} is gone or damaged: written anew`);
  await parts.store.clearRunning(id);
  await parts.store.writeRunning(id, process, startedAt ?? new Date().toISOString());
}

/** The service died in the middle of a start: a container whose PID 1 runs is kept, anything less is taken away. */
async function finishStart(parts: HostParts, id: string): Promise<void> {
  const process = await parts.store.running(id);
  const known = process ? await parts.runc.state(id) : undefined;
  if (process && known && (known.status === 'running' || known.status === 'paused')) {
    await parts.store.update(id, { phase: 'ready', wanted: 'running', startedAt: process.startedAt });
    return;
  }
  parts.log.warn({ instance: id }, 'a start was cut short, taking its rest away');
  const spec = await parts.store.readSpec(id).catch(() => undefined);
  await removeRuntime(parts, id, { inFlight: true });
  await parts.plugger.unplugAll(id, spec?.vifs ?? []);
  await parts.storage.unmount(id);
  await parts.store.update(id, { phase: 'ready', wanted: 'stopped' });
}

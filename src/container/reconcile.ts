/** At the service's start: looks at every instance directory and brings record and reality together, without disturbing a running container. */
import { existsSync } from 'node:fs';
import { messageOf } from '../base/errors.js';
import { checkpointPaths } from './checkpoint/images.js';
import { dropStaleImages, recoverResume, recoverSuspend } from './checkpoint/recover.js';
import { removeRuntime } from './cleanup.js';
import type { HostParts } from './parts.js';
import { unquiesce } from './quiesce.js';
import { thawAfterCrash } from './snapshot/snapshot.js';

/** What was found, for the log. */
export interface Reconciled {
  readonly running: readonly string[];
  /** Half-made or half-removed: only `destroy` is left to do with them. */
  readonly halfMade: readonly string[];
  readonly damaged: readonly string[];
}

/** Never throws for one container's sake. */
export async function reconcile(parts: HostParts): Promise<Reconciled> {
  const running: string[] = [];
  const halfMade: string[] = [];
  const damaged: string[] = [];
  for (const id of await parts.store.ids()) {
    try {
      const state = await parts.store.readState(id);
      if (!state || state.phase === 'creating' || state.phase === 'removing') halfMade.push(id);
      else if (state.phase === 'starting') await finishStart(parts, id);
      else if (state.phase === 'suspending' || state.phase === 'dumping') await recoverSuspend(parts, id);
      else if (state.phase === 'resuming') await recoverResume(parts, id);
      else if (state.wanted !== 'suspended' && existsSync(checkpointPaths(parts.store.paths(id)).folder)) await dropStaleImages(parts, id);
      if (await parts.store.running(id)) running.push(id);
      await thawAfterCrash(parts, id);
      await unquiesce(parts, id);
    } catch (error) {
      parts.log.error({ err: error, instance: id }, `cannot read the record of ${id}: ${messageOf(error)}`);
      damaged.push(id);
    }
  }
  return { running, halfMade, damaged };
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

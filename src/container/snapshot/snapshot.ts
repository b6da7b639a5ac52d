/**
 * A snapshot of a container's root file system while it goes on: frozen only for as long as its disk is copied.
 *
 * What it is consistent with: every write(2) that had returned when the guest was frozen is in it, no later one is; what a program
 * still held in its own memory is not. That is what a power cut leaves, less the loss of unwritten caches: a journal or a database
 * recovers from it as from one.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { isFrozen } from '../cgroup.js';

/** A snapshot that can be read once. */
export interface DiskSnapshot {
  /** A compressed tarball of the root file system, fit to be an image. Fails if it cannot be made whole. */
  readonly stream: Readable;
  /** A rough guess of its length, for progress. */
  readonly expectedBytes: number;
  /** How long the guest stood still; 0 if it did not run. */
  readonly frozenMs: number;
  /** Ends it and takes everything temporary away; must be called in any case. Idempotent. */
  end(): Promise<void>;
}

/** In the tmpfs: this service has frozen the container, and thaws it again if it should die in between. */
const markerName = 'frozen-for-snapshot';

/**
 * Takes a snapshot; running, paused and stopped containers alike.
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, DISK_FULL, COMMAND_FAILED, the operation's abort reason; the guest goes on as before
 */
export async function snapshotContainer(parts: HostParts, id: string, operation: Operation): Promise<DiskSnapshot> {
  const state = await parts.store.readState(id);
  if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase !== 'ready') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase, action: 'snapshot' });
  operation.step('snapshot.copy');
  let frozenMs = 0;
  const archive = await parts.storage.snapshot(id, async (work) => {
    const runs = (await parts.store.running(id)) !== undefined && !(await isFrozen(parts.cgroups, cgroupsPath(parts, id)));
    if (!runs) return await work();
    const began = performance.now();
    await frozen(parts, id, work);
    frozenMs = performance.now() - began;
  }, operation);
  operation.log.info({ frozenMs: Math.round(frozenMs) }, 'snapshot taken');
  return { ...archive, frozenMs };
}

async function frozen(parts: HostParts, id: string, work: () => Promise<void>): Promise<void> {
  const marker = join(parts.store.paths(id).run, markerName);
  await writeFile(marker, '', { mode: 0o600 });
  try {
    await parts.runc.pause(id);
    await work();
  } finally {
    await thaw(parts, id);
  }
}

/** Lets the guest go on. One that ended meanwhile (an OOM kill reaches a frozen one too) is none to thaw. */
async function thaw(parts: HostParts, id: string): Promise<void> {
  if ((await parts.store.running(id)) && (await isFrozen(parts.cgroups, cgroupsPath(parts, id)))) await parts.runc.resume(id);
  await rm(join(parts.store.paths(id).run, markerName), { force: true });
}

/** At the service's start: a guest that it had frozen when it died goes on. */
export async function thawAfterCrash(parts: HostParts, id: string): Promise<void> {
  const marked = await readFile(join(parts.store.paths(id).run, markerName)).then(() => true, () => false);
  if (!marked) return;
  parts.log.warn({ instance: id }, 'the service ended while it had frozen this container for a snapshot: thawing it');
  await thaw(parts, id);
}

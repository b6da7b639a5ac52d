/**
 * Quiesces a guest: its own hook is run, its file system flushed, its processes frozen, so that a copy of its disk made outside is
 * clean; and lets it go on.
 *
 * The hook is qemu-ga's: `/etc/qemu/fsfreeze-hook freeze` before and `... thaw` after, so images that have one for VMs need no other.
 * A marker in the tmpfs says that it was begun: it is ended after `quiesceSeconds` at the latest, and when the service starts or stops.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import { run } from '../base/run.js';
import { isFrozen } from './cgroup.js';
import { freeze, thaw } from './checkpoint/freezer.js';
import { resolveInside } from './guest-tree.js';
import { cgroupsPath, type HostParts } from './parts.js';
import { rootFsPaths } from './storage/root-fs.js';
import { existing } from './view.js';

const hook = '/etc/qemu/fsfreeze-hook';
/** A hook may have a database write all it has; a frozen guest must not wait for it for ever. */
const hookMs = 60_000;
const markerName = 'quiesced';

const markerOf = (parts: HostParts, id: string): string => join(parts.store.paths(id).run, markerName);

/** @returns false if the guest has no hook @throws QUIESCE_FAILED */
async function runHook(parts: HostParts, id: string, what: 'freeze' | 'thaw'): Promise<boolean> {
  if (!(await resolveInside(rootFsPaths(parts.store.paths(id).folder).rootfs, hook))) return false;
  try {
    await parts.runc.exec(id, [hook, what], hookMs);
    return true;
  } catch (error) {
    throw new HaulierError('QUIESCE_FAILED', { reason: `${hook} ${what}: ${messageOf(error)}` }, { cause: error });
  }
}

/**
 * Quiesces a running guest; once more changes nothing.
 * @param frozen false: only the hook is run and the file system flushed, for a copy that freezes it itself
 * @throws INSTANCE_STATE if it does not run, is being suspended or hauled; QUIESCE_FAILED; then it goes on
 */
export async function quiesce(parts: HostParts, id: string, frozen: boolean, operation: Operation): Promise<void> {
  const group = cgroupsPath(parts, id);
  if (await isQuiesced(parts, id)) return;
  if (!(await parts.store.running(id)) || (await isFrozen(parts.cgroups, group))) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'not running', action: 'quiesce' });
  await writeFile(markerOf(parts, id), '', { mode: 0o600 });
  try {
    // after the marker, as whoever takes it away looks for the marker after its own record (`requireUnquiesced`): one of the two sees the other
    const phase = (await parts.store.readState(id))?.phase;
    if (phase !== 'ready') throw new HaulierError('INSTANCE_STATE', { instance: id, state: phase ?? 'missing', action: 'quiesce' });
    operation.step('quiesce.hook');
    await runHook(parts, id, 'freeze');
    operation.step('quiesce.flush');
    await run('sync', ['--file-system', '--', rootFsPaths(parts.store.paths(id).folder).layer], { signal: operation.signal });
    operation.step('quiesce.freeze');
    if (frozen) await freeze(parts, id, operation.signal);
  } catch (error) {
    await unquiesce(parts, id);
    throw error;
  }
}

/** True from a `quiesce` to its end. */
export async function isQuiesced(parts: HostParts, id: string): Promise<boolean> {
  return await readFile(markerOf(parts, id)).then(() => true, () => false);
}

/** For what takes it away as it stands: its freeze hook has run, and its thaw hook would not. @throws INSTANCE_STATE */
export async function requireUnquiesced(parts: HostParts, id: string, action: string): Promise<void> {
  if (await isQuiesced(parts, id)) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'quiesced', action });
}

/** Lets it go on, hook and all; one that was paused meanwhile stays so, and one that is being dumped or hauled. Idempotent. A hook that fails is told in the log: nobody else can help it. */
export async function unquiesce(parts: HostParts, id: string): Promise<void> {
  if (!(await isQuiesced(parts, id))) return;
  try {
    const state = await parts.store.readState(id);
    // what is being dumped, or leaves this host, stands still for that, and may run elsewhere
    if (!(await parts.store.running(id)) || state?.wanted === 'paused' || (state !== undefined && state.phase !== 'ready')) return;
    await thaw(parts, id);
    await runHook(parts, id, 'thaw');
  } catch (error) {
    parts.log.error({ err: error, instance: id }, `after quiescing ${id}: ${messageOf(error)}`);
  } finally {
    await rm(markerOf(parts, id), { force: true });
  }
}

/** The guests that were quiesced and frozen by this service, each with the clock that lets it go on. */
export class QuiescedGuests {
  readonly #clocks = new Map<string, NodeJS.Timeout>();

  /** As `quiesce`; a frozen one goes on after `quiesceSeconds`. @throws INSTANCE_NOT_FOUND too */
  async begin(parts: HostParts, id: string, frozen: boolean, operation: Operation): Promise<void> {
    const { options: { quiesceSeconds }, log } = parts;
    await existing(parts, id);
    await quiesce(parts, id, frozen, operation);
    if (!frozen) return; // whoever asked ends it: a thaw by the clock could come in the middle of his copy
    clearTimeout(this.#clocks.get(id));
    this.#clocks.set(id, setTimeout(() => {
      log.warn({ instance: id }, `${id} was quiesced for ${quiesceSeconds} s: it goes on`);
      void this.end(parts, id);
    }, quiesceSeconds * 1000).unref());
  }

  /** As `unquiesce`. */
  async end(parts: HostParts, id: string): Promise<void> {
    clearTimeout(this.#clocks.get(id));
    this.#clocks.delete(id);
    await unquiesce(parts, id);
  }

  async endAll(parts: HostParts): Promise<void> {
    for (const id of this.#clocks.keys()) await this.end(parts, id);
  }
}

/**
 * After a haul that has succeeded (nova/compute/manager.py `_post_live_migration`, on the source): the server is the destination's.
 * Nothing here is ever taken back: what fails is tried again, also after a restart of this service.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { isNova } from '../failure-report.js';
import { fieldOf, setStatus, storedInstance } from '../moves/migration.js';
import { activateBindings, tryDropBindings } from './bindings.js';
import { askToTakeOver } from './other-end.js';
import { messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import { MessageUndeliverable, MessagingTimeout, type WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

/** So often the destination is asked in vain, each time for a minute without a sign of life, before the server is put on record as its own without it. */
const silentTries = 3;
/** Between two tries: from, to. */
const pauseMs = { first: 1000, last: 30_000 };

/** A live migration whose container is at its destination. */
export interface Hauled {
  readonly context: WireContext;
  readonly instance: NovaObject;
  readonly migration: NovaObject;
  readonly blockMigration: unknown;
  /** Aborted when the service stops: the rest is done at its next start. */
  readonly signal: AbortSignal;
}

/** Completes it. @throws the signal's reason; the destination's failure if it has no container: then server and migration are in error */
export async function postLiveMigration(compute: Compute, hauled: Hauled): Promise<void> {
  const { context, instance, migration, signal } = hauled;
  const uuid = uuidOf(instance);
  const destination = fieldOf(migration, 'dest_compute');
  compute.notifier.instance('live_migration_post.start', context, instance);
  compute.tracker.drop(uuid);
  await untilDone(compute, uuid, 'activate the ports at the destination', signal, () => activateBindings(compute, context, instance, destination), 3);
  faultPoint('live.activated');
  const taken = await handOver(compute, hauled, destination);
  faultPoint('live.taken-over');
  compute.notifier.scheduler('delete_instance_info', context, instance);
  compute.notifier.instance('live_migration_post.end', context, taken ?? instance);
  await untilDone(compute, uuid, 'complete the migration', signal, async () => {
    await compute.conductor.classCall(context, 'ConsoleAuthToken', 'clean_console_auths_for_instance', [uuid]);
    await compute.placement.deleteAllocations(fieldOf(migration, 'uuid'));
    await setStatus(compute, context, migration, 'completed');
  });
  compute.log.info({ instance: uuid, destination }, 'live migration completed');
}

/** @returns the server as it is stored at its new host; undefined if it is deleted */
async function handOver(compute: Compute, { context, instance, migration, blockMigration, signal }: Hauled, destination: string): Promise<NovaObject | undefined> {
  const uuid = uuidOf(instance);
  let now: NovaObject | undefined;
  let lost: unknown;
  let silent = 0;
  await untilDone(compute, uuid, `hand it over to ${destination}`, signal, async () => {
    try {
      await askToTakeOver(compute, context, destination, { instance, block_migration: blockMigration ?? null }, signal);
      now = await storedInstance(compute, context, uuid);
    } catch (error) {
      if (signal.aborted) return;
      // a destination that came back meanwhile does it by itself
      now = await storedInstance(compute, context, uuid);
      if (!now || now.text('host') === destination || now.text('task_state') === 'deleting') return;
      if (isSilence(error) && ++silent >= silentTries) return await giveTo(compute, context, now, destination);
      // a destination that knows of no such container: no asking brings it back
      if (!isNova(error, 'InstanceNotRunning', 'InstanceNotFound')) throw error;
      await loseIt(compute, context, now, migration);
      lost = error;
    }
  });
  if (lost !== undefined) throw lost;
  return now;
}

const isSilence = (error: unknown): boolean => error instanceof MessagingTimeout || error instanceof MessageUndeliverable;

/**
 * The destination has the container and says nothing: the server becomes its own without it, so that Nova shows where it is, and it can be
 * evacuated from there if that host is lost too (nova/compute/manager.py `_post_live_migration_update_host`). A destination that
 * comes back finds it so.
 */
async function giveTo(compute: Compute, context: WireContext, instance: NovaObject, destination: string): Promise<void> {
  const uuid = uuidOf(instance);
  const node = (await compute.conductor.classCall(context, 'ComputeNode', 'get_first_node_by_host_for_old_compat', [destination])) as NovaObject;
  await tryDropBindings(compute, context, uuid, destination, compute.settings.host);
  instance.set('host', destination);
  instance.set('node', node.text('hypervisor_hostname') ?? null);
  if (compute.conductor.release !== 'zed') instance.set('compute_id', node.number('id') ?? null);
  if (instance.object('migration_context')) instance.set('migration_context', null);
  instance.set('task_state', null);
  instance.set('progress', 0);
  await compute.conductor.saveInstance(context, instance, { taskState: ['migrating'] });
  compute.log.warn({ instance: uuid, destination }, `${destination} does not answer: the server is on record as its own all the same, as its container is there`);
}

/** Nobody has the container, as far as is known: somebody has to look. */
async function loseIt(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject): Promise<void> {
  instance.set('vm_state', 'error');
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: ['migrating'] });
  await compute.placement.deleteAllocations(fieldOf(migration, 'uuid'));
  await setStatus(compute, context, migration, 'error');
}

/** Again and again until it works. @param tries after so many it is left undone */
async function untilDone(compute: Compute, uuid: string, what: string, signal: AbortSignal, work: () => Promise<void>, tries = Infinity): Promise<void> {
  for (let n = 1, pause = pauseMs.first; ; n++, pause = Math.min(pause * 2, pauseMs.last)) {
    signal.throwIfAborted();
    try {
      await work();
      signal.throwIfAborted();
      return;
    } catch (error) {
      signal.throwIfAborted();
      compute.log.error({ err: error, instance: uuid, tries: n }, `after a live migration: cannot ${what}: ${messageOf(error)}`);
      if (n >= tries) return;
    }
    await sleep(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

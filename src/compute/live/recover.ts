/**
 * Live migrations that a crash of this service cut short. What became of the haul decides: the container is here, and the migration
 * is taken back; or it is at the destination, and the migration is completed. Each side does its own half (contract D.5).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { dropDeleted, postLiveMigrationAtDestination, takenFrom } from '../methods/live-post.js';
import { setStatus, storedInstance } from '../moves/migration.js';
import { insideWrappers } from '../wrappers.js';
import { activateBindings, tryDropBindings } from './bindings.js';
import { findMigrations, liveUnderWay, wasEvacuated } from './evacuations.js';
import { postLiveMigration } from './post.js';
import { rollbackLiveMigration } from './rollback.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import { adminContext } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

const migrations = (compute: Compute, context: WireContext, filters: Record<string, unknown>): Promise<readonly NovaObject[]> =>
  findMigrations(compute, context, { migration_type: 'live-migration', status: liveUnderWay, ...filters });

/**
 * A server of this host whose task is `migrating`, or that is being deleted, under its lock.
 * @returns `open` if its destination has not said yet who has it: nothing may be done to it; or what is left to do at the
 *   destination, which may not be there: not to be waited for
 */
export async function recoverMigrating(compute: Compute, context: WireContext, instance: NovaObject): Promise<'open' | (() => Promise<void>) | undefined> {
  const uuid = uuidOf(instance);
  const fate = await compute.hauls.fate(uuid);
  if (fate === 'open') return 'open';
  const deleting = instance.text('task_state') === 'deleting';
  const [migration] = (await migrations(compute, context, { instance_uuid: uuid, source_compute: compute.settings.host })).toReversed();
  if (!migration) {
    if (deleting) return undefined;
    instance.set('task_state', null);
    await compute.conductor.saveInstance(context, instance, { taskState: ['migrating'] });
    return undefined;
  }
  if (fate === 'there' && migration.text('dest_compute')) {
    compute.log.warn({ instance: uuid }, 'a live migration was cut short after its haul: completing it');
    return () => compute.operations.run({ name: 'complete_live_migration', instance: uuid }, (operation) =>
      insideWrappers(compute, { method: 'live_migration', wrappers: ['F'], context, instance }, () => postLiveMigration(compute, { context, instance, migration, blockMigration: null, signal: operation.signal })));
  }
  compute.log.warn({ instance: uuid }, 'a live migration was cut short: taking it back');
  await rollbackLiveMigration(compute, { context, instance, migration, prepared: migration.text('status') !== 'accepted' });
  await setStatus(compute, context, migration, 'error');
  return undefined;
}

/** Servers that are, or are about to be, another host's: the last steps of migrations away from here, and the first of those that have come. Never throws. */
export async function recoverMoved(compute: Compute, context: WireContext): Promise<void> {
  const { host } = compute.settings;
  const found = await migrations(compute, context, { host }).catch((error: unknown) => {
    compute.log.error({ err: error }, `cannot look for live migrations that were cut short: ${messageOf(error)}`);
    return [];
  });
  for (const migration of found) {
    const uuid = migration.text('instance_uuid') ?? '';
    try {
      if (migration.text('source_compute') === host) await leave(compute, context, uuid, migration);
      else if (migration.text('dest_compute') === host && !(await take(compute, context, uuid, migration))) takeUnasked(compute, uuid, migration.text('uuid') ?? '');
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `cannot end a live migration that was cut short: ${messageOf(error)}`);
      if (migration.text('dest_compute') === host) takeUnasked(compute, uuid, migration.text('uuid') ?? '');
    }
  }
}

/** A server that was hauled away from here, and is not this host's any more: its migrations end. */
export async function leaveMoved(compute: Compute, context: WireContext, uuid: string): Promise<void> {
  for (const migration of await migrations(compute, context, { instance_uuid: uuid, source_compute: compute.settings.host })) await leave(compute, context, uuid, migration);
}

/** It has been taken over, or deleted: only the migration does not know. */
async function leave(compute: Compute, context: WireContext, uuid: string, migration: NovaObject): Promise<void> {
  const instance = await storedInstance(compute, context, uuid);
  if (instance && (instance.text('host') === compute.settings.host || instance.text('host') !== migration.text('dest_compute'))) return;
  if ((await compute.hauls.fate(uuid)) === 'open') return; // looked at again when it is settled
  await compute.placement.deleteAllocations(migration.text('uuid') ?? '');
  await setStatus(compute, context, migration, instance ? 'completed' : 'error');
}

/**
 * Looks at a container that has come until Nova knows that it is here, or its migration is over: a source that is lost asks for nothing,
 * and a server that Nova still has there could be evacuated, and run twice. Ends with the service; its next start looks again.
 */
export function takeUnasked(compute: Compute, uuid: string, migrationUuid: string): void {
  const context = adminContext(); // the call's own ends with its token
  const look = async (): Promise<void> => {
    await sleep(compute.settings.liveLookMs, undefined, { ref: false });
    try {
      const migration = (await migrations(compute, context, { instance_uuid: uuid, host: compute.settings.host })).find((found) => found.text('uuid') === migrationUuid);
      if (migration ? await take(compute, context, uuid, migration) : await isNoted(compute, context, uuid)) return;
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `cannot take over a server that has come: ${messageOf(error)}`);
    }
    void look();
  };
  void look();
}

/** Its container came, and its source, or this service, ended before Nova knew. @returns false if it is not decided yet whose it is */
async function take(compute: Compute, context: WireContext, uuid: string, migration: NovaObject): Promise<boolean> {
  if (await compute.hauls.coming(uuid)) return false; // one that could not be ended at this service's start
  if ((await compute.containers.view(uuid)).state === 'missing') return true; // its folder may be here, shared, and be the other host's
  const instance = await storedInstance(compute, context, uuid);
  const method = 'post_live_migration_at_destination';
  if (!instance) {
    await compute.locks.hold(uuid, () => compute.operations.run({ name: method, instance: uuid }, (operation) => dropDeleted(compute, { uuid, operation })));
    return true;
  }
  if (instance.text('host') !== migration.text('source_compute')) return (await isNoted(compute, context, uuid)) && (await giveWay(compute, context, instance, migration));
  const task = instance.text('task_state');
  if (!takenFrom(task) || task === 'rebuilding') return false; // being deleted; or evacuated: that asks here, and is refused
  compute.log.warn({ instance: uuid, source: instance.text('host') }, 'the source of a live migration does not end it: taking the server over');
  await compute.locks.hold(uuid, () => compute.operations.run({ name: method, instance: uuid }, (operation) =>
    insideWrappers(compute, { method, wrappers: ['E', 'F'], context, instance }, async () => {
      await activateBindings(compute, context, instance, compute.settings.host)
        .catch((error: unknown) => operation.log.error({ err: error }, `cannot switch the ports over: ${messageOf(error)}`));
      await postLiveMigrationAtDestination(compute, { method, context, args: { block_migration: null }, operation, instance, uuid });
    })));
  return true;
}

/** A server that Nova has on this host already, by its source's word, is in this host's books too. @returns true */
async function isNoted(compute: Compute, context: WireContext, uuid: string): Promise<true> {
  const instance = await storedInstance(compute, context, uuid);
  if (instance?.text('host') !== compute.settings.host) return true;
  compute.hauls.forget(uuid, compute.hauls.expected(uuid) ?? '');
  compute.tracker.moved(uuid);
  compute.tracker.update(uuid, instance);
  return true;
}

/** A server that came here, and was evacuated elsewhere before this host could say so: of two that run, the one that Nova knows stays. @returns true */
async function giveWay(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject): Promise<true> {
  const uuid = uuidOf(instance);
  if (!(await wasEvacuated(compute, context, instance, migration)) || (await compute.hauls.fate(uuid)) !== 'here') return true;
  compute.log.error({ instance: uuid, host: instance.text('host') }, 'a server that came by a live migration was evacuated to another host meanwhile: ending it here');
  await compute.locks.hold(uuid, () => compute.operations.run({ name: 'leave_evacuated', instance: uuid }, (operation) => compute.containers.destroy(uuid, operation)));
  compute.tracker.moved(uuid);
  await tryDropBindings(compute, context, uuid, instance.text('host') ?? '', compute.settings.host);
  await compute.placement.removeProviderFromAllocations(uuid, compute.node.uuid);
  await compute.placement.deleteAllocations(migration.text('uuid') ?? '');
  await setStatus(compute, context, migration, 'error');
  return true;
}

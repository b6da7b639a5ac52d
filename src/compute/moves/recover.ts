/**
 * Moves that a restart cut short (beside nova/compute/manager.py `_init_instance`, which gives most of them up): each end finishes or
 * takes back its own half. What was set aside on this disk tells of the moves whose server is another host's now.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { startAgain } from '../instance-state.js';
import { confirmResize } from '../methods/resize-confirm.js';
import { finishResize } from '../methods/resize-finish.js';
import { finishRevertResize, revertResize } from '../methods/resize-revert.js';
import type { DiskInfo } from '../methods/resize.js';
import { insideWrappers } from '../wrappers.js';
import { discardArrived } from './arrived.js';
import { currentMigration, ranBefore, revertAllocation, setStatus, storedInstance } from './migration.js';
import { castFinishResize } from './other-computes.js';
import { messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { WireContext } from '../../messaging/types.js';
import { readingDeleted } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

type Work = (compute: Compute, call: InstanceCall) => Promise<void>;

/** A step of a move done again, with its wrappers. */
async function again(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject, operation: Operation, method: string, work: Work, args: Record<string, unknown> = {}): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  await insideWrappers(compute, { method, wrappers: ['T', 'E', 'F', 'M'], context, instance, migration }, () =>
    work(compute, { method, context, operation, instance, uuid, args: { migration, request_spec: null, image: {}, disk_info: null, ...args } }));
}

/**
 * Moves of a server that is this host's, by its task state.
 * @returns false if the task is none of a move
 */
export async function recoverMove(compute: Compute, context: WireContext, instance: NovaObject, operation: Operation): Promise<boolean> {
  const task = instance.text('task_state') ?? '';
  if (!['resize_migrating', 'resize_migrated', 'resize_finish', 'resize_reverting'].includes(task)) return false;
  const uuid = instance.text('uuid') ?? '';
  const stored = (await storedInstance(compute, context, uuid)) ?? instance;
  const migration = await currentMigration(compute, context, stored);
  if (task === 'resize_migrating' || !migration) {
    await takeBack(compute, context, stored, migration, operation);
    return true;
  }
  if (task !== 'resize_reverting') {
    await again(compute, context, stored, migration, operation, 'finish_resize', finishResize);
    return true;
  }
  // the host is the destination's until finish_revert_resize has saved
  const isBack = migration.text('source_compute') === compute.settings.host && (migration.text('dest_compute') !== compute.settings.host || migration.text('status') === 'reverted');
  if (isBack) await again(compute, context, stored, migration, operation, 'finish_revert_resize', finishRevertResize);
  else await again(compute, context, stored, migration, operation, 'revert_resize', revertResize);
  return true;
}

/** resize_instance ended before its save: the container is put back as it was. */
async function takeBack(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject | undefined, operation: Operation): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  await compute.containers.moves.restore(uuid, operation);
  const { state } = await compute.containers.view(uuid);
  if (ranBefore(instance) && state !== 'running' && state !== 'missing') {
    await startAgain(compute, { method: 'resize_instance', context, args: {}, operation, instance, uuid });
    if ((await compute.containers.view(uuid)).state !== 'running') instance.set('vm_state', 'error');
  }
  if (migration) {
    await revertAllocation(compute, uuid, migration);
    await setStatus(compute, context, migration, 'error');
  }
  instance.set('migration_context', null);
  instance.set('new_flavor', null);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance);
}

/** After all servers of this host: what was set aside for moves, and what came for them. Never throws. */
export async function recoverKept(compute: Compute, context: WireContext): Promise<void> {
  for (const uuid of await compute.containers.moves.kept()) {
    try {
      await compute.locks.hold(uuid, () => compute.operations.run({ name: 'recover_move', instance: uuid }, (operation) => recoverOne(compute, context, uuid, operation)));
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `cannot recover the move of a server: ${messageOf(error)}`);
    }
  }
  for (const { id, state } of await compute.containers.list()) if (state === 'stopped') await compute.locks.hold(id, () => discardArrived(compute, context, id));
}

async function recoverOne(compute: Compute, context: WireContext, uuid: string, operation: Operation): Promise<void> {
  const instance = await storedInstance(compute, readingDeleted(context), uuid);
  if (!instance || instance.get('deleted') === true) return dropKept(compute, uuid, 'its server is deleted');
  const migration = await currentMigration(compute, context, instance);
  const status = migration?.text('status') ?? '';
  const task = instance.text('task_state');
  if (migration?.text('source_compute') === compute.settings.host && migration.text('dest_compute') !== compute.settings.host) {
    // the message that this host owed the destination may have died with the service; one too many is passed over there
    if (task === 'resize_migrated' && status === 'post-migrating') return handOverAgain(compute, context, instance, migration);
    if (task === 'resize_reverting' && status === 'reverted') return again(compute, context, instance, migration, operation, 'finish_revert_resize', finishRevertResize);
  }
  if (migration?.text('source_compute') === compute.settings.host && status === 'confirming') return again(compute, context, instance, migration, operation, 'confirm_resize', confirmResize);
  // the move failed, and so did taking it back; never thrown away for anything but a deleted server
  if (instance.text('host') === compute.settings.host && !(await compute.containers.spec(uuid))) await compute.containers.moves.restore(uuid, operation);
}

/** prep_resize ended in between at this destination: the source was never asked, or will find that the move is off. */
export async function recoverPrepared(compute: Compute, context: WireContext): Promise<void> {
  const list = (await compute.conductor.classCall(context, 'MigrationList', 'get_by_filters', [{ host: compute.settings.host, status: 'pre-migrating' }])) as NovaObject;
  for (const migration of list.objects()) {
    const uuid = migration.text('instance_uuid') ?? '';
    const ours = migration.text('dest_compute') === compute.settings.host && migration.text('dest_host') !== undefined; // set by the claim
    const type = migration.text('migration_type') ?? '';
    if (!ours || !['resize', 'migration', 'evacuation'].includes(type)) continue;
    try {
      const instance = await storedInstance(compute, context, uuid);
      if (type === 'evacuation') {
        if (instance) await failEvacuation(compute, context, instance, migration);
        continue;
      }
      if (instance?.text('task_state') === 'resize_prep') {
        for (const field of ['migration_context', 'new_flavor', 'task_state']) instance.set(field, null);
        await compute.conductor.saveInstance(context, instance, { taskState: ['resize_prep'] });
      } else if (instance?.get('task_state') !== null) continue; // the source has begun
      await revertAllocation(compute, uuid, migration);
      await setStatus(compute, context, migration, 'error');
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `cannot give up a move: ${messageOf(error)}`);
    }
  }
}

/** The dead host's still, and in error, so that it can be evacuated again. What was made of it here stays: it may lie where the dead host's files are. */
async function failEvacuation(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  if (instance.text('host') === compute.settings.host) return setStatus(compute, context, migration, 'done'); // only that was missing
  await compute.operations.run({ name: 'fail_evacuation', instance: uuid }, (operation) => compute.containers.moves.abandon(uuid, operation));
  await compute.placement.removeProviderFromAllocations(uuid, compute.node.uuid);
  instance.set('vm_state', 'error');
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance);
  await setStatus(compute, context, migration, 'failed');
}

async function dropKept(compute: Compute, uuid: string, why: string): Promise<void> {
  compute.log.info({ instance: uuid }, `throwing away what was set aside for a move: ${why}`);
  await compute.containers.moves.drop(uuid);
}

async function handOverAgain(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  const spec = await compute.containers.moves.keptSpec(uuid);
  const disk: DiskInfo = { disk: 'sent', imageId: spec?.imageId ?? '' };
  await castFinishResize(compute, context, migration.text('dest_compute') ?? '', { instance, migration, image: {}, disk_info: JSON.stringify(disk), request_spec: null });
}

/** Periodic: what was set aside goes with its server, if nobody confirmed or reverted the move (nova `_cleanup_incomplete_migrations`). */
export async function reapKept(compute: Compute, context: WireContext): Promise<void> {
  for (const uuid of await compute.containers.moves.kept()) {
    if (compute.locks.held(uuid)) continue;
    const instance = await storedInstance(compute, readingDeleted(context), uuid);
    if (instance?.get('deleted') === true) await compute.locks.hold(uuid, () => dropKept(compute, uuid, 'its server is deleted'));
  }
}

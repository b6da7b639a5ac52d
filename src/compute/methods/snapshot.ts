/** snapshot_instance and backup_instance (contract C.6; nova/compute/manager.py `_snapshot_instance`, `_rotate_backups`). */
import type { Compute, InstanceCall } from '../compute.js';
import { discardImage, isDeleted, uploadSnapshot } from '../disk-snapshot.js';
import { readPowerState } from '../instance-state.js';
import { withFreezeHook } from './quiesce.js';
import { userScope } from '../scope.js';
import { isHaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';

const pending = 'image_pending_upload';
const uploading = 'image_uploading';

/** snapshot_instance. The server goes on; its image is deleted if anything fails. */
export async function snapshotInstance(compute: Compute, call: InstanceCall): Promise<void> {
  await keepingOnlyWhole(compute, call, async (imageId) => {
    call.instance.set('task_state', 'image_snapshot');
    await compute.conductor.saveInstance(call.context, call.instance, { taskState: ['image_snapshot_pending'] });
    await compute.snapshots.use(() => takeImage(compute, call, imageId, 'image_snapshot'));
  });
}

/** backup_instance: a snapshot, then the oldest backups of that type go until `rotation` are left. */
export async function backupInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const made = await keepingOnlyWhole(compute, call, (imageId) => compute.snapshots.use(() => takeImage(compute, call, imageId, 'image_backup')));
  if (made) await rotateBackups(compute, call, String(call.args['backup_type']), Number(call.args['rotation']));
}

async function takeImage(compute: Compute, call: InstanceCall, imageId: string, before: string): Promise<void> {
  const { instance, context, operation, uuid } = call;
  operation.throwIfAborted(); // it may have waited
  await readPowerState(compute, instance, uuid);
  compute.notifier.instance('snapshot.start', context, instance);
  faultPoint('snapshot.begun');
  // only the copy is made under the lock: an upload takes minutes, and what else looks at the server must not wait for it
  const take = (memoryFor: string | undefined): ReturnType<Compute['containers']['snapshot']> => compute.locks.hold(uuid, () => withFreezeHook(compute, call, () => compute.containers.snapshot(uuid, operation, memoryFor)));
  await uploadSnapshot(compute, call, imageId, { before, pending, uploading }, take);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: [uploading] });
  faultPoint('snapshot.saved');
  compute.notifier.instance('snapshot.end', context, instance);
}

/**
 * Runs `work`; if it fails the image goes. That the server was deleted meanwhile, or the image, is no failure.
 * @returns true if there is a new image
 */
async function keepingOnlyWhole(compute: Compute, call: InstanceCall, work: (imageId: string) => Promise<void>): Promise<boolean> {
  const imageId = String(call.args['image_id']);
  try {
    await work(imageId);
    return true;
  } catch (error) {
    const gone = isDeleted(error);
    if (isHaulierError(error, 'IMAGE_NOT_FOUND') && error.details['image'] === imageId) {
      call.operation.log.warn('the image was deleted during the snapshot');
      call.instance.set('task_state', null);
      await compute.conductor.saveInstance(call.context, call.instance);
      return false;
    }
    if (gone && (await isActive(compute, call, imageId))) return false;
    await discardImage(compute, call.context, imageId);
    if (!gone) throw error;
    call.operation.log.info('the server was deleted during the snapshot');
    return false;
  }
}

async function isActive(compute: Compute, call: InstanceCall, imageId: string): Promise<boolean> {
  return await compute.glance.image(userScope(call.context), imageId).then((image) => image.status === 'active', () => false);
}

/** Deletes the backups beyond the newest `rotation`; one that cannot be deleted is left. */
async function rotateBackups(compute: Compute, call: InstanceCall, type: string, rotation: number): Promise<void> {
  const scope = userScope(call.context, call.operation.signal);
  const backups = await compute.glance.images(scope, { image_type: 'backup', backup_type: type, instance_uuid: call.uuid });
  for (const { id } of backups.slice(rotation)) {
    try {
      await compute.glance.deleteImage(scope, id);
    } catch (error) {
      call.operation.throwIfAborted();
      call.operation.log.warn({ err: error, image: id }, `cannot delete an old backup: ${messageOf(error)}`);
    }
  }
}

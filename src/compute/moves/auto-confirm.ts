/** Resizes confirm themselves after `resize_confirm_window` (nova/compute/manager.py `_poll_unconfirmed_resizes`, contract D.6); the destination looks after it. */
import type { Compute } from '../compute.js';
import { fieldOf, setStatus, storedInstance } from './migration.js';
import { castConfirmResize } from './other-computes.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import { adminContext } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** Confirms the resizes to this host that have waited long enough. One that fails stops no other. */
export async function confirmOldResizes(compute: Compute): Promise<void> {
  const context = adminContext();
  const { resizeConfirmWindow, host } = compute.settings;
  const list = (await compute.conductor.classCall(context, 'MigrationList', 'get_unconfirmed_by_dest_compute', [resizeConfirmWindow, host], { use_slave: true })) as NovaObject;
  for (const migration of list.objects()) {
    await confirmOne(compute, context, migration).catch((error: unknown) => compute.log.warn({ err: error, instance: migration.text('instance_uuid') }, `cannot confirm a resize, trying again: ${messageOf(error)}`));
  }
}

async function confirmOne(compute: Compute, context: WireContext, migration: NovaObject): Promise<void> {
  const uuid = fieldOf(migration, 'instance_uuid');
  const instance = await storedInstance(compute, context, uuid);
  const task = instance?.text('task_state');
  if (instance && ['deleting', 'soft-deleting', 'resize_finish'].includes(task ?? '')) return;
  if (instance?.text('vm_state') !== 'resized' || task !== undefined) {
    compute.log.warn({ instance: uuid, vmState: instance?.text('vm_state'), task }, 'a resize whose server is not resized any more');
    return setStatus(compute, context, migration, 'error');
  }
  compute.log.info({ instance: uuid }, 'confirming a resize that nobody confirmed');
  await setStatus(compute, context, migration, 'confirming');
  try {
    await compute.conductor.classCall(context, 'InstanceAction', 'action_start', [uuid, 'confirmResize'], { want_result: false });
    await castConfirmResize(compute, context, fieldOf(migration, 'source_compute'), { instance, migration });
  } catch (error) {
    await setStatus(compute, context, migration, 'finished'); // the source is down
    throw error;
  }
}

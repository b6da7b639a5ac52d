/** confirm_resize, on the source (contract C.8; nova/compute/manager.py `_confirm_resize`): what was set aside goes, and with it its claim and allocation. */
import type { Compute, InstanceCall } from '../compute.js';
import { forgetMove, isSameHost, migrationOf, setStatus, storedInstance, storedMigration } from '../moves/migration.js';
import { messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { NovaObject } from '../../nova/object.js';
import { powerStates } from '../../nova/states.js';

/** confirm_resize. Also what comes before a delete of a resized server. A failure is an error state: the server runs on at the destination. */
export async function confirmResize(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, uuid, operation } = call;
  const migration = migrationOf(call);
  // as it is stored now: what is set aside here may be another move's by the time that a message comes (nova/compute/manager.py `confirm_resize`)
  const status = (await storedMigration(compute, context, migration))?.text('status') ?? '';
  if (!['finished', 'confirming'].includes(status)) {
    compute.log.info({ instance: uuid, status }, 'this move is not to be confirmed any more');
    return;
  }
  const instance = await storedInstance(compute, context, uuid);
  if (!instance) return;
  try {
    await confirm(compute, { ...call, instance }, migration);
  } catch (error) {
    instance.set('vm_state', 'error');
    await compute.conductor.saveInstance(context, instance).catch((failure: unknown) => operation.log.error({ err: failure }, `cannot put the server into error: ${messageOf(failure)}`));
    throw error;
  } finally {
    await compute.placement.deleteAllocations(migration.text('uuid') ?? '');
    if (!isSameHost(compute, migration)) compute.notifier.scheduler('delete_instance_info', context, instance);
    await forgetMove(compute, context, instance);
  }
}

async function confirm(compute: Compute, call: InstanceCall, migration: NovaObject): Promise<void> {
  const { context, instance, uuid } = call;
  compute.notifier.instance('resize_confirm.start', context, instance);
  await compute.containers.moves.drop(uuid);
  faultPoint('confirm.dropped');
  await setStatus(compute, context, migration, 'confirmed');
  compute.tracker.moved(uuid);
  instance.set('migration_context', null);
  instance.set('vm_state', instance.number('power_state') === powerStates.SHUTDOWN ? 'stopped' : 'active');
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: [null, 'deleting', 'soft-deleting'] });
  faultPoint('confirm.saved');
  compute.notifier.instance('resize_confirm.end', context, instance);
}

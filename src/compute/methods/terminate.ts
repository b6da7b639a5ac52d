/** terminate, soft delete, restore (contract C.4; nova/compute/manager.py `_delete_instance`). Idempotent: it comes again after a crash. */
import type { Compute, InstanceCall } from '../compute.js';
import { bringBack } from './rescue.js';
import { uuidOf } from '../compute.js';
import { isNova, isStopping } from '../failure-report.js';
import { finishWith, startFromCache, stopTiming, withAttribute } from '../instance-state.js';
import { cachedVifs } from '../network/info-cache.js';
import { deallocateNetworks } from '../network/deallocate.js';
import { vifSpecs } from '../network/vif-spec.js';
import { novaTime } from '../../nova/context.js';
import { powerStates } from '../../nova/states.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

/** Fault points of a delete, in order. */
export const deleteFaultPoints = ['delete.begun', 'delete.destroyed', 'delete.deallocated', 'delete.saved', 'delete.allocation', 'delete.row'] as const;

/** Operations that upload an image: they hold no lock meanwhile, but use the disk. */
const imagingMethods = ['snapshot_instance', 'backup_instance', 'shelve_instance'];

/** Ends what a delete need not wait for; called before the instance's lock is asked for. */
export function prepareTerminate(compute: Compute, uuid: string): void {
  compute.operations.abort(uuid, ['build_and_run_instance'], new HaulierError('CANCELLED', { what: 'building the server', reason: 'it is being deleted', by: 'delete' }));
  compute.operations.abort(uuid, imagingMethods, new HaulierError('CANCELLED', { what: 'the snapshot of the server', reason: 'it is being deleted', by: 'delete' }));
  void compute.live.cancel(uuid, new HaulierError('CANCELLED', { what: 'the live migration', reason: 'the server is being deleted', by: 'user' }));
  compute.events.cancel(uuid, 'the server is being deleted');
}

/** terminate_instance. */
export async function terminateInstance(compute: Compute, call: InstanceCall): Promise<void> {
  await withAttribute(compute, call, 'info_cache');
  await deleteInstance(compute, call.context, call.instance, call.operation);
}

/**
 * Deletes a server: container, ports, allocation, row, in that order, each idempotent.
 * On failure the server is in error and can be deleted again. What a stop of the service interrupts is done at its next start.
 */
export async function deleteInstance(compute: Compute, context: WireContext, instance: NovaObject, operation: Operation): Promise<void> {
  const uuid = uuidOf(instance);
  try {
    compute.notifier.instance('delete.start', context, instance);
    faultPoint('delete.begun');
    operation.step('destroy');
    const vifs = cachedVifs(instance);
    // a few at a time: neutron works on the ports of the first while the next are destroyed
    await compute.destroys.use(() => compute.containers.destroy(uuid, operation, pluggable(vifs)));
    await compute.containers.moves.drop(uuid); // of a resize that failed
    faultPoint('delete.destroyed');
    operation.step('ports');
    await deallocateNetworks(compute, context, instance, vifs);
    faultPoint('delete.deallocated');
    operation.step('save');
    instance.set('vm_state', 'deleted');
    instance.set('task_state', null);
    instance.set('power_state', powerStates.NOSTATE);
    instance.set('terminated_at', novaTime());
    await compute.conductor.saveInstance(context, instance);
    faultPoint('delete.saved');
    operation.mark('row');
    await completeDeletion(compute, context, instance);
    compute.log.info({ instance: uuid, ms: operation.ageMs, steps: operation.steps }, 'server deleted');
    compute.notifier.instance('delete.end', context, instance);
  } catch (error) {
    if (isNova(error, 'InstanceNotFound')) {
      compute.tracker.drop(uuid);
      await compute.placement.deleteAllocations(uuid);
      return;
    }
    // whatever it failed with, the next start of the service finishes it: `deleting` stays, and is no error
    if (isStopping(operation.signal.reason)) throw operation.signal.reason;
    await toError(compute, context, instance);
    throw error;
  }
}

/** Ports of the cache, also those that the container never had (a build that died in between). */
function pluggable(vifs: ReturnType<typeof cachedVifs>): ReturnType<typeof vifSpecs> {
  return vifs.flatMap((vif) => {
    try {
      return vifSpecs([vif]);
    } catch {
      return []; // a port that was never bound has nothing plugged
    }
  });
}

/** The end of a delete, also for one that was interrupted after the state was saved (contract D.5). The row goes only after the allocation. */
export async function completeDeletion(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  const uuid = uuidOf(instance);
  compute.tracker.drop(uuid);
  await Promise.all([
    compute.placement.deleteAllocations(uuid),
    compute.conductor.classCall(context, 'ConsoleAuthToken', 'clean_console_auths_for_instance', [uuid]),
  ]);
  compute.notifier.scheduler('delete_instance_info', context, instance);
  faultPoint('delete.allocation');
  await compute.conductor.objectCall(context, instance, 'destroy');
  faultPoint('delete.row');
}

async function toError(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  instance.set('vm_state', 'error');
  try {
    await compute.conductor.saveInstance(context, instance);
  } catch (error) {
    if (!isNova(error, 'InstanceNotFound')) compute.log.error({ err: error, instance: uuidOf(instance) }, `cannot put the server into error: ${messageOf(error)}`);
  }
}

/** soft_delete_instance: the guest is stopped and kept until it is reclaimed. */
export async function softDeleteInstance(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('soft_delete.start', call.context, call.instance);
  await compute.containers.stopContainer(call.uuid, { ...stopTiming(compute, call.instance, true), evenUnrecorded: true }, call.operation);
  await finishWith(compute, call, { vmState: 'soft-delete', expected: ['soft-deleting'] });
  compute.notifier.instance('soft_delete.end', call.context, call.instance);
}

/** restore_instance: a soft-deleted server runs again, in its own system: nothing of Nova remembers that it was rescued. */
export async function restoreInstance(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('restore.start', call.context, call.instance);
  await withAttribute(compute, call, 'info_cache');
  await bringBack(compute, call);
  await startFromCache(compute, call);
  await finishWith(compute, call, { vmState: 'active', expected: ['restoring'] });
  compute.notifier.instance('restore.end', call.context, call.instance);
}

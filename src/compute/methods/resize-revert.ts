/**
 * revert_resize, on the destination, and finish_revert_resize, on the source (contract C.8; nova/compute/manager.py): the new guest
 * goes with all that was written since the move, the one that was set aside comes back. Both find it done when they come twice.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { readPowerState } from '../instance-state.js';
import { applyFlavor, fieldOf, forgetMove, isSameHost, migrationOf, ranBefore, setStatus, storedInstance } from '../moves/migration.js';
import { castFinishRevert } from '../moves/other-computes.js';
import { bringPorts } from '../moves/ports.js';
import { vifSpecs } from '../network/vif-spec.js';
import { placeHere } from '../placing.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import { novaTime } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** revert_resize. */
export async function revertResize(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const migration = migrationOf(call);
  try {
    // at the source nothing is lost by this; on the same host the restore takes its place
    if (!isSameHost(compute, migration)) await compute.containers.destroy(uuid, operation);
    faultPoint('revert.destroyed');
    await setStatus(compute, context, migration, 'reverted');
    await compute.conductor.saveInstance(context, instance, { taskState: ['resize_reverting'] });
    if (!isSameHost(compute, migration)) compute.tracker.drop(uuid);
    faultPoint('revert.saved');
    await castFinishRevert(compute, context, fieldOf(migration, 'source_compute'), { instance, migration, request_spec: args['request_spec'] ?? null });
  } catch (error) {
    instance.set('vm_state', 'error');
    throw error;
  }
}

/** finish_revert_resize. */
export async function finishRevertResize(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  const stored = await storedInstance(compute, context, uuid);
  if (stored?.text('task_state') !== 'resize_reverting') {
    compute.log.info({ instance: uuid, task: stored?.text('task_state') }, 'this move is reverted already');
    return;
  }
  try {
    await call.operation.run((operation) => revert(compute, { ...call, operation }, migrationOf(call)));
  } catch (error) {
    instance.set('vm_state', 'error');
    throw error;
  } finally {
    await forgetMove(compute, context, instance);
  }
  compute.notifier.scheduler('update_instance_info', context, instance);
  compute.notifier.instance('resize_revert.end', context, instance);
}

async function revert(compute: Compute, call: InstanceCall, migration: NovaObject): Promise<void> {
  const { context, instance, operation, uuid } = call;
  compute.notifier.instance('resize_revert.start', context, instance);
  const flavor = instance.object('old_flavor') ?? instance.object('flavor');
  if (!flavor) throw new HaulierError('BAD_ARGUMENT', { method: call.method, argument: 'instance', problem: 'came without its old flavor' });
  applyFlavor(instance, flavor);
  const launchedOn = instance.get('launched_on');
  placeHere(compute, instance);
  instance.set('launched_on', launchedOn); // it was not launched anew
  await compute.conductor.saveInstance(context, instance, { taskState: ['resize_reverting'] });
  faultPoint('revert.back');
  const held = migration.text('uuid');
  if (held && !(await compute.placement.moveAllocations(held, uuid))) compute.log.warn({ instance: uuid, migration: held }, 'the migration holds no allocation to give back');
  const start = ranBefore(instance);
  await bringBack(compute, call, operation, start);
  compute.tracker.moved(uuid);
  await readPowerState(compute, instance, uuid);
  instance.set('migration_context', null);
  instance.set('launched_at', novaTime());
  instance.set('vm_state', start ? 'active' : 'stopped');
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: ['resize_reverting'] });
  operation.commit();
  compute.tracker.update(uuid, instance);
}

/** What was set aside, with its old size; already brought back if a restart came between. */
async function bringBack(compute: Compute, call: InstanceCall, operation: Operation, start: boolean): Promise<void> {
  const { uuid } = call;
  operation.step('disk');
  await compute.containers.moves.restore(uuid, operation);
  faultPoint('revert.restored');
  operation.step('ports');
  const ports = await bringPorts(compute, call, operation, start);
  try {
    await compute.containers.updateVifs(uuid, vifSpecs(ports.vifs));
    if (start) await compute.containers.startContainer(uuid, operation, ports.wired);
    faultPoint('revert.started');
  } finally {
    ports.drop();
  }
}

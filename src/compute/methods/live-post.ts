/** post_live_migration_at_destination (contract C.9; nova/compute/manager.py): the server runs here, and from now on Nova knows it. */
import type { Compute, InstanceCall } from '../compute.js';
import { readPowerState } from '../instance-state.js';
import { arrivalOf } from '../live/arrival.js';
import { tryDropBindings } from '../live/bindings.js';
import { storedInstance } from '../moves/migration.js';
import { rebindNetworks } from '../network/allocate.js';
import { cachedVifs, preservedPorts } from '../network/info-cache.js';
import { moveHere } from '../placing.js';
import { isNova } from '../failure-report.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';

/** See above. Idempotent: the source asks until it has an answer, and this host does it by itself after a restart. @throws LIVE_MIGRATION_LOST if it is not here */
export async function postLiveMigrationAtDestination(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, uuid, operation } = call;
  const { host } = compute.settings;
  const instance = await storedInstance(compute, context, uuid);
  if (!instance) return dropDeleted(compute, call);
  if (instance.text('host') === host) {
    compute.log.info({ instance: uuid }, 'nothing is to be taken over any more');
    return;
  }
  const source = instance.text('host') ?? '';
  // who evacuates it asks while it may still be coming: then nobody knows yet whose it is
  const arrival = await arrivalOf(compute, uuid);
  if (arrival === 'nothing') throw new HaulierError('LIVE_MIGRATION_LOST', { instance: uuid, host });
  if (arrival === 'coming') throw new HaulierError('INSTANCE_STATE', { instance: uuid, state: 'arriving', action: call.method });
  await bindHere(compute, { ...call, instance });
  faultPoint('live.bound');
  await tryDropBindings(compute, context, uuid, host, source); // before the record says that it is here: whoever dies after that is not asked again
  compute.notifier.instance('live_migration_post_dest.start', context, instance);
  await takeOver(compute, { ...call, instance });
  faultPoint('live.taken');
  compute.tracker.moved(uuid);
  compute.tracker.update(uuid, instance);
  await compute.containers.announce(uuid);
  compute.notifier.scheduler('update_instance_info', context, instance);
  compute.notifier.instance('live_migration_post_dest.end', context, instance);
  operation.log.info({ source }, 'the server was taken over');
}

/** Ports that have no binding here yet are bound, and the cache follows. A failure is neutron's, and no reason to leave the server between two hosts. */
async function bindHere(compute: Compute, { context, instance, operation }: InstanceCall): Promise<void> {
  try {
    const preserved = preservedPorts(cachedVifs(instance));
    await rebindNetworks(compute, { context, instance, operation }, preserved);
  } catch (error) {
    operation.log.error({ err: error }, `cannot bind the ports of a server that has come: ${messageOf(error)}`);
  }
}

/** True for the tasks of a server that may be taken over: on its way here; or its source is lost, and an evacuation that asks here first is beginning or was refused. */
export const takenFrom = (task: string | undefined): boolean => task === undefined || task === 'migrating' || task === 'rebuilding';

/** The one save that makes the server this host's. A server that is being deleted ends here instead: nobody else would end it. */
async function takeOver(compute: Compute, { context, instance, uuid, operation }: InstanceCall): Promise<void> {
  const task = instance.text('task_state');
  moveHere(compute, instance);
  await readPowerState(compute, instance, uuid);
  if (instance.object('migration_context')) instance.set('migration_context', null);
  instance.set('task_state', null);
  instance.set('progress', 0);
  try {
    await compute.conductor.saveInstance(context, instance, { taskState: [takenFrom(task) ? task ?? null : 'migrating'] });
  } catch (error) {
    if (isNova(error, 'UnexpectedDeletingTaskStateError', 'InstanceNotFound')) await dropDeleted(compute, { uuid, operation });
    throw error;
  }
}

/** Ends a container that came for a server that is deleted. */
export async function dropDeleted(compute: Compute, { uuid, operation }: Pick<InstanceCall, 'uuid' | 'operation'>): Promise<void> {
  operation.log.warn('the server is deleted: its container, which has just come, ends');
  compute.tracker.moved(uuid);
  await compute.containers.destroy(uuid, operation);
}

/** Containers whose server was deleted while nobody told us (contract D.6 `_cleanup_running_deleted_instances`), and servers waiting for reclaim. */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { isNova, recordFault } from './failure-report.js';
import { deleteInstance } from './methods/terminate.js';
import { HaulierError } from '../base/errors.js';
import { adminContext, readingDeleted } from '../nova/context.js';
import type { NovaObject } from '../nova/object.js';

/** Whether so many seconds have passed since a time of the database, by the clock that wrote it; not if that is not known yet. */
function passed(compute: Compute, since: string | undefined, seconds: number): boolean {
  if (since === undefined || seconds <= 0) return true;
  return (compute.cloudNow() ?? -Infinity) - Date.parse(since) >= seconds * 1000;
}

/** Ends containers of deleted servers. Asks for every one that has no server here, with deleted rows visible, and touches none that the database does not know (wrong cell). */
export async function reapDeleted(compute: Compute): Promise<void> {
  const { runningDeletedAction: action, runningDeletedTimeout } = compute.settings;
  if (action === 'noop') return;
  const context = readingDeleted(adminContext());
  const containers = await compute.containers.list();
  // those that live here need not be asked for one by one
  const alive = new Set(containers.length === 0 ? [] : (await compute.conductor.classCall(adminContext(), 'InstanceList', 'get_uuids_by_host', [compute.settings.host])) as string[]);
  for (const { id, state } of containers) {
    if (alive.has(id) || compute.locks.held(id)) continue;
    let instance: NovaObject;
    try {
      instance = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [id], { expected_attrs: ['info_cache'] })) as NovaObject;
    } catch (error) {
      if (!isNova(error, 'InstanceNotFound')) throw error;
      compute.log.warn({ instance: id }, 'a container that the database does not know; left alone');
      continue;
    }
    if (instance.get('deleted') !== true || !passed(compute, instance.text('deleted_at'), runningDeletedTimeout)) continue;
    compute.log.warn({ instance: id, state, action }, 'a container of a deleted server');
    if (action === 'log') continue;
    await compute.locks.hold(id, () => compute.operations.run({ name: `reap:${action}`, instance: id }, (operation) =>
      action === 'reap' ? compute.containers.destroy(id, operation) : compute.containers.stopContainer(id, { timeoutMs: 0, retryMs: 0, evenUnrecorded: true }, operation)))
      .catch((error: unknown) => compute.log.error({ err: error, instance: id }, `cannot ${action} the container of a deleted server`));
  }
}

/** Deletes soft-deleted servers for good after `reclaim_instance_interval`. */
export async function reclaimDeleted(compute: Compute): Promise<void> {
  const interval = compute.settings.reclaimInstanceInterval;
  if (interval <= 0) return;
  const context = adminContext();
  const filters = { vm_state: 'soft-delete', task_state: null, host: compute.settings.host };
  const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_filters', [filters], { expected_attrs: ['info_cache', 'system_metadata', 'metadata', 'flavor'], use_slave: true })) as NovaObject;
  for (const instance of list.objects()) {
    const uuid = uuidOf(instance);
    if (!passed(compute, instance.text('deleted_at') ?? instance.text('updated_at'), interval)) continue;
    await compute.locks.hold(uuid, async () => {
      // it may have been restored while the others were deleted
      const now = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: ['info_cache', 'system_metadata', 'metadata', 'flavor'] })) as NovaObject;
      if (now.text('vm_state') !== 'soft-delete' || now.get('task_state') !== null) return;
      await compute.operations.run({ name: 'reclaim', instance: uuid }, (operation) => deleteInstance(compute, context, now, operation));
    })
      .catch((error: unknown) => compute.log.error({ err: error, instance: uuid }, 'cannot reclaim'));
  }
}

/** Instances of this host, for the schedulers. */
export async function tellSchedulers(compute: Compute): Promise<void> {
  const context = adminContext();
  const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_host', [compute.settings.host], { expected_attrs: [], use_slave: true })) as NovaObject;
  compute.notifier.schedulerAll(context, list.objects(), 'uuids');
}

/** By then the conductor has sent what the scheduler placed here, and no message waits in our queue any more. */
const lostAfterSeconds = 600;

/**
 * Servers that the scheduler placed here, but whose message died with the service before the claim: building for ever, on no
 * host, with an allocation of this one (contract D.5 5). A message that merely waits must find its server untouched, so this
 * is asked long after the start.
 */
export async function failLostBuilds(compute: Compute): Promise<void> {
  const context = adminContext();
  for (const uuid of Object.keys(await compute.placement.allocationsOf(compute.node.uuid))) {
    if (compute.locks.held(uuid) || compute.tracker.counts(uuid)) continue; // of those that have a host nobody need ask
    try {
      const instance = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: [] })) as NovaObject;
      if (instance.text('vm_state') !== 'building' || instance.text('host') !== undefined || instance.text('task_state') !== 'scheduling') continue;
      if (!passed(compute, instance.text('updated_at') ?? instance.text('created_at'), lostAfterSeconds)) continue;
      compute.log.warn({ instance: uuid }, 'a build whose message was lost');
      instance.set('vm_state', 'error');
      instance.set('task_state', null);
      await compute.conductor.saveInstance(context, instance, { taskState: ['scheduling'], vmState: ['building'] });
      await recordFault(compute, context, instance, new HaulierError('CANCELLED', { what: 'building the server', reason: `the compute service of ${compute.settings.host} ended in between` }));
      await compute.placement.deleteAllocations(uuid);
    } catch (error) {
      if (!isNova(error, 'InstanceNotFound')) compute.log.warn({ err: error, instance: uuid }, 'cannot look at an allocation');
    }
  }
}

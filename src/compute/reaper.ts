/** Containers whose server was deleted while nobody told us (contract D.6 `_cleanup_running_deleted_instances`), and servers waiting for reclaim. */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { isNova } from './failure-report.js';
import { deleteInstance } from './methods/terminate.js';
import { adminContext, readingDeleted } from '../nova/context.js';
import type { NovaObject } from '../nova/object.js';

const secondMs = 1000;

function secondsSince(text: string | undefined): number {
  return text === undefined ? Infinity : (Date.now() - Date.parse(text)) / secondMs;
}

/** Ends containers of deleted servers. Asks for every one with deleted rows visible, and touches none that the database does not know (wrong cell). */
export async function reapDeleted(compute: Compute): Promise<void> {
  const { runningDeletedAction: action, runningDeletedTimeout } = compute.settings;
  if (action === 'noop') return;
  const context = readingDeleted(adminContext());
  for (const { id, state } of await compute.containers.list()) {
    if (compute.locks.held(id)) continue;
    let instance: NovaObject;
    try {
      instance = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [id], { expected_attrs: ['info_cache'] })) as NovaObject;
    } catch (error) {
      if (!isNova(error, 'InstanceNotFound')) throw error;
      compute.log.warn({ instance: id }, 'a container that the database does not know; left alone');
      continue;
    }
    if (instance.get('deleted') !== true || secondsSince(instance.text('deleted_at')) < runningDeletedTimeout) continue;
    compute.log.warn({ instance: id, state, action }, 'a container of a deleted server');
    if (action === 'log') continue;
    await compute.locks.hold(id, () => compute.operations.run({ name: `reap:${action}`, instance: id }, (operation) =>
      action === 'reap' ? compute.containers.destroy(id, operation) : compute.containers.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation)));
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
    if (secondsSince(instance.text('deleted_at') ?? instance.text('updated_at')) < interval) continue;
    await compute.locks.hold(uuid, () => compute.operations.run({ name: 'reclaim', instance: uuid }, (operation) => deleteInstance(compute, context, instance, operation)))
      .catch((error: unknown) => compute.log.error({ err: error, instance: uuid }, 'cannot reclaim'));
  }
}

/** Instances of this host, for the schedulers. */
export async function tellSchedulers(compute: Compute): Promise<void> {
  const context = adminContext();
  const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_host', [compute.settings.host], { expected_attrs: [], use_slave: true })) as NovaObject;
  compute.notifier.schedulerAll(context, list.objects(), 'uuids');
}

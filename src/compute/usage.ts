/** What an instance takes of a host, and what says so (nova/compute/resource_tracker.py). */
import type { NovaObject } from '../nova/object.js';

/** What one instance takes. */
export interface Usage { readonly vcpus: number; readonly memoryMb: number; readonly diskGb: number; vmState: string; taskState: string; readonly project: string; readonly osType: string }

/** @param before what is known of it: many messages carry no flavor, and only the flavor knows the swap */
export function usageOf(instance: NovaObject, before: Usage | undefined): Usage {
  return usageWith(instance, instance.object('flavor'), before);
}

/** What the instance takes in the size of `flavor`. */
export function usageWith(instance: NovaObject, flavor: NovaObject | undefined, before?: Usage): Usage {
  const size = (field: string): number => flavor?.number(field) ?? instance.number(field) ?? 0;
  const sizes = !flavor && before ? before : { vcpus: size('vcpus'), memoryMb: size('memory_mb'), diskGb: size('root_gb') + size('ephemeral_gb') + Math.ceil(size('swap') / 1024) };
  return {
    vcpus: sizes.vcpus, memoryMb: sizes.memoryMb, diskGb: sizes.diskGb,
    vmState: instance.text('vm_state') ?? '', taskState: instance.text('task_state') ?? 'None', project: instance.text('project_id') ?? '', osType: instance.text('os_type') ?? 'None',
  };
}

/** States in which an instance takes nothing of its host. */
export const uncounted = new Set(['deleted', 'shelved_offloaded']);

/** Tasks in which an active or stopped server counts at both ends of its move (nova/compute/resource_tracker.py `_instance_in_resize_state`). */
const movingTasks = new Set(['resize_prep', 'resize_migrating', 'resize_migrated', 'resize_finish', 'rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning']);

/** Whether it counts at both ends of its move. */
export function isMoving(instance: NovaObject): boolean {
  const vmState = instance.text('vm_state') ?? '';
  return vmState === 'resized' || ((vmState === 'active' || vmState === 'stopped') && movingTasks.has(instance.text('task_state') ?? ''));
}

/** The newest migration of each instance. */
export function newest(migrations: readonly NovaObject[]): readonly NovaObject[] {
  const time = (migration: NovaObject): string => migration.text('updated_at') ?? migration.text('created_at') ?? '';
  const byInstance = new Map<string, NovaObject>();
  for (const migration of migrations) {
    const other = byInstance.get(migration.text('instance_uuid') ?? '');
    if (!other || time(migration) > time(other)) byInstance.set(migration.text('instance_uuid') ?? '', migration);
  }
  return [...byInstance.values()];
}

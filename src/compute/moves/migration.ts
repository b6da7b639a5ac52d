/** The records of a move: `Migration`, the flavors and the state that the instance keeps meanwhile, the allocation that the migration holds. */
import type { Compute, InstanceCall } from '../compute.js';
import { isNova } from '../failure-report.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import { NovaObject } from '../../nova/object.js';

/** Where the instance keeps the state that it goes back to. */
export const oldVmStateKey = 'old_vm_state';

/** The call's migration. @throws BAD_ARGUMENT if the message has none */
export function migrationOf({ args, method }: Pick<InstanceCall, 'args' | 'method'>): NovaObject {
  const migration = args['migration'];
  if (!(migration instanceof NovaObject)) throw new HaulierError('BAD_ARGUMENT', { method, argument: 'migration', problem: 'is missing' });
  return migration;
}

/** A text field of a migration that this step cannot do without. @throws BAD_ARGUMENT */
export function fieldOf(migration: NovaObject, field: string): string {
  const value = migration.text(field);
  if (value === undefined) throw new HaulierError('BAD_ARGUMENT', { method: 'Migration', argument: field, problem: 'is not set' });
  return value;
}

/** Saves the migration with a new status. */
export async function setStatus(compute: Compute, context: WireContext, migration: NovaObject, status: string): Promise<void> {
  migration.set('status', status);
  await compute.conductor.objectCall(context, migration, 'save');
}

/** True if the move stays on this host. */
export function isSameHost(compute: Compute, migration: NovaObject): boolean {
  return migration.text('source_compute') === compute.settings.host && migration.text('dest_compute') === compute.settings.host;
}

/** The flavor becomes the instance's own (nova `_set_instance_info`). Saved by the caller. */
export function applyFlavor(instance: NovaObject, flavor: NovaObject): void {
  instance.set('instance_type_id', flavor.get('id'));
  for (const field of ['memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb']) instance.set(field, flavor.get(field));
  instance.set('flavor', flavor);
}

/** Whether the server ran before its move, and so shall run after it. */
export function ranBefore(instance: NovaObject): boolean {
  return instance.strings('system_metadata')[oldVmStateKey] !== 'stopped';
}

/** The traces of a move in the instance go (nova `_delete_stashed_flavor_info`), in a save of its own: the audit relies on them until then. */
export async function forgetMove(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  instance.set('old_flavor', null);
  instance.set('new_flavor', null);
  const { [oldVmStateKey]: before, ...metadata } = instance.strings('system_metadata');
  if (before !== undefined) instance.set('system_metadata', metadata);
  try {
    await compute.conductor.saveInstance(context, instance);
  } catch (error) {
    if (!isNova(error, 'InstanceNotFound')) throw error;
  }
}

/** Gives the source's allocation, which the migration holds, back to the instance, whose own at the destination goes with it. Logged, never thrown. */
export async function revertAllocation(compute: Compute, uuid: string, migration: NovaObject): Promise<void> {
  const from = migration.text('uuid');
  try {
    if (!from || !(await compute.placement.moveAllocations(from, uuid))) compute.log.warn({ instance: uuid, migration: from }, 'the migration holds no allocation to give back');
  } catch (error) {
    compute.log.error({ err: error, instance: uuid, migration: from }, `cannot give the allocation back: ${messageOf(error)}`);
  }
}

/** The instance as it is stored now; undefined if it is deleted. */
export async function storedInstance(compute: Compute, context: WireContext, uuid: string): Promise<NovaObject | undefined> {
  try {
    return (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], {
      expected_attrs: ['info_cache', 'metadata', 'system_metadata', 'flavor', 'numa_topology', 'migration_context'],
    })) as NovaObject;
  } catch (error) {
    if (isNova(error, 'InstanceNotFound')) return undefined;
    throw error;
  }
}

/** A migration as it is stored now; undefined if there is none any more. */
export async function storedMigration(compute: Compute, context: WireContext, migration: NovaObject): Promise<NovaObject | undefined> {
  try {
    return (await compute.conductor.classCall(context, 'Migration', 'get_by_id', [migration.get('id')])) as NovaObject;
  } catch (error) {
    if (isNova(error, 'MigrationNotFound')) return undefined;
    throw error;
  }
}

/** The migration that an instance is in, by its context; undefined if it is in none. */
export async function currentMigration(compute: Compute, context: WireContext, instance: NovaObject): Promise<NovaObject | undefined> {
  const id = instance.object('migration_context')?.number('migration_id');
  if (id === undefined) return undefined;
  try {
    return (await compute.conductor.classCall(context, 'Migration', 'get_by_id_and_instance', [id, instance.text('uuid')])) as NovaObject;
  } catch (error) {
    if (isNova(error, 'MigrationNotFoundForInstance', 'MigrationNotFound')) return undefined;
    throw error;
  }
}

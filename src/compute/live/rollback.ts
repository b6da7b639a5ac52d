/**
 * A live migration that failed or was given up, on the source, where the server goes on (nova/compute/manager.py
 * `_rollback_live_migration`). One step that fails does not keep the others from being done.
 */
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { isNova } from '../failure-report.js';
import { revertAllocation } from '../moves/migration.js';
import { cachedVifs } from '../network/info-cache.js';
import { activateBindings, tryDropBindings } from './bindings.js';
import { newMigrateData, setVifs } from './migrate-data.js';
import { castRollback } from './other-end.js';
import { keepPlugged } from './replug.js';
import { messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

/** A live migration that is off. */
export interface GivenUp {
  readonly context: WireContext;
  readonly instance: NovaObject;
  readonly migration: NovaObject;
  /** As it was sent last; made anew where it is lost. */
  readonly data?: NovaObject;
  /** True if the destination may have begun. */
  readonly prepared: boolean;
}

/** Takes it back; the migration's status is the caller's to set. Never throws. */
export async function rollbackLiveMigration(compute: Compute, { context, instance, migration, data, prepared }: GivenUp): Promise<void> {
  const uuid = uuidOf(instance);
  const destination = migration.text('dest_compute');
  const { host } = compute.settings;
  const quietly = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `taking a live migration back: cannot ${what}: ${messageOf(error)}`);
    }
  };
  await revertAllocation(compute, uuid, migration);
  if (prepared) compute.notifier.instance('live_migration_rollback.start', context, instance);
  await quietly('activate the ports here', () => activateBindings(compute, context, instance, host));
  if (prepared) await keepPlugged(compute, uuid);
  if (destination && destination !== host) {
    await tryDropBindings(compute, context, uuid, host, destination);
    if (prepared) await quietly(`tell ${destination}`, () => castRollback(compute, context, destination, { instance, destroy_disks: true, migrate_data: data ?? migrateDataAnew(compute, instance, migration) }));
  }
  faultPoint('live.rolled-back');
  await quietly('clear the task state', async () => {
    instance.set('task_state', null);
    instance.set('progress', 0);
    try {
      await compute.conductor.saveInstance(context, instance, { taskState: ['migrating'] });
    } catch (error) {
      if (!isNova(error, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) throw error;
    }
  });
  compute.tracker.update(uuid, instance);
  if (prepared) compute.notifier.instance('live_migration_rollback.end', context, instance);
}

/** `migrate_data` of a migration whose own is lost, as far as a rollback needs it. */
export function migrateDataAnew(compute: Compute, instance: NovaObject, migration: NovaObject): NovaObject {
  const data = newMigrateData(compute.conductor, { migration: migration.text('uuid') ?? '' }, 0);
  setVifs(compute.conductor, data, cachedVifs(instance));
  return data;
}

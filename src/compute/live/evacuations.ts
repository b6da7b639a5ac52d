/**
 * Evacuations of a server whose live migration was cut short by the loss of its source. The destination may have the container, and does
 * not lose it because the source is lost: so that there are never two, the host of the evacuation asks the destination first, and the
 * destination of a haul gives way to an evacuation that is done.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { arrivalOf } from './arrival.js';
import { isNova } from '../failure-report.js';
import { fieldOf, setStatus, storedInstance } from '../moves/migration.js';
import { askToTakeOver, castRollback } from './other-end.js';
import { migrateDataAnew } from './rollback.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

/** Task states of an evacuation that is under way. */
export const rebuildTasks: ReadonlySet<string> = new Set(['rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning']);

/** Statuses of live migrations that have not come to their end. */
export const liveUnderWay = ['accepted', 'queued', 'preparing', 'running'];

/** Migrations by Nova's filters. */
export async function findMigrations(compute: Compute, context: WireContext, filters: Record<string, unknown>): Promise<readonly NovaObject[]> {
  const list = (await compute.conductor.classCall(context, 'MigrationList', 'get_by_filters', [filters])) as NovaObject;
  return list.objects();
}

/** True if the server was evacuated from the source of a live migration to the host that it is on now: whatever that migration has brought is the past. */
export async function wasEvacuated(compute: Compute, context: WireContext, instance: NovaObject, migration: NovaObject): Promise<boolean> {
  const done = await findMigrations(compute, context, { instance_uuid: instance.text('uuid'), migration_type: 'evacuation', source_compute: migration.text('source_compute'), status: ['done', 'completed'] });
  return done.some((evacuation) => evacuation.text('dest_compute') === instance.text('host') && (evacuation.number('id') ?? 0) > (migration.number('id') ?? 0));
}

/**
 * Before an evacuation to this host makes anything: a live migration that the dead host has begun must be known to have brought nothing.
 * Its destination is asked to take the server over, which it does if it has the container, and is refused then; if it has none, the live
 * migration ends here.
 * @throws EVACUATION_REFUSED if the container is, or may be, at a live migration's destination; with `here: true` where that is this host
 */
export async function requireNoHaul(compute: Compute, { context, instance, uuid, operation }: InstanceCall): Promise<void> {
  const source = instance.text('host');
  const found = await findMigrations(compute, context, { instance_uuid: uuid, migration_type: 'live-migration', source_compute: source, status: liveUnderWay });
  for (const migration of found) {
    const destination = migration.text('dest_compute');
    if (destination !== undefined && destination !== source) await requireNothingAt(compute, { context, instance, uuid, operation }, migration, destination);
    operation.log.warn({ migration: migration.text('uuid') }, 'a live migration of the dead host has brought nothing anywhere: ending it');
    await compute.placement.deleteAllocations(fieldOf(migration, 'uuid'));
    await setStatus(compute, context, migration, 'error');
  }
}

async function requireNothingAt(compute: Compute, { context, instance, uuid, operation }: Pick<InstanceCall, 'context' | 'instance' | 'uuid' | 'operation'>, migration: NovaObject, destination: string): Promise<void> {
  const refused = (reason: string, cause?: unknown): HaulierError => new HaulierError('EVACUATION_REFUSED', { host: destination, reason, here: destination === compute.settings.host }, { cause });
  if (destination === compute.settings.host) {
    if ((await arrivalOf(compute, uuid)) !== 'nothing') throw refused('has come, or is coming: that host takes it over by itself');
  } else {
    try {
      await askToTakeOver(compute, context, destination, { instance, block_migration: null }, operation.signal);
    } catch (error) {
      // only its own word that it has no such container counts
      if (!isNova(error, 'InstanceNotRunning', 'InstanceNotFound')) throw refused(`that host does not say whether it has come: ${messageOf(error)}`, error);
      return await castRollback(compute, context, destination, { instance, destroy_disks: true, migrate_data: migrateDataAnew(compute, instance, migration) })
        .catch((failure: unknown) => operation.log.error({ err: failure }, `cannot tell ${destination} that nothing comes any more: ${messageOf(failure)}`));
    }
    const now = await storedInstance(compute, context, uuid);
    throw refused(`runs on ${now?.text('host') ?? destination}, which has taken it over just now`);
  }
}

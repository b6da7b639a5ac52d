/** live_migration_abort and live_migration_force_complete (contract C.9): beside the instance's lock, which the migration holds. */
import type { Compute, InstanceCall } from '../compute.js';
import { HaulierError } from '../../base/errors.js';
import type { NovaObject } from '../../nova/object.js';

/** live_migration_abort. Returns when the migration is off. @throws LIVE_MIGRATION_STATE if that one does not run or wait, or it was too late and has completed */
export async function liveMigrationAbort(compute: Compute, { args, context, instance, uuid }: InstanceCall): Promise<void> {
  compute.notifier.instance('live_migration_abort.start', context, instance);
  const id = Number(args['migration_id']);
  const wrong = (state: string): HaulierError => new HaulierError('LIVE_MIGRATION_STATE', { migration: id, instance: uuid, state, method: 'abort live migration' });
  const ended = compute.live.cancel(uuid, new HaulierError('CANCELLED', { what: 'the live migration', reason: 'a user has aborted it', by: 'user' }), id);
  await ended;
  const migration = (await compute.conductor.classCall(context, 'Migration', 'get_by_id', [id])) as NovaObject;
  const state = migration.text('status') ?? '';
  if (!ended || state !== 'cancelled') throw wrong(state);
  compute.notifier.instance('live_migration_abort.end', context, instance);
}

/** live_migration_force_complete: no more rounds. @throws LIVE_MIGRATION_STATE if none runs */
export async function liveMigrationForceComplete(compute: Compute, { context, instance, uuid }: InstanceCall): Promise<void> {
  compute.notifier.instance('live_migration_force_complete.start', context, instance);
  const found = compute.live.hurry(uuid, new HaulierError('CANCELLED', { what: 'the rounds of the live migration', reason: 'a user wants it complete' }));
  if (!found) throw new HaulierError('LIVE_MIGRATION_STATE', { migration: '(unknown)', instance: uuid, state: 'not running', method: 'force complete live migration' });
  compute.notifier.instance('live_migration_force_complete.end', context, instance);
}

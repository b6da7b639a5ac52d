/** Containers that came to this host for a move that was given up: they are thrown away, but never one that the database says is this host's. */
import type { Call, Compute } from '../compute.js';
import { currentMigration, storedInstance } from './migration.js';
import { arrivedLabel } from './transport.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import { NovaObject } from '../../nova/object.js';

/** drop_move_claim_at_destination: the source gave the move up. */
export async function dropMoveClaim(compute: Compute, call: Call): Promise<void> {
  const instance = call.args['instance'];
  const uuid = instance instanceof NovaObject ? instance.text('uuid') : undefined;
  if (!uuid) return;
  await compute.transport?.forget(uuid);
  compute.tracker.moved(uuid);
  await discardArrived(compute, call.context, uuid, true);
}

/**
 * Throws away a container that lies here and belongs to another host, unless that one is moving it here now. Never throws.
 * @param givenUp the source says that it is not, whatever the records still say
 */
export async function discardArrived(compute: Compute, context: WireContext, uuid: string, givenUp = false): Promise<void> {
  try {
    // on a shared instances_path other hosts' containers lie here too: only what this host received is looked at
    if ((await compute.containers.spec(uuid))?.labels[arrivedLabel] === undefined || (await compute.containers.view(uuid)).state !== 'stopped') return;
    const instance = await storedInstance(compute, context, uuid);
    // a deleted one is the reaper's
    if (!instance || instance.text('host') === compute.settings.host || (!givenUp && (await comesHere(compute, context, instance)))) return;
    compute.log.info({ instance: uuid }, 'throwing away what came for a move that was given up');
    await compute.operations.run({ name: 'discard_arrived', instance: uuid }, (operation) => compute.containers.destroy(uuid, operation));
  } catch (error) {
    compute.log.error({ err: error, instance: uuid }, `cannot throw away what came for a move: ${messageOf(error)}`);
  }
}

/** True while a move to this host is under way. */
async function comesHere(compute: Compute, context: WireContext, instance: NovaObject): Promise<boolean> {
  const migration = await currentMigration(compute, context, instance);
  return migration?.text('dest_compute') === compute.settings.host && ['pre-migrating', 'migrating', 'post-migrating', 'accepted'].includes(migration.text('status') ?? '');
}

/**
 * What a live migration's destination does before the container comes, and when it does not (contract C.9; nova/compute/manager.py
 * `pre_live_migration`, `rollback_live_migration_at_destination`).
 */
import type { Compute, InstanceCall } from '../compute.js';
import { checkGroupOf } from '../boot/group-policy.js';
import { withAttribute } from '../instance-state.js';
import { announceHere, tryDropBindings } from '../live/bindings.js';
import { destinationSpecs, hostsOf, migrateDataOf, setTicket } from '../live/migrate-data.js';
import { takeUnasked } from '../live/recover.js';
import { storedInstance } from '../moves/migration.js';
import { cachedVifs } from '../network/info-cache.js';
import { vifSpecs } from '../network/vif-spec.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { VifSpec } from '../../container/spec.js';
import type { NovaObject } from '../../nova/object.js';

/** pre_live_migration: claim, ports, ticket. On failure nothing of it is left here. @returns `migrate_data` with the ticket */
export async function preLiveMigration(compute: Compute, call: InstanceCall): Promise<NovaObject> {
  const { args, context, instance, uuid, operation } = call;
  const data = migrateDataOf(args, call.method);
  const hosts = hostsOf(data);
  const source = hosts?.source;
  if (!hosts || !source) throw new HaulierError('LIVE_MIGRATION_REFUSED', { reason: 'the source is no Haulier host' });
  await checkGroupOf(compute, context, uuid);
  await Promise.all([withAttribute(compute, call, 'info_cache'), withAttribute(compute, call, 'flavor')]);
  compute.notifier.instance('live_migration_pre.start', context, instance);
  const flavor = instance.object('flavor');
  if (flavor) compute.tracker.moving(uuid, instance, flavor);
  operation.undo('drop the claim', () => compute.tracker.moved(uuid));
  // before they are plugged: neutron's agent wires what is on its way here as soon as it sees it
  operation.undo('the ports are not on their way', () => tryDropBindings(compute, context, uuid, source.host, compute.settings.host));
  await announceHere(compute, context, uuid, source.host);
  const vifs = portsHere(compute, instance, data);
  for (const vif of vifs) await compute.containers.plug(uuid, vif, operation);
  faultPoint('live.plugged');
  const ticket = compute.hauls.expect({ instance: uuid, migration: hosts.migration, from: source, vifs, onArrival: () => takeUnasked(compute, uuid, hosts.migration) });
  operation.undo('expect it no more', () => compute.hauls.forget(uuid, hosts.migration));
  setTicket(data, ticket);
  data.set('old_vol_attachment_ids', {});
  data.set('wait_for_vif_plugged', compute.settings.liveMigrationWaitForVifPlug && data.objects('vifs').length > 0);
  faultPoint('live.expected');
  compute.notifier.instance('live_migration_pre.end', context, instance);
  return data;
}

/** The ports as they are plugged here. */
function portsHere(compute: Compute, instance: NovaObject, data: NovaObject): VifSpec[] {
  return data.has('vifs') ? destinationSpecs(compute.settings, data) : vifSpecs(cachedVifs(instance));
}

/** rollback_live_migration_at_destination. Not of the migration that is prepared here now, or of a server that has come: nothing is touched then. */
export async function rollbackLiveMigrationAtDestination(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, uuid } = call;
  const data = migrateDataOf(args, call.method);
  const migration = hostsOf(data)?.migration ?? '';
  const expected = compute.hauls.expected(uuid);
  const { host } = compute.settings;
  const stored = await storedInstance(compute, context, uuid);
  if ((expected !== undefined && expected !== migration) || stored?.text('host') === host) {
    compute.log.info({ instance: uuid, migration, expected }, 'this live migration is over already');
    return;
  }
  compute.notifier.instance('live_migration_rollback_dest.start', context, instance);
  compute.hauls.forget(uuid, migration);
  compute.tracker.moved(uuid);
  await tryDropBindings(compute, context, uuid, stored?.text('host') ?? '', host);
  // a container that came is the haul's to remove: it knows whether it may
  if ((await compute.containers.view(uuid)).state === 'missing') {
    await withAttribute(compute, call, 'info_cache');
    for (const vif of portsHere(compute, instance, data)) {
      await compute.containers.unplug(uuid, vif).catch((error: unknown) => compute.log.error({ err: error, instance: uuid, port: vif.id }, `cannot unplug it: ${messageOf(error)}`));
    }
  }
  compute.notifier.instance('live_migration_rollback_dest.end', context, instance);
}

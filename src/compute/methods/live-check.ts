/**
 * check_can_live_migrate_destination and check_can_live_migrate_source (contract C.9; nova/compute/manager.py): what can be known
 * beforehand is refused here, with its reason, before anything of the server is touched.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { checkGroupOf } from '../boot/group-policy.js';
import { withAttribute } from '../instance-state.js';
import { bindsTwice } from '../live/bindings.js';
import type { Introduction } from '../live/hauls.js';
import { hostsOf, migrateDataOf, newMigrateData, setHosts, setVifs } from '../live/migrate-data.js';
import { whyNotMovable } from '../live/movable.js';
import { askSource } from '../live/other-end.js';
import { migrationOf } from '../moves/migration.js';
import { isSharedWith } from '../moves/shared-storage.js';
import { cachedVifs } from '../network/info-cache.js';
import { hypervisorType } from '../node-values.js';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import type { NovaObject } from '../../nova/object.js';

const refused = (reason: string, cause?: unknown): HaulierError => new HaulierError('LIVE_MIGRATION_REFUSED', { reason }, { cause });

/** How this host presents itself. @throws LIVE_MIGRATION_REFUSED if it takes part in no hauls */
async function introduce(compute: Compute): Promise<Introduction> {
  try {
    return await compute.hauls.introduce();
  } catch (error) {
    throw refused(`${compute.settings.host} cannot take part: ${messageOf(error)}`, error);
  }
}

/** What the other host needs to know later on: not what its CPU is like. */
const brief = (introduction: Introduction): Introduction => ({ ...introduction, facts: { ...introduction.facts, cpuFlags: [] } });

/** check_can_live_migrate_destination. @returns `migrate_data` with an entry for every port @throws LIVE_MIGRATION_REFUSED; what the source raises */
export async function checkCanLiveMigrateDestination(compute: Compute, call: InstanceCall): Promise<NovaObject> {
  const { args, context, instance, uuid, operation } = call;
  const migration = migrationOf(call);
  try {
    await checkGroupOf(compute, context, uuid);
  } catch (error) {
    if (isHaulierError(error, 'NO_RESOURCES')) throw refused(`Failed to validate instance group policy due to: ${messageOf(error)}`, error);
    throw error;
  }
  const from = instance.text('host') ?? '';
  const node = (await compute.conductor.classCall(context, 'ComputeNode', 'get_first_node_by_host_for_old_compat', [from])) as NovaObject;
  const type = node.text('hypervisor_type');
  if (type !== hypervisorType) throw refused(`${from} is a host of type ${String(type)}, ${compute.settings.host} of type ${hypervisorType}`);
  const destination = await introduce(compute);
  if ((await compute.containers.view(uuid)).state !== 'missing') throw refused(`something of the server is on ${compute.settings.host} already`);
  const { diskFreeGiB } = await compute.containers.resources();
  const block = args['block_migration'];
  const hosts = { migration: migration.text('uuid') ?? '', destination, ...(typeof block === 'boolean' ? { block } : {}) };
  const check = newMigrateData(compute.conductor, hosts, diskFreeGiB * 1024);
  if (block === false) check.set('block_migration', false);
  if (typeof args['disk_over_commit'] === 'boolean') check.set('disk_over_commit', args['disk_over_commit']);
  const data = await askSource(compute, context, from, { instance, dest_check_data: check }, operation.signal);
  const source = hostsOf(data)?.source;
  if (!source) throw refused(`${from} is no Haulier host, or too old for live migration`);
  const objection = await compute.hauls.objection(source);
  if (objection !== undefined) throw refused(`it could not go on at ${compute.settings.host}: ${objection}`);
  setHosts(data, { migration: hosts.migration, destination: brief(destination), source: brief(source) });
  await withAttribute(compute, call, 'info_cache');
  if (await bindsTwice(compute, context)) setVifs(compute.conductor, data, cachedVifs(instance));
  return data;
}

/** check_can_live_migrate_source. @returns `dest_check_data` with this host in it @throws LIVE_MIGRATION_REFUSED, STORAGE_NOT_SHARED, STORAGE_SHARED */
export async function checkCanLiveMigrateSource(compute: Compute, call: InstanceCall): Promise<NovaObject> {
  const { args, context, uuid } = call;
  const data = migrateDataOf(args, call.method, 'dest_check_data');
  const hosts = hostsOf(data);
  const to = hosts?.destination;
  if (!hosts || !to) throw refused('the destination is no Haulier host');
  const source = await introduce(compute);
  if (to.protocol.split('.')[0] !== source.protocol.split('.')[0]) throw refused(`${to.host} speaks version ${to.protocol} of the haul protocol, ${source.host} ${source.protocol}`);
  const shared = (await isSharedWith(compute, context, uuid, to.host)) === 'shared';
  await requireMovable(compute, uuid, compute.settings.haulPermitRestart && !shared);
  if (shared && hosts.block === true) throw new HaulierError('STORAGE_SHARED', { path: to.host, reason: 'Block migration can not be used with shared storage.' });
  if (!shared && data.flag('block_migration') === false) throw new HaulierError('STORAGE_NOT_SHARED', { path: to.host, reason: 'Live migration can not be used without shared storage except a booted from volume VM which does not have a local disk.' });
  if (shared) {
    data.set('is_shared_instance_path', true);
    data.set('block_migration', false);
  } else if (data.flag('disk_over_commit') === false) {
    const need = Math.ceil((await compute.containers.moves.diskBytes(uuid)) / 1024 ** 2);
    const free = data.number('disk_available_mb') ?? 0;
    if (need > free) throw refused(`Disk of instance is too large (available on destination host: ${free} MiB < need: ${need} MiB)`);
  }
  data.set('is_volume_backed', false);
  setHosts(data, { ...hosts, source });
  return data;
}

/** @throws LIVE_MIGRATION_REFUSED */
async function requireMovable(compute: Compute, uuid: string, permitRestart: boolean): Promise<void> {
  const [view, spec] = await Promise.all([compute.containers.view(uuid), compute.containers.spec(uuid)]);
  const runs = view.state === 'running' || view.state === 'paused';
  // its freeze hook has run, and nobody would end that at the destination
  if (runs && (await compute.containers.isQuiesced(uuid))) throw refused('the server is quiesced: a snapshot of it is being made');
  const [reason] = whyNotMovable(compute.settings.host, view, spec, runs ? await compute.containers.verdict(uuid) : undefined, permitRestart);
  if (reason !== undefined) throw refused(reason);
}

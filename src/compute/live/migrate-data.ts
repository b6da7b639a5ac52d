/**
 * `migrate_data`, the object that Nova carries between the two hosts of a live migration (contract C.9). It must be one that the
 * conductor knows; fields that it does not read carry what is ours: `filename` who the hosts are, `target_connect_addr` the ticket.
 * The ticket is in the one answer to pre_live_migration, from host to host, and nowhere else.
 */
import type { Introduction, HaulTicket } from './hauls.js';
import { vifSpecs } from '../network/vif-spec.js';
import type { ComputeSettings } from '../settings.js';
import { HaulierError } from '../../base/errors.js';
import type { VifSpec } from '../../container/spec.js';
import type { VifInfo } from '../../nova/network-info.js';
import { NovaObject } from '../../nova/object.js';
import type { Conductor } from '../../nova/types.js';

/** The two hosts, as far as they are known. */
export interface Hosts {
  /** Uuid of the migration. */
  readonly migration: string;
  readonly destination?: Introduction;
  readonly source?: Introduction;
  /** Block migration, as somebody asked for it; undefined: as it fits. Only until the source has checked. */
  readonly block?: boolean;
}

/** Fresh data without ports. @param hosts travels in it @param freeMiB of the destination's disk */
export function newMigrateData(conductor: Conductor, hosts: Hosts, freeMiB: number): NovaObject {
  const data = conductor.create('LibvirtLiveMigrateData', {
    is_volume_backed: false, is_shared_instance_path: false, is_shared_block_storage: false, block_migration: true, disk_available_mb: freeMiB, image_type: 'default',
    pci_dev_map_src_dst: {},
  });
  setHosts(data, hosts);
  return data;
}

/** The call's `migrate_data`, or another argument of that kind. @throws BAD_ARGUMENT */
export function migrateDataOf(args: Readonly<Record<string, unknown>>, method: string, argument = 'migrate_data'): NovaObject {
  const data = args[argument];
  if (!(data instanceof NovaObject)) throw new HaulierError('BAD_ARGUMENT', { method, argument, problem: 'is missing' });
  return data;
}

/** Writes who the hosts are. */
export function setHosts(data: NovaObject, hosts: Hosts): void {
  data.set('filename', JSON.stringify({ haulier: 1, ...hosts }));
}

function parsed(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

/** Reads who the hosts are; undefined where no Haulier has written them. */
export function hostsOf(data: NovaObject): Hosts | undefined {
  const value = parsed(data.text('filename'));
  return value?.['haulier'] === 1 && typeof value['migration'] === 'string' ? value as unknown as Hosts : undefined;
}

/** Puts the ticket in. */
export function setTicket(data: NovaObject, ticket: HaulTicket): void {
  data.set('target_connect_addr', JSON.stringify(ticket));
}

/** Takes the ticket out: the data goes to others after this. @throws HAUL_FAILED if there is none */
export function takeTicket(data: NovaObject, from: string): HaulTicket {
  const ticket = parsed(data.text('target_connect_addr'));
  data.set('target_connect_addr', null);
  if (typeof ticket?.['token'] !== 'string' || typeof ticket['address'] !== 'string' || typeof ticket['port'] !== 'number') throw new HaulierError('HAUL_FAILED', { reason: `${from} sent no usable ticket` });
  return ticket as unknown as HaulTicket;
}

/** An entry for every port; the conductor adds what the destination's binding says, if neutron has such bindings. */
export function setVifs(conductor: Conductor, data: NovaObject, vifs: readonly VifInfo[]): void {
  data.set('vifs', vifs.map((vif) => conductor.create('VIFMigrateData', { port_id: vif.id, source_vif: JSON.stringify(vif) })));
}

/** The ports as they are at the destination (nova/objects/migrate_data.py `get_dest_vif`). */
export function destinationVifs(settings: Pick<ComputeSettings, 'ovsBridge'>, data: NovaObject): VifInfo[] {
  return data.objects('vifs').map((entry) => {
    const vif = JSON.parse(entry.text('source_vif') ?? '{}') as VifInfo;
    const type = entry.text('vif_type');
    if (type === undefined) return vif; // a neutron without second bindings: it is bound there when it has come
    const details = parsed(entry.text('vif_details_json')) ?? {};
    const named = typeof details['bridge_name'] === 'string' ? details['bridge_name'] : undefined;
    const bridge = named ?? (type === 'ovs' ? settings.ovsBridge : type === vif.type ? vif.network.bridge : `brq${vif.network.id}`);
    return {
      ...vif, type, details, vnic_type: entry.text('vnic_type') ?? vif.vnic_type, profile: parsed(entry.text('profile_json')) ?? {},
      network: { ...vif.network, bridge: bridge?.slice(0, 14) ?? null },
    };
  });
}

/** The same as the host plugs them. @throws VIF_UNSUPPORTED */
export function destinationSpecs(settings: Pick<ComputeSettings, 'ovsBridge'>, data: NovaObject): VifSpec[] {
  return vifSpecs(destinationVifs(settings, data));
}

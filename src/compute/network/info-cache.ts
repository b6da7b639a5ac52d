/**
 * The instance's network info cache: what the API shows and what unplugging uses. Changed only under the instance's cache
 * lock, and always rebuilt on top of the stored one, which alone knows `preserve_on_delete` (contract F.3).
 */
import type { Compute } from '../compute.js';
import { serviceOwners, vifModel, type ModelOptions, type NetworkRecords } from './network-model.js';
import { serviceScope } from '../scope.js';
import type { WireContext } from '../../messaging/types.js';
import type { VifInfo } from '../../nova/network-info.js';
import type { NovaObject } from '../../nova/object.js';
import type { Network, Port } from '../../openstack/types.js';

/** The VIFs in an instance's cache as it came; empty if there is none. */
export function cachedVifs(instance: NovaObject): VifInfo[] {
  return parseNetworkInfo(instance.object('info_cache')?.get('network_info'));
}

/** Parses the cache's text; null and unset are empty. */
export function parseNetworkInfo(text: unknown): VifInfo[] {
  return typeof text === 'string' && text !== '' ? (JSON.parse(text) as VifInfo[]) : [];
}

/** Ids of the user's own ports, which outlive the server. */
export function preservedPorts(vifs: readonly VifInfo[]): Set<string> {
  return new Set(vifs.filter((vif) => vif.preserve_on_delete).map((vif) => vif.id));
}

/** Reads the cache that is stored now. */
export async function storedVifs(compute: Compute, context: WireContext, uuid: string): Promise<VifInfo[]> {
  const cache = (await compute.conductor.classCall(context, 'InstanceInfoCache', 'get_by_instance_uuid', [uuid])) as NovaObject | null;
  return parseNetworkInfo(cache?.get('network_info'));
}

/** Stores `vifs`, and puts them into `instance`'s copy. Call it under the cache lock. */
export async function saveVifs(compute: Compute, context: WireContext, uuid: string, vifs: readonly VifInfo[], instance?: NovaObject): Promise<void> {
  const text = JSON.stringify(vifs);
  const cache = compute.conductor.create('InstanceInfoCache', { instance_uuid: uuid, network_info: text });
  await compute.conductor.objectCall(context, cache, 'save', { update_cells: true });
  instance?.object('info_cache')?.load('network_info', text);
}

/** What of the records is known without asking. */
export interface KnownRecords {
  readonly networks?: readonly Network[];
  /** Ports that were made a moment ago: no floating IP can lead to them. */
  readonly fresh?: ReadonlySet<string>;
}

/** Fetches what the model needs beside the ports, side by side. */
export async function fetchRecords(compute: Compute, context: WireContext, ports: readonly Port[], signal?: AbortSignal, known: KnownRecords = {}): Promise<NetworkRecords> {
  const scope = serviceScope(context, signal);
  const networkIds = [...new Set(ports.map((port) => port.network_id))];
  const subnetIds = [...new Set(ports.flatMap((port) => port.fixed_ips.map((ip) => ip.subnet_id)))];
  if (networkIds.length === 0) return { networks: [], subnets: [], servicePorts: [], floatingIps: [] };
  const [networks, subnets, servicePorts, floatingIps] = await Promise.all([
    // users do not see the provider's attributes, and the model needs them
    known.networks?.every((network) => 'provider:network_type' in network) ? known.networks : compute.neutron.networks(scope, { id: networkIds }),
    subnetIds.length > 0 ? compute.neutron.subnets(scope, { id: subnetIds }) : [],
    compute.neutron.ports(scope, { network_id: networkIds, device_owner: serviceOwners }),
    floatingIpsOf(compute, context, ports.filter((port) => !known.fresh?.has(port.id)), signal),
  ]);
  return { networks, subnets, servicePorts, floatingIps };
}

async function floatingIpsOf(compute: Compute, context: WireContext, ports: readonly Port[], signal?: AbortSignal): Promise<NetworkRecords['floatingIps']> {
  if (ports.length === 0) return [];
  const scope = serviceScope(context, signal);
  // a neutron without routers answers 404
  if (!(await compute.neutron.extensions(scope)).has('router')) return [];
  return compute.neutron.floatingIps(scope, { port_id: ports.map((port) => port.id) });
}

/** How models are built on this control plane. */
export function modelOptions(compute: Compute, preserved: ReadonlySet<string>): ModelOptions {
  return { preserved, ovsBridge: compute.settings.ovsBridge, shouldCreateBridge: compute.conductor.release !== '2026.2', dhcpFlag: compute.conductor.release !== 'zed' };
}

/**
 * Brings the cache in step with neutron: the ports that the server has now, in the old order, new ones last.
 * @param only refresh just this port
 */
export async function refreshVifs(compute: Compute, context: WireContext, uuid: string, only?: string): Promise<VifInfo[]> {
  return compute.cacheLocks.hold(uuid, async () => {
    const old = await storedVifs(compute, context, uuid);
    const ports = await compute.neutron.ports(serviceScope(context), only === undefined ? { device_id: uuid } : { device_id: uuid, id: only });
    const records = await fetchRecords(compute, context, ports);
    const options = modelOptions(compute, preservedPorts(old));
    const fresh = new Map(ports.map((port) => [port.id, vifModel(port, records, options)]));
    const kept = old.flatMap((vif) => {
      const now = fresh.get(vif.id);
      fresh.delete(vif.id);
      if (now) return [now];
      return only !== undefined && vif.id !== only ? [vif] : [];
    });
    const vifs = only === undefined || old.some((vif) => vif.id === only) ? [...kept, ...(only === undefined ? fresh.values() : [])] : old;
    if (JSON.stringify(vifs) !== JSON.stringify(old)) await saveVifs(compute, context, uuid, vifs);
    return vifs;
  });
}

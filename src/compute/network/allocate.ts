/**
 * Ports for a new server: made with the user's rights, bound with the service's, entered into the info cache
 * (nova/network/neutron.py `allocate_for_instance`, contract F.1). What does not depend on each other runs side by side.
 */
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { cachedVifs, fetchRecords, modelOptions, saveVifs, storedVifs } from './info-cache.js';
import { vifModel } from './network-model.js';
import { resolveRequested, securityGroupIds, type RequestedVif } from './requested.js';
import { serviceScope, userScope } from '../scope.js';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { WireContext } from '../../messaging/types.js';
import type { VifInfo } from '../../nova/network-info.js';
import type { NovaObject } from '../../nova/object.js';
import type { Network, Port } from '../../openstack/types.js';

/** What `allocateNetworks` needs to know. */
export interface NetworkDemand {
  readonly context: WireContext;
  readonly instance: NovaObject;
  readonly requests: readonly NovaObject[];
  readonly securityGroups: readonly string[];
  readonly operation: Operation;
  /**
   * Called with each port as soon as it is bound, while the rest is fetched and stored: it can be plugged then, and neutron's agent
   * wires it meanwhile. `vif` has no addresses yet. It is waited for; what it makes is its own to push on the undo stack.
   */
  readonly onBound?: (vif: VifInfo, place: number) => Promise<void>;
  /** Called when all ports are bound and `onBound` is done with them, also while the rest is stored; waited for. */
  readonly onAllBound?: () => Promise<void>;
}

/** Runs both to their end, then throws the first failure: nothing may still be made while the rollback runs. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}

/** What runs beside the allocation for each bound port. It has ended before the allocation has, however that ends. */
class Plugging {
  readonly #works: Promise<void>[] = [];

  constructor(private readonly compute: Compute, private readonly demand: Pick<NetworkDemand, 'onBound' | 'onAllBound'>) {}

  begin(port: Port, network: Network | undefined, place: number): void {
    const records = { networks: network ? [network] : [], subnets: [], servicePorts: [], floatingIps: [] };
    const work = this.demand.onBound?.(vifModel(port, records, modelOptions(this.compute, new Set())), place);
    work?.catch(() => undefined); // `end` sees it
    if (work) this.#works.push(work);
  }

  /** @throws what plugging failed with */
  async end(): Promise<void> {
    await Promise.all(this.#works);
    await this.demand.onAllBound?.();
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#works);
  }
}

async function createPort(compute: Compute, demand: NetworkDemand, wanted: RequestedVif, groups: readonly string[]): Promise<Port> {
  const { instance, context, operation } = demand;
  // never cut short: a request that was sent may still make the port, and nobody would know its id
  const port = await compute.neutron.createPort(userScope(context), {
    device_id: uuidOf(instance),
    network_id: wanted.network.id,
    admin_state_up: true,
    tenant_id: instance.text('project_id'),
    ...(groups.length > 0 && wanted.network.port_security_enabled !== false ? { security_groups: groups } : {}),
    ...(wanted.address ? { fixed_ips: [{ ip_address: wanted.address }] } : {}),
  });
  operation.undo(`delete port ${port.id}`, () => compute.neutron.deletePort(serviceScope(context), port.id));
  return port;
}

/** Binds a port to this host. Not cut short either: it could be bound after it was given back. @throws PORT_BINDING_FAILED */
export async function bindPort(compute: Compute, context: WireContext, instance: NovaObject, port: Port, network: Network | undefined): Promise<Port> {
  const extensions = await compute.neutron.extensions(serviceScope(context));
  const profile = port['binding:profile'] ?? {};
  const bound = await compute.neutron.updatePort(serviceScope(context), port.id, {
    device_id: uuidOf(instance),
    device_owner: `compute:${instance.text('availability_zone') ?? ''}`,
    'binding:host_id': compute.settings.host,
    ...(profile['migrating_to'] === undefined ? {} : { 'binding:profile': Object.fromEntries(Object.entries(profile).filter(([key]) => key !== 'migrating_to')) }),
    ...(extensions.has('dns-integration') && !network?.dns_domain ? { dns_name: instance.text('hostname') } : {}),
  });
  if (bound['binding:vif_type'] === 'binding_failed') throw new HaulierError('PORT_BINDING_FAILED', { port: port.id });
  return bound;
}

async function makePort(compute: Compute, demand: NetworkDemand, wanted: RequestedVif, groups: readonly string[], plugging: Plugging, place: number, order: Promise<void>): Promise<Port> {
  const { context, instance, operation } = demand;
  operation.throwIfAborted();
  const given = wanted.port;
  if (given) operation.undo(`unbind port ${given.id}`, () => unbindPort(compute, context, given));
  const port = given ?? (await createPort(compute, demand, wanted, groups));
  faultPoint('boot.port-created');
  // `address` is unique per network interface row, so it carries the port id; rows keep the order of the request (contract B.5)
  const row = compute.conductor.create('VirtualInterface', { address: `${port.mac_address}/${port.id}`, instance_uuid: uuidOf(instance), uuid: port.id, tag: wanted.tag ?? null });
  const bind = async (): Promise<Port> => {
    operation.throwIfAborted();
    const made = await bindPort(compute, context, instance, port, wanted.network);
    faultPoint('boot.port-bound');
    plugging.begin(made, wanted.network, place);
    return made;
  };
  const [made] = await both(bind(), place === 0 ? compute.conductor.objectCall(context, row, 'create') : order.then(() => compute.conductor.objectCall(context, row, 'create')));
  return made;
}

/** A port that the user brought goes back to him as it was: no owner, no host (contract F.2). */
export async function unbindPort(compute: Compute, context: WireContext, port: Pick<Port, 'id' | 'binding:profile'>): Promise<void> {
  const extensions = await compute.neutron.extensions(serviceScope(context));
  const profile = Object.fromEntries(Object.entries(port['binding:profile'] ?? {}).filter(([key]) => !['migrating_to', 'allocation', 'pci_vendor_info', 'pci_slot', 'physical_network'].includes(key)));
  try {
    await compute.neutron.updatePort(serviceScope(context), port.id, {
      device_id: '', device_owner: '', 'binding:host_id': null, 'binding:profile': profile,
      ...(extensions.has('dns-integration') ? { dns_name: '' } : {}),
    });
  } catch (error) {
    if (!isHaulierError(error, 'PORT_NOT_FOUND')) throw error;
  }
}

function networkError(error: unknown): unknown {
  if (isHaulierError(error, 'REST_FAILED') || isHaulierError(error, 'REST_UNREACHABLE')) return new HaulierError('NETWORK_FAILED', { reason: messageOf(error) }, { cause: error });
  return error;
}

/** What was asked for, looked up. */
export type NetworkWish = Promise<{ readonly wanted: readonly RequestedVif[]; readonly groups: readonly string[] }>;

/** Looks up what was asked for; makes nothing, so it may run before the claim is stored. The promise may be awaited late. */
export function lookUpNetworks(compute: Compute, demand: Pick<NetworkDemand, 'context' | 'instance' | 'requests' | 'securityGroups'>): NetworkWish {
  const { context, instance } = demand;
  const wish = Promise.all([
    resolveRequested(compute, context, instance, demand.requests),
    securityGroupIds(compute, context, instance.text('project_id') ?? '', demand.securityGroups),
  ]).then(([wanted, groups]) => ({ wanted, groups }));
  wish.catch(() => undefined); // whoever awaits it sees it
  return wish;
}

/**
 * Makes, binds and records the server's ports.
 * @returns the VIFs in the order of the request; the info cache holds them
 * @throws NETWORK_FAILED and what `resolveRequested` throws; everything made is on the operation's undo stack
 */
export async function allocateNetworks(compute: Compute, demand: NetworkDemand, wish: NetworkWish): Promise<VifInfo[]> {
  const { context, instance, operation } = demand;
  const plugging = new Plugging(compute, demand);
  try {
    const { wanted, groups } = await wish;
    operation.undo('delete the virtual interface rows and empty the cache', async () => {
      await compute.conductor.classCall(context, 'VirtualInterface', 'delete_by_instance_uuid', [uuidOf(instance)]);
      await compute.cacheLocks.hold(uuidOf(instance), () => saveVifs(compute, context, uuidOf(instance), [], instance));
    });
    return await compute.cacheLocks.hold(uuidOf(instance), async () => {
      const preserved = new Set(wanted.flatMap((item) => item.port?.id ?? []));
      if (preserved.size > 0) await saveVifs(compute, context, uuidOf(instance), brought(compute, wanted, preserved), instance);
      const ports = await inOrder(wanted, (item, place, order) => makePort(compute, demand, item, groups, plugging, place, order));
      const known = { networks: wanted.map((item) => item.network), fresh: new Set(ports.map((port) => port.id).filter((id) => !preserved.has(id))) };
      const store = async (): Promise<VifInfo[]> => {
        const records = await fetchRecords(compute, context, ports, operation.signal, known);
        const vifs = ports.map((port) => vifModel(port, records, modelOptions(compute, preserved)));
        await saveVifs(compute, context, uuidOf(instance), vifs, instance);
        return vifs;
      };
      const [vifs] = await both(store(), plugging.end());
      return vifs;
    });
  } catch (error) {
    throw networkError(error);
  } finally {
    await plugging.settled();
  }
}

/**
 * One port more for a server that has a cache: made or taken, bound, recorded, and entered behind the others.
 * @param wanted the one that is asked for
 * @returns the cache's VIFs, the new one last
 * @throws as `allocateNetworks`; PORT_LIMIT, ADDRESS_IN_USE, ADDRESSES_EXHAUSTED. Everything made is on the operation's undo stack
 */
export async function addNetwork(compute: Compute, demand: NetworkDemand, wanted: RequestedVif): Promise<VifInfo[]> {
  const { context, instance, operation } = demand;
  const uuid = uuidOf(instance);
  return compute.cacheLocks.hold(uuid, async () => {
    const before = await storedVifs(compute, context, uuid);
    operation.undo('take the port out of the cache', () => compute.cacheLocks.hold(uuid, async () => {
      await dropRows(compute, context, uuid, (port) => !before.some(({ id }) => id === port));
      await saveVifs(compute, context, uuid, (await storedVifs(compute, context, uuid)).filter(({ id }) => before.some((vif) => vif.id === id)), instance);
    }));
    const preserved = new Set(wanted.port ? [wanted.port.id] : []);
    const others = before.filter(({ id }) => !preserved.has(id));
    try {
      if (wanted.port) await saveVifs(compute, context, uuid, [...others, ...brought(compute, [wanted], preserved)], instance);
      const port = await makePort(compute, demand, wanted, [], new Plugging(compute, {}), 0, Promise.resolve());
      const records = await fetchRecords(compute, context, [port], operation.signal, { networks: [wanted.network], ...(wanted.port ? {} : { fresh: new Set([port.id]) }) });
      const vifs = [...others, vifModel(port, records, modelOptions(compute, preserved))];
      await saveVifs(compute, context, uuid, vifs, instance);
      return vifs;
    } catch (error) {
      throw portError(error, wanted);
    }
  });
}

/** Takes rows of the server's interfaces away. @param which by their port's id */
export async function dropRows(compute: Compute, context: WireContext, uuid: string, which: (port: string) => boolean): Promise<void> {
  const rows = (await compute.conductor.classCall(context, 'VirtualInterfaceList', 'get_by_instance_uuid', [uuid])) as NovaObject;
  for (const row of rows.objects()) if (which(row.text('uuid') ?? '')) await compute.conductor.objectCall(context, row, 'destroy');
}

/** What neutron refuses, as Nova tells it (nova/network/neutron.py `_create_port_minimal`). */
function portError(error: unknown, { address, network }: RequestedVif): unknown {
  const type = isHaulierError(error, 'REST_FAILED') ? error.details['type'] : undefined;
  if (type === 'OverQuota') return new HaulierError('PORT_LIMIT', {}, { cause: error });
  if (type === 'IpAddressInUse' || type === 'IpAddressAlreadyAllocated') return new HaulierError('ADDRESS_IN_USE', { address, network: network.id }, { cause: error });
  if (type === 'IpAddressGenerationFailure') return new HaulierError('ADDRESSES_EXHAUSTED', { network: network.id }, { cause: error });
  return networkError(error);
}

/** The user's own ports, noted before they are marked as the server's: a service that dies meanwhile would delete them with the server (contract K.42). */
function brought(compute: Compute, wanted: readonly RequestedVif[], preserved: ReadonlySet<string>): VifInfo[] {
  return wanted.flatMap(({ port, network }) => (port ? [vifModel(port, { networks: [network], subnets: [], servicePorts: [], floatingIps: [] }, modelOptions(compute, preserved))] : []));
}

/** Runs `make` for all side by side; each gets a promise of its predecessor's end. Waits for all before it throws, so that every undo is pushed. */
async function inOrder<T, R>(items: readonly T[], make: (item: T, place: number, order: Promise<void>) => Promise<R>): Promise<R[]> {
  let before: Promise<void> = Promise.resolve();
  const results = items.map((item, place) => {
    const made = make(item, place, before);
    before = made.then(() => undefined, () => undefined);
    return made;
  });
  const settled = await Promise.allSettled(results);
  const failed = settled.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  return Promise.all(results);
}

/**
 * Binds the ports that a server has already to this host: a reschedule whose first host left them
 * (`system_metadata.network_allocated`), or a start after neutron lost the binding.
 */
export async function rebindNetworks(compute: Compute, demand: Pick<NetworkDemand, 'context' | 'instance' | 'operation' | 'onBound' | 'onAllBound'>, preserved: ReadonlySet<string>): Promise<VifInfo[]> {
  const { context, instance, operation } = demand;
  const plugging = new Plugging(compute, demand);
  const cached = cachedVifs(instance).map((vif) => vif.id);
  const found = await compute.neutron.ports(serviceScope(context, operation.signal), { device_id: uuidOf(instance) });
  const rank = (port: Port): number => (cached.includes(port.id) ? cached.indexOf(port.id) : cached.length);
  const ports = [...found].sort((a, b) => rank(a) - rank(b)); // eth0 stays eth0
  const networks = ports.length > 0 ? await compute.neutron.networks(serviceScope(context, operation.signal), { id: [...new Set(ports.map((port) => port.network_id))] }) : [];
  const mine = (port: Port): boolean => port['binding:host_id'] === compute.settings.host && !['unbound', 'binding_failed'].includes(port['binding:vif_type'] ?? '');
  try {
    return await compute.cacheLocks.hold(uuidOf(instance), async () => {
      const bound = await inOrder(ports, async (port, place) => {
        const made = mine(port) ? port : await bindPort(compute, context, instance, port, undefined);
        plugging.begin(made, networks.find((network) => network.id === port.network_id), place);
        return made;
      });
      const records = await fetchRecords(compute, context, bound, operation.signal, { networks });
      const vifs = bound.map((port) => vifModel(port, records, modelOptions(compute, preserved)));
      await both(saveVifs(compute, context, uuidOf(instance), vifs, instance), plugging.end());
      return vifs;
    });
  } finally {
    await plugging.settled();
  }
}

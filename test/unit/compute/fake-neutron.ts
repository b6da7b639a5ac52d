/** A neutron that keeps ports and their bindings, and can fail or stand still at any call. */
import { HaulierError } from '../../../src/base/errors.js';
import type { FloatingIp, Network, Neutron, Port, RequestScope, Subnet } from '../../../src/openstack/types.js';
import type { Steps } from './steps.js';

export class FakeNeutron implements Neutron {
  readonly stored = new Map<string, Port>();
  networkList: Network[] = [];
  subnetList: Subnet[] = [];
  floating: FloatingIp[] = [];
  aliases = new Set(['router', 'binding']);
  vifType = 'ovs';
  readonly scopes: { call: string; kind: string }[] = [];
  constructor(readonly steps: Steps) {}

  async #pass(call: string, scope: RequestScope): Promise<void> {
    this.scopes.push({ call, kind: scope.identity.kind });
    await this.steps.pass(`neutron.${call}`);
    scope.signal?.throwIfAborted();
  }
  /** A port that a user made. */
  own(id: string, fields: Partial<Port> = {}): Port {
    const network = this.networkList[0]!;
    const port: Port = { id, network_id: network.id, mac_address: 'fa:16:3e:00:00:01', status: 'DOWN', admin_state_up: true, device_id: '', device_owner: '', tenant_id: network.tenant_id!, fixed_ips: [{ subnet_id: this.subnetList[0]!.id, ip_address: '10.77.2.9' }], 'binding:host_id': '', 'binding:vif_type': 'unbound', 'binding:vif_details': {}, 'binding:vnic_type': 'normal', 'binding:profile': {}, ...fields };
    this.stored.set(id, port);
    return port;
  }
  async ports(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Port[]> {
    await this.#pass('ports', scope);
    return [...this.stored.values()].filter((port) => Object.entries(filters).every(([field, value]) => [value].flat().includes(String(port[field as keyof Port]))));
  }
  async port(scope: RequestScope, id: string): Promise<Port> {
    await this.#pass('port', scope);
    const port = this.stored.get(id);
    if (!port) throw new HaulierError('PORT_NOT_FOUND', { port: id });
    return port;
  }
  async createPort(scope: RequestScope, fields: Readonly<Record<string, unknown>>): Promise<Port> {
    await this.#pass('createPort', scope);
    const count = this.stored.size + 1;
    return this.own(`4c62ff61-efe1-4e3e-8f84-${String(count).padStart(12, '0')}`, { ...fields, mac_address: `fa:16:3e:1f:2d:${String(count).padStart(2, '0')}`, fixed_ips: [{ subnet_id: this.subnetList[0]!.id, ip_address: `10.77.2.${count}` }] } as Partial<Port>);
  }
  async updatePort(scope: RequestScope, id: string, fields: Readonly<Record<string, unknown>>): Promise<Port> {
    await this.#pass(fields['device_id'] === '' ? 'unbind' : 'bind', scope);
    const port = this.stored.get(id);
    if (!port) throw new HaulierError('PORT_NOT_FOUND', { port: id });
    const bound = Boolean(fields['binding:host_id']);
    const now = { ...port, ...fields, 'binding:vif_type': bound ? this.vifType : 'unbound', 'binding:vif_details': bound ? { bridge_name: 'br-int', ovs_hybrid_plug: false } : {} } as Port;
    this.stored.set(id, now);
    return now;
  }
  async deletePort(scope: RequestScope, id: string): Promise<void> { await this.#pass('deletePort', scope); this.stored.delete(id); }
  /** Bindings of other hosts, by port. */
  readonly bindings = new Map<string, Set<string>>();
  async activatePortBinding(scope: RequestScope, id: string, host: string): Promise<boolean> {
    await this.#pass(`activate ${host}`, scope);
    const port = this.stored.get(id);
    const others = this.bindings.get(id) ?? new Set<string>();
    if (!port) throw new HaulierError('PORT_NOT_FOUND', { port: id });
    if (port['binding:host_id'] === host) return true;
    if (!others.delete(host)) return false;
    this.bindings.set(id, others.add(port['binding:host_id'] ?? ''));
    // the profile is the binding's
    this.stored.set(id, { ...port, 'binding:host_id': host, 'binding:profile': {} });
    return true;
  }
  async deletePortBinding(scope: RequestScope, id: string, host: string): Promise<void> {
    await this.#pass(`deleteBinding ${host}`, scope);
    if (this.stored.get(id)?.['binding:host_id'] === host) throw new Error('the active binding');
    this.bindings.get(id)?.delete(host);
  }
  async networks(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Network[]> {
    await this.#pass('networks', scope);
    return this.networkList.filter((network) => Object.entries(filters).every(([field, value]) => (field === 'shared' ? (value === 'True') === (network.shared === true) : [value].flat().includes(String(network[field as keyof Network])))));
  }
  async subnets(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Subnet[]> {
    await this.#pass('subnets', scope);
    return this.subnetList.filter((subnet) => [filters['id'] ?? []].flat().includes(subnet.id));
  }
  async floatingIps(scope: RequestScope): Promise<readonly FloatingIp[]> { await this.#pass('floatingIps', scope); return this.floating; }
  async securityGroups(scope: RequestScope): Promise<readonly { readonly id: string; readonly name: string }[]> {
    await this.#pass('securityGroups', scope);
    return [{ id: 'g1', name: 'web' }, { id: 'g2', name: 'twice' }, { id: 'g3', name: 'twice' }];
  }
  async extensions(): Promise<ReadonlySet<string>> { return this.aliases; }
}

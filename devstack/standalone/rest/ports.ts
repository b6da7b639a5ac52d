/** What neutron keeps: one flat network with an IPv4 and an IPv6 subnet, and ports with their addresses and bindings. */
import { randomBytes, randomUUID } from 'node:crypto';
import { projectId } from './keystone.js';
import { Refusal } from './server.js';

/** The network's bridge on the host, and its addresses there. */
export const bridge = { name: 'br-solo', gateway4: '10.73.0.1', prefix4: '10.73.0.0/24', gateway6: 'fd73::1', prefix6: 'fd73::/64', mtu: 1500 } as const;
const ids = { network: '1197b85a-3ea0-43ea-b699-d5b467610000', subnet4: '45d00bc7-48bc-4004-b4e6-8750b94234ac', subnet6: '674c08e0-b2e7-435b-84ac-7ddea441d994', group: '8c2a2a5e-4a4e-4f6a-9e0b-0d1a0c7f5a10' };

export const networks = [{
  id: ids.network, name: 'solo', tenant_id: projectId, project_id: projectId, admin_state_up: true, status: 'ACTIVE', mtu: bridge.mtu, shared: true, 'router:external': false,
  subnets: [ids.subnet4, ids.subnet6], 'provider:network_type': 'flat', 'provider:physical_network': 'solo', port_security_enabled: false,
}];
export const subnets = [
  { id: ids.subnet4, cidr: bridge.prefix4, ip_version: 4, gateway_ip: bridge.gateway4 },
  { id: ids.subnet6, cidr: bridge.prefix6, ip_version: 6, gateway_ip: bridge.gateway6 },
].map((subnet) => ({
  ...subnet, name: `solo-v${subnet.ip_version}`, network_id: ids.network, tenant_id: projectId, enable_dhcp: false, dns_nameservers: [], host_routes: [], ipv6_address_mode: null, ipv6_ra_mode: null,
}));
export const securityGroups = [{ id: ids.group, name: 'default', tenant_id: projectId, project_id: projectId }];

/** A port's record. */
export type Port = Record<string, unknown> & { readonly id: string };

/** A refusal as neutron words it. */
export function neutronError(status: number, type: string, message: string): Refusal {
  return new Refusal(status, { NeutronError: { type, message, detail: '' } });
}

interface FixedIp { readonly subnet_id: string; readonly ip_address: string }

/** The ports. */
export class Ports {
  readonly #ports = new Map<string, Port>();

  all(): Port[] {
    return [...this.#ports.values()];
  }
  get(id: string): Port {
    const port = this.#ports.get(id);
    if (!port) throw neutronError(404, 'PortNotFound', `Port ${id} could not be found.`);
    return port;
  }

  create(wanted: Record<string, unknown>): Port {
    if (wanted['network_id'] !== ids.network) throw neutronError(404, 'NetworkNotFound', `Network ${String(wanted['network_id'])} could not be found.`);
    const port: Port = {
      id: randomUUID(), name: '', tenant_id: projectId, project_id: projectId, mac_address: this.#mac(), admin_state_up: true, status: 'DOWN', device_id: '', device_owner: '',
      'binding:host_id': '', 'binding:vif_type': 'unbound', 'binding:vif_details': {}, 'binding:vnic_type': 'normal', 'binding:profile': {}, security_groups: [], port_security_enabled: false,
      ...wanted,
      fixed_ips: this.#addresses(wanted['fixed_ips'] as Partial<FixedIp>[] | undefined),
    };
    this.#ports.set(port.id, port);
    return port;
  }

  /** Changes a port; a host binds it to that host's bridge. */
  update(id: string, changes: Record<string, unknown>): Port {
    const port = this.get(id);
    Object.assign(port, changes);
    if ('binding:host_id' in changes) {
      const host = changes['binding:host_id'];
      const bound = typeof host === 'string' && host !== '';
      Object.assign(port, {
        'binding:host_id': bound ? host : '',
        'binding:vif_type': bound ? 'bridge' : 'unbound',
        'binding:vif_details': bound ? { connectivity: 'l2', port_filter: false, bridge_name: bridge.name } : {},
        ...(bound ? {} : { status: 'DOWN' }),
      });
    }
    return port;
  }

  delete(id: string): Port {
    const port = this.get(id);
    this.#ports.delete(id);
    return port;
  }

  #mac(): string {
    return ['fa:16:3e', ...[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
  }

  /** One free address of each subnet, or those that were asked for. */
  #addresses(wanted: Partial<FixedIp>[] | undefined): FixedIp[] {
    const taken = new Set(this.all().flatMap((port) => (port['fixed_ips'] as FixedIp[]).map(({ ip_address: address }) => address)));
    const free = (ip: (number: number) => string): string => {
      for (let number = 10; number < 250; number++) if (!taken.has(ip(number))) return ip(number);
      throw neutronError(409, 'IpAddressGenerationFailure', `No more IP addresses available on network ${ids.network}.`);
    };
    if (wanted?.length) {
      return wanted.map(({ ip_address: address = '' }) => {
        if (taken.has(address)) throw neutronError(409, 'IpAddressAlreadyAllocated', `IP address ${address} already allocated.`);
        if (!address.startsWith('10.73.0.') && !address.startsWith('fd73::')) throw neutronError(400, 'InvalidIpForNetwork', `IP address ${address} is not a valid IP for the specified network.`);
        return { subnet_id: address.includes(':') ? ids.subnet6 : ids.subnet4, ip_address: address };
      });
    }
    return [
      { subnet_id: ids.subnet4, ip_address: free((number) => `10.73.0.${number}`) },
      { subnet_id: ids.subnet6, ip_address: free((number) => `fd73::${number}`) },
    ];
  }
}

/** Builds Nova's network info model out of neutron's records (nova/network/neutron.py `_build_vif_model`, contract F.3). */
import { isInCidr } from './cidr.js';
import type { FixedIpInfo, IpInfo, NetworkInfo, SubnetInfo, VifInfo } from '../../nova/network-info.js';
import type { FloatingIp, Network, Port, Subnet } from '../../openstack/types.js';

const deviceNameLength = 14;

const dhcpOwner = 'network:dhcp';
/** OVN's port for metadata. */
const metadataOwner = 'network:distributed';
/** neutron_lib/constants.py ROUTER_INTERFACE_OWNERS. */
const routerOwners = ['network:router_interface', 'network:router_interface_distributed', 'network:ha_router_replicated_interface'];

/** Owners of ports that a model asks for: they tell where DHCP and metadata are. */
export const serviceOwners: readonly string[] = [dhcpOwner, metadataOwner, ...routerOwners];

/** Member of a subnet's `meta`: the address by which the metadata service is reached, where the gateway does not lead to it. Nova has no such one; its guests hear of it by DHCP. */
export const metadataGateway = 'metadata_gateway';

/** The records that a model is built from. */
export interface NetworkRecords {
  readonly networks: readonly Network[];
  readonly subnets: readonly Subnet[];
  /** Ports of neutron's own on these networks: see `serviceOwners`. */
  readonly servicePorts: readonly Port[];
  readonly floatingIps: readonly FloatingIp[];
}

/** What does not come from neutron. */
export interface ModelOptions {
  /** Ports that the user brought: they survive the server. Kept nowhere but in this model. */
  readonly preserved: ReadonlySet<string>;
  readonly ovsBridge: string;
  /** Zed and 2025.1 have `should_create_bridge` in networks of type bridge. */
  readonly shouldCreateBridge: boolean;
  /** 2025.1 and later note whether a subnet has DHCP; Zed names its gateway where no DHCP port is found. */
  readonly dhcpFlag: boolean;
}

function ip(address: string | null, type: IpInfo['type']): IpInfo {
  return { address, type, version: address === null ? null : address.includes(':') ? 6 : 4, meta: {} };
}

function fixedIp(port: Port, address: string, floatingIps: readonly FloatingIp[]): FixedIpInfo {
  const floating = floatingIps
    .filter((item) => item.port_id === port.id && item.fixed_ip_address === address)
    .map((item) => ip(item.floating_ip_address, 'floating'));
  return { ...ip(address, 'fixed'), floating_ips: floating };
}

function subnetModel(subnet: Subnet, port: Port, records: NetworkRecords, options: ModelOptions): SubnetInfo {
  const addressOf = (...owners: readonly string[]): string | undefined => records.servicePorts
    .filter((item) => item.network_id === subnet.network_id && owners.includes(item.device_owner))
    .flatMap((item) => item.fixed_ips)
    .find((item) => item.subnet_id === subnet.id)?.ip_address;
  const dhcp = addressOf(dhcpOwner);
  const dhcpServer = dhcp ?? (subnet.enable_dhcp && !options.dhcpFlag ? subnet.gateway_ip : undefined);
  // as neutron's DHCP agent and OVN tell their clients (neutron/agent/linux/dhcp.py `_generate_opts_per_subnet`): a router answers by itself
  const metadata = subnet.ip_version === 4 ? addressOf(metadataOwner) ?? (addressOf(...routerOwners) === undefined ? dhcp : undefined) : undefined;
  return {
    cidr: subnet.cidr,
    dns: subnet.dns_nameservers.map((address) => ip(address, 'dns')),
    gateway: ip(subnet.gateway_ip, 'gateway'),
    ips: port.fixed_ips.filter((item) => isInCidr(item.ip_address, subnet.cidr)).map((item) => fixedIp(port, item.ip_address, records.floatingIps)),
    routes: subnet.host_routes.map((route) => ({ cidr: route.destination, gateway: ip(route.nexthop, 'gateway'), interface: null, meta: {} })),
    version: subnet.ip_version,
    meta: {
      ...(options.dhcpFlag ? { enable_dhcp: subnet.enable_dhcp } : {}),
      ...(subnet.ipv6_address_mode ? { ipv6_address_mode: subnet.ipv6_address_mode } : {}),
      ...(dhcpServer ? { dhcp_server: dhcpServer } : {}),
      ...(metadata ? { [metadataGateway]: metadata } : {}),
    },
  };
}

function bridgeOf(port: Port, ovsBridge: string): string | null {
  const details = port['binding:vif_details'] ?? {};
  const named = typeof details['bridge_name'] === 'string' ? details['bridge_name'] : undefined;
  switch (port['binding:vif_type'] ?? 'unbound') {
    case 'ovs': return (named ?? ovsBridge).slice(0, deviceNameLength);
    case 'bridge': return (named ?? `brq${port.network_id}`).slice(0, deviceNameLength);
    default: return null;
  }
}

function networkModel(port: Port, records: NetworkRecords, options: ModelOptions): NetworkInfo {
  const network = records.networks.find((item) => item.id === port.network_id);
  const physical = network?.['provider:physical_network'] ?? null;
  const type = network?.['provider:network_type'];
  return {
    id: port.network_id,
    bridge: bridgeOf(port, options.ovsBridge),
    label: network?.name ?? '',
    subnets: records.subnets.filter((subnet) => port.fixed_ips.some((item) => item.subnet_id === subnet.id)).map((subnet) => subnetModel(subnet, port, records, options)),
    meta: {
      injected: false,
      tenant_id: network?.tenant_id ?? port.tenant_id,
      mtu: network?.mtu ?? null,
      physical_network: physical,
      tunneled: type !== undefined && type !== null && ['vxlan', 'gre', 'geneve', 'stt'].includes(type),
    },
    ...(port['binding:vif_type'] === 'bridge' && options.shouldCreateBridge ? { should_create_bridge: true } : {}),
  };
}

/** One port as Nova's cache has it. */
export function vifModel(port: Port, records: NetworkRecords, options: ModelOptions): VifInfo {
  const type = port['binding:vif_type'] ?? 'unbound';
  return {
    id: port.id,
    address: port.mac_address,
    network: networkModel(port, records, options),
    type,
    details: { ...(port['binding:vif_details'] ?? {}) },
    devname: `tap${port.id}`.slice(0, deviceNameLength),
    ovs_interfaceid: type === 'ovs' ? port.id : null,
    qbh_params: null,
    qbg_params: null,
    active: port.status === 'ACTIVE' || !port.admin_state_up,
    vnic_type: port['binding:vnic_type'] ?? 'normal',
    profile: { ...(port['binding:profile'] ?? {}) },
    preserve_on_delete: options.preserved.has(port.id),
    delegate_create: true,
    meta: {},
  };
}

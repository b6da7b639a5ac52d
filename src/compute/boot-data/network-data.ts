/** `network_data.json` of a server (nova/virt/netutils.py `get_network_metadata`). */
import { prefixLengthOf } from '../network/cidr.js';
import type { SubnetInfo, VifInfo } from '../../nova/network-info.js';

/** VIF types that keep their name; others are `phy` (nova/network/model.py LEGACY_EXPOSED_VIF_TYPES). */
const exposedTypes = new Set(['bridge', 'dvs', 'hw_veb', 'hyperv', 'ovs', 'tap', 'vhostuser', 'vif']);

type Json = Readonly<Record<string, unknown>>;

/** Netmask of a prefix as Python's netaddr writes it. */
export function netmask(prefix: number, version: 4 | 6): string {
  const width = version === 4 ? 8 : 16;
  const parts = Array.from({ length: version === 4 ? 4 : 8 }, (_, index) => {
    const bits = Math.min(width, Math.max(0, prefix - index * width));
    return (2 ** width - 1) & ~(2 ** (width - bits) - 1);
  });
  if (version === 4) return parts.join('.');
  const text = parts.map((part) => part.toString(16)).join(':');
  return text.replace(/(?:^|:)0(?::0)+$/, '::');
}

const first = (vif: VifInfo, version: 4 | 6): SubnetInfo | undefined => vif.network.subnets.find((subnet) => subnet.version === version);
const dnsOf = (subnet: SubnetInfo): Json[] => subnet.dns.map(({ address }) => ({ type: 'dns', address }));

function networkOf(vif: VifInfo, subnet: SubnetInfo, version: 4 | 6, id: string, link: string): Json {
  const { meta } = subnet;
  const about = { id, link, network_id: vif.network.id };
  const mode = meta['ipv6_address_mode'];
  const slaac = mode !== undefined && mode !== null;
  if (!slaac && ((meta['dhcp_server'] ?? null) !== null || meta['enable_dhcp'] === true)) return { ...about, type: `ipv${version}_dhcp` };
  const everywhere = version === 4 ? '0.0.0.0' : '::';
  const cidr = subnet.cidr ?? '';
  return {
    ...about,
    type: `ipv${version}${slaac ? `_${String(mode)}` : ''}`,
    ip_address: subnet.ips[0]?.address ?? null,
    netmask: netmask(prefixLengthOf(cidr), version),
    routes: [
      ...(subnet.gateway.address ? [{ network: everywhere, netmask: everywhere, gateway: subnet.gateway.address }] : []),
      ...subnet.routes.map((route) => ({ network: route.cidr.split('/')[0], netmask: netmask(prefixLengthOf(route.cidr), version), gateway: route.gateway.address })),
    ],
    services: dnsOf(subnet),
  };
}

/** Only the first IPv4 and the first IPv6 subnet of each network count, as in Nova. `{}` for a server without interfaces. */
export function networkData(vifs: readonly VifInfo[]): Json {
  if (vifs.length === 0) return {};
  const links: Json[] = [];
  const networks: Json[] = [];
  const services: Json[] = [];
  let place = -1;
  for (const vif of vifs.filter(({ network }) => network.subnets.length > 0)) {
    place++;
    const subnets = ([4, 6] as const).flatMap((version) => {
      const subnet = first(vif, version);
      return subnet ? [{ version, subnet }] : [];
    });
    if (subnets.length === 0) continue;
    const link = vif.devname || `interface${place}`;
    const withDhcp = vif.network.subnets.some(({ meta }) => Boolean(meta['dhcp_server']));
    links.push({ id: link, vif_id: vif.id, type: exposedTypes.has(vif.type) ? vif.type : 'phy', mtu: withDhcp ? null : vif.network.meta['mtu'] ?? null, ethernet_mac_address: vif.address });
    for (const { version, subnet } of subnets) {
      if (subnet.ips.length === 0) continue;
      networks.push(networkOf(vif, subnet, version, `network${networks.length}`, link));
      for (const service of dnsOf(subnet)) if (!services.some(({ address }) => address === service['address'])) services.push(service);
    }
  }
  return { links, networks, services };
}

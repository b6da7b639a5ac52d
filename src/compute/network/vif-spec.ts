/** Translates Nova's VIFs into the container room's terms: device names, addresses, routes, how to plug. */
import { prefixLengthOf } from './cidr.js';
import { metadataGateway } from './network-model.js';
import { HaulierError } from '../../base/errors.js';
import type { AddressSpec, PlugSpec, RouteSpec, VifSpec } from '../../container/spec.js';
import type { SubnetInfo, VifInfo } from '../../nova/network-info.js';

function plugOf(vif: VifInfo): PlugSpec {
  const bridge = vif.network.bridge;
  if (vif.type === 'ovs' && bridge) {
    const datapath = vif.details['datapath_type'];
    return {
      type: 'ovs',
      bridge,
      hybrid: vif.details['ovs_hybrid_plug'] === true,
      createPort: vif.delegate_create,
      datapathType: typeof datapath === 'string' ? datapath : undefined,
    };
  }
  if (vif.type === 'bridge' && bridge) return { type: 'bridge', bridge, createBridge: vif.network.should_create_bridge !== false };
  throw new HaulierError('VIF_UNSUPPORTED', { port: vif.id, type: vif.type });
}

function addressesOf(subnet: SubnetInfo): AddressSpec[] {
  const cidr = subnet.cidr;
  if (!cidr) return [];
  return subnet.ips.flatMap((ip) => (ip.address ? [{ address: ip.address, prefixLength: prefixLengthOf(cidr) }] : []));
}

/** The metadata service's address, in every cloud. */
const metadataRoute = '169.254.169.254/32';

function routesOf(subnet: SubnetInfo, withDefault: boolean): RouteSpec[] {
  const routes = subnet.routes.flatMap((route) => (route.gateway.address ? [{ destination: route.cidr, gateway: route.gateway.address }] : []));
  const everywhere = subnet.version === 6 ? '::/0' : '0.0.0.0/0';
  if (withDefault && subnet.gateway.address && !routes.some((route) => route.destination === everywhere)) routes.push({ destination: everywhere, gateway: subnet.gateway.address });
  const metadata = subnet.meta[metadataGateway];
  if (typeof metadata === 'string' && !routes.some((route) => route.destination === metadataRoute)) routes.push({ destination: metadataRoute, gateway: metadata });
  return routes;
}

/**
 * The interfaces of a container, in the cache's order as eth0, eth1... Only the first subnet with a gateway of each family
 * gives the default route, as cloud-init takes it from network_data.
 * @param first place of the first of them
 * @throws VIF_UNSUPPORTED
 */
export function vifSpecs(vifs: readonly VifInfo[], first = 0): VifSpec[] {
  const defaultFor = new Set<number>();
  return vifs.map((vif, index) => {
    const routes = vif.network.subnets.flatMap((subnet) => {
      const version = subnet.version ?? 4;
      const isDefault = !defaultFor.has(version) && subnet.gateway.address !== null;
      if (isDefault) defaultFor.add(version);
      return routesOf(subnet, isDefault);
    });
    const mtu = vif.network.meta['mtu'];
    return {
      id: vif.id,
      hostDevice: vif.devname ?? `tap${vif.id}`.slice(0, 14),
      guestDevice: `eth${first + index}`,
      mac: vif.address,
      mtu: typeof mtu === 'number' && mtu > 0 ? mtu : undefined,
      plug: plugOf(vif),
      addresses: vif.network.subnets.flatMap(addressesOf),
      routes,
      dns: [...new Set(vif.network.subnets.flatMap((subnet) => subnet.dns.flatMap((dns) => dns.address ?? [])))],
    };
  });
}

/** Nova's network info model, the text in `InstanceInfoCache.network_info` (nova/network/model.py, contract F.3). */

/** An address. */
export interface IpInfo { address: string | null; type: 'fixed' | 'floating' | 'gateway' | 'dns' | null; version: 4 | 6 | null; meta: Record<string, unknown> }
/** A fixed address with its floating ones. */
export interface FixedIpInfo extends IpInfo { floating_ips: IpInfo[] }
/** A static route. */
export interface RouteInfo { cidr: string; gateway: IpInfo; interface: string | null; meta: Record<string, unknown> }
/** A subnet with the port's addresses in it. */
export interface SubnetInfo { cidr: string | null; dns: IpInfo[]; gateway: IpInfo; ips: FixedIpInfo[]; routes: RouteInfo[]; version: 4 | 6 | null; meta: Record<string, unknown> }
/** A network. */
export interface NetworkInfo { id: string; bridge: string | null; label: string; subnets: SubnetInfo[]; meta: Record<string, unknown>; should_create_bridge?: boolean }
/** One interface. */
export interface VifInfo {
  id: string; address: string; network: NetworkInfo; type: string; details: Record<string, unknown>; devname: string | null;
  ovs_interfaceid: string | null; qbh_params: unknown; qbg_params: unknown; active: boolean; vnic_type: string;
  profile: Record<string, unknown> | null; preserve_on_delete: boolean; delegate_create: boolean; meta: Record<string, unknown>;
}

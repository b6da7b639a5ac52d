/** Addresses and prefixes, through node's own BlockList. */
import { BlockList, isIPv6 } from 'node:net';

/** Length of the prefix of `10.0.0.0/24`. */
export function prefixLengthOf(cidr: string): number {
  return Number(cidr.slice(cidr.indexOf('/') + 1));
}

/** True if `address` lies in `cidr`. */
export function isInCidr(address: string, cidr: string): boolean {
  const [network, length] = cidr.split('/');
  if (!network || length === undefined || isIPv6(network) !== isIPv6(address)) return false;
  const family = isIPv6(network) ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(network, Number(length), family);
  return list.check(address, family);
}

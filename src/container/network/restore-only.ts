/**
 * What a container has only while it is restored, because its memory is another one's: criu binds every socket to the address that it
 * was bound to, and connects every connected datagram socket, or fails. The addresses are still the other one's, which may run
 * beside it on the same network, so nobody outside may hear of them:
 *
 *   IPv4: they lie on the loopback device, for the host alone, and the kernel is told to answer ARP for no such address, on whichever
 *         device it lies, and to name none in its own questions (arp_ignore 3, arp_announce 2). A connect(2) needs them to be there.
 *   IPv6: they are not there at all, so that no neighbour discovery knows of them; sockets may be bound to what is not there
 *         (ip_nonlocal_bind).
 *
 * All of it goes with the last step of the restore: a socket bound to one of them is deaf from then on. Kernel's
 * Documentation/networking/ip-sysctl.rst.
 */
import type { VifSpec } from '../spec.js';
import type { NetworkKnob } from './hook-files.js';

/** One of the other one's addresses. */
interface Former {
  readonly address: string;
}

/** The worst metric: any route of the container's own comes first. */
const lastMetric = 4_294_967_290;
const isIPv6 = (address: string): boolean => address.includes(':');

function formerOf(vifs: readonly VifSpec[], former: readonly Former[]): { readonly four: readonly string[]; readonly six: readonly string[] } {
  const present = new Set(vifs.flatMap((vif) => vif.addresses.map(({ address }) => address)));
  const foreign = former.map(({ address }) => address).filter((address) => !present.has(address));
  return { four: foreign.filter((address) => !isIPv6(address)), six: foreign.filter(isIPv6) };
}

/** `ip -batch` lines that bring them, and a route for datagram sockets whose peer the container's own network does not reach. */
export function restoreOnly(vifs: readonly VifSpec[], former: readonly Former[]): string[] {
  const { four, six } = formerOf(vifs, former);
  return [
    ...four.map((address) => `address replace ${address}/32 dev lo scope host`),
    ...(four.length > 0 ? [`route replace 0.0.0.0/0 dev lo metric ${lastMetric}`] : []),
    ...(six.length > 0 ? [`route replace ::/0 dev lo metric ${lastMetric}`] : []),
  ];
}

/** Lines that take them away. */
export function restoreOnlyRemoval(vifs: readonly VifSpec[], former: readonly Former[]): string[] {
  return restoreOnly(vifs, former).reverse().map((line) => line.replace(/ replace /, ' delete ').replace(/ scope host$/, ''));
}

/** How the kernel is told to be silent about them, before they are there. */
export function restoreOnlyKnobs(vifs: readonly VifSpec[], former: readonly Former[]): NetworkKnob[] {
  const { four } = formerOf(vifs, former);
  return [
    ['ipv6/ip_nonlocal_bind', '1'], // always: a link-local one is not on record where the other one was suspended
    ...(four.length > 0 ? vifs.flatMap(({ guestDevice }) => [[`ipv4/conf/${guestDevice}/arp_ignore`, '3'], [`ipv4/conf/${guestDevice}/arp_announce`, '2']] as const) : []),
  ];
}

/** Script for the container's network namespace that sets those back, when the addresses are gone. Its arguments are the devices. */
export const knobsBack = `
for device in "$@"; do
  for knob in arp_ignore arp_announce; do cat "/proc/sys/net/ipv4/conf/default/$knob" >"/proc/sys/net/ipv4/conf/$device/$knob"; done
done
[ ! -e /proc/sys/net/ipv6/ip_nonlocal_bind ] || echo 0 >/proc/sys/net/ipv6/ip_nonlocal_bind`;

/**
 * Addresses that a container has only while it is restored: those of the container whose memory it got. criu binds every socket to
 * the address that it was bound to, and connects every connected datagram socket, or fails. They lie on the loopback device, so that
 * nobody outside hears of them, and go with the last step of the restore: a socket bound to one of them is deaf from then on.
 */
import type { VifSpec } from '../spec.js';

/** One of them. */
interface Former {
  readonly address: string;
  readonly scope: string;
}

/** The worst metric: any route of the container's own comes first. */
const lastMetric = 4_294_967_290;
const isIPv6 = (address: string): boolean => address.includes(':');

function places(vifs: readonly VifSpec[], former: readonly Former[]): readonly { readonly address: string; readonly device: string }[] {
  const present = new Set(vifs.flatMap((vif) => vif.addresses.map(({ address }) => address)));
  const device = vifs[0]?.guestDevice;
  return former.flatMap(({ address, scope }) => {
    if (present.has(address)) return [];
    if (scope !== 'link') return [{ address: `${address}/${isIPv6(address) ? 128 : 32}`, device: 'lo' }];
    return device === undefined ? [] : [{ address: `${address}/${isIPv6(address) ? 64 : 16}`, device }]; // such a socket is bound to the device too
  });
}

/** `ip -batch` lines that bring them, and a route for datagram sockets whose peer the container's own network does not reach. */
export function restoreOnly(vifs: readonly VifSpec[], former: readonly Former[]): string[] {
  const found = places(vifs, former);
  const routes = [found.some(({ address }) => !isIPv6(address)) ? '0.0.0.0/0' : undefined, found.some(({ address }) => isIPv6(address)) ? '::/0' : undefined];
  return [
    ...found.map(({ address, device }) => `address replace ${address} dev ${device}${isIPv6(address) ? ' nodad' : ''}`),
    ...routes.flatMap((route) => (route === undefined ? [] : [`route replace ${route} dev lo metric ${lastMetric}`])),
  ];
}

/** Lines that take them away. */
export function restoreOnlyRemoval(vifs: readonly VifSpec[], former: readonly Former[]): string[] {
  return restoreOnly(vifs, former).reverse().map((line) => line.replace(/ replace /, ' delete ').replace(/ nodad$/, ''));
}

/** Batch files for `hook.sh`: how a container's interfaces come into its namespace, and what they carry there. */
import { join } from 'node:path';
import { writeAtomic } from '../../base/atomic.js';
import { packageRoot } from '../../base/package-root.js';
import type { VifSpec } from '../spec.js';
import { mtuOf, parkedDevice } from './veth.js';

/** The hook's script. */
export const hookScript = join(packageRoot, 'src/container/network/hook.sh');

/** First metric of default routes: interfaces in order, so that the first one wins. */
const firstMetric = 100;

/**
 * Interfaces get fixed numbers, above those that the kernel gives away by itself in a new namespace: a packet socket (a DHCP client)
 * is bound to a number, and must find it again after a restore.
 */
const firstIndex = 100;

const isIPv6 = (address: string): boolean => address.includes(':');

/** Contents of the files `move`, `inside` and `quiet`. @param last lines of `inside` for a restore alone */
export function hookFiles(vifs: readonly VifSpec[], mtu: number, last: readonly string[] = []): { readonly move: string; readonly inside: string; readonly quiet: string } {
  const move = vifs.map((vif, index) => `link set dev ${parkedDevice(vif)} netns @PID@ name ${vif.guestDevice} index ${firstIndex + index}`);
  const inside = ['link set dev lo up'];
  vifs.forEach((vif, index) => {
    const device = vif.guestDevice;
    inside.push(`link set dev ${device} addrgenmode eui64`, `link set dev ${device} address ${vif.mac} mtu ${mtuOf(vif, mtu)} up`);
    for (const { address, prefixLength } of vif.addresses) {
      inside.push(isIPv6(address) ? `address replace ${address}/${prefixLength} dev ${device} nodad` : `address replace ${address}/${prefixLength} broadcast + dev ${device}`);
    }
    for (const { destination, gateway } of vif.routes) {
      const metric = destination.endsWith('/0') ? ` metric ${firstMetric + index}` : '';
      inside.push(gateway === undefined ? `route replace ${destination} dev ${device}${metric}` : `route replace ${destination} via ${gateway} dev ${device} onlink${metric}`);
    }
  });
  const text = (lines: readonly string[]): string => lines.map((line) => line + '\n').join('');
  return { move: text(move), inside: text([...inside, ...last]), quiet: text(vifs.map((vif) => vif.guestDevice)) };
}

/** Writes them into `folder`. */
export async function writeHookFiles(folder: string, vifs: readonly VifSpec[], mtu: number, last: readonly string[] = []): Promise<void> {
  for (const [name, text] of Object.entries(hookFiles(vifs, mtu, last))) await writeAtomic(join(folder, name), text);
}

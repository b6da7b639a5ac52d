/** Batch files for `hook.sh`: how a container's interfaces come into its namespace, and what they carry there. */
import { join } from 'node:path';
import { replaceFile } from '../../base/atomic.js';
import { packageRoot } from '../../base/package-root.js';
import type { RouteSpec, VifSpec } from '../spec.js';
import { indexOf, metricOf } from './guest-devices.js';
import { mtuOf, parkedDevice } from './veth.js';

/** The hook's script. */
export const hookScript = join(packageRoot, 'src/container/network/hook.sh');

const isIPv6 = (address: string): boolean => address.includes(':');

/** A setting of the container's network namespace: a path below /proc/sys/net, and its value. */
export type NetworkKnob = readonly [path: string, value: string];

/** What a restore needs beside the container's own network. */
export interface HookExtra {
  /** `ip -batch` lines, done last. */
  readonly lines: readonly string[];
  /** Set before any address is there. */
  readonly knobs: readonly NetworkKnob[];
}

const nothingMore: HookExtra = { lines: [], knobs: [] };

/** Sets a route of an interface. */
export function routeLine(vif: Pick<VifSpec, 'guestDevice'>, { destination, gateway }: RouteSpec): string {
  const metric = destination.endsWith('/0') ? ` metric ${metricOf(vif)}` : '';
  const via = gateway === undefined ? '' : ` via ${gateway}`;
  return `route replace ${destination}${via} dev ${vif.guestDevice}${gateway === undefined ? '' : ' onlink'}${metric}`;
}

/** Contents of the files `move`, `inside` and `knobs`. No duplicate address detection: the addresses come from neutron, and a restored socket cannot wait for it. */
export function hookFiles(vifs: readonly VifSpec[], mtu: number, extra: HookExtra = nothingMore): { readonly move: string; readonly inside: string; readonly knobs: string } {
  const move = vifs.map((vif) => `link set dev ${parkedDevice(vif)} netns @PID@ name ${vif.guestDevice} index ${indexOf(vif)}`);
  const inside = ['link set dev lo up'];
  for (const vif of vifs) {
    const device = vif.guestDevice;
    inside.push(`link set dev ${device} addrgenmode eui64`, `link set dev ${device} address ${vif.mac} mtu ${mtuOf(vif, mtu)} up`);
    for (const { address, prefixLength } of vif.addresses) {
      inside.push(isIPv6(address) ? `address replace ${address}/${prefixLength} dev ${device} nodad` : `address replace ${address}/${prefixLength} broadcast + dev ${device}`);
    }
    inside.push(...vif.routes.map((route) => routeLine(vif, route)));
  }
  const text = (lines: readonly string[]): string => lines.map((line) => line + '\n').join('');
  const knobs: readonly NetworkKnob[] = [...vifs.map(({ guestDevice }) => [`ipv6/conf/${guestDevice}/accept_dad`, '0'] as const), ...extra.knobs];
  return { move: text(move), inside: text([...inside, ...extra.lines]), knobs: text(knobs.map(([path, value]) => `${path} ${value}`)) };
}

/** Writes them into `folder`. */
export async function writeHookFiles(folder: string, vifs: readonly VifSpec[], mtu: number, extra?: HookExtra): Promise<void> {
  for (const [name, text] of Object.entries(hookFiles(vifs, mtu, extra))) await replaceFile(join(folder, name), text);
}

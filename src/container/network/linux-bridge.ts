/** Ports on Linux bridges (neutron's linuxbridge agent; also the small bridge of a hybrid OVS port). */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { HaulierError } from '../../base/errors.js';
import { deleteDevice, deviceExists, ipBatch } from './ip.js';

/** A MAC that stays the same whatever ports a bridge has: a bridge without one takes its lowest port's, and changes with it. */
export function bridgeMac(bridge: string): string {
  const hash = createHash('sha256').update(bridge).digest();
  return ['02', ...[...hash.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/**
 * Makes sure that a bridge exists and is up: no spanning tree, no forwarding delay, no addresses of its own.
 * @param options.ageing seconds that a learned MAC is kept; 0 makes it flood like a hub (hybrid plug)
 */
export async function ensureBridge(bridge: string, options: { mtu: number | undefined; ageing?: number }, signal?: AbortSignal): Promise<void> {
  const mtu = options.mtu === undefined ? [] : [`link set dev ${bridge} mtu ${options.mtu}`];
  if (!deviceExists(bridge)) {
    const ageing = options.ageing === undefined ? '' : ` ageing_time ${options.ageing * 100}`;
    await ipBatch([
      `link add name ${bridge} address ${bridgeMac(bridge)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0${ageing}`,
      `link set dev ${bridge} addrgenmode none`,
    ], signal).catch((error: unknown) => {
      if (!deviceExists(bridge)) throw error; // somebody made it at the same moment
    });
    await writeFile(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, '1').catch(() => undefined); // a host without IPv6 has no such file
    await ipBatch([...mtu, `link set dev ${bridge} up`], signal);
  }
}

/** Puts a device on a bridge and brings it up. @throws VIF_PLUG_FAILED if there is no such bridge */
export async function enslave(device: string, bridge: string, signal?: AbortSignal): Promise<void> {
  if (!deviceExists(bridge)) throw new HaulierError('VIF_PLUG_FAILED', { reason: `there is no bridge ${bridge} on this host` });
  await ipBatch([`link set dev ${device} master ${bridge}`, `link set dev ${device} up`], signal);
}

/** Removes a bridge that belongs to one port. */
export async function removeBridge(bridge: string): Promise<void> {
  await deleteDevice(bridge);
}

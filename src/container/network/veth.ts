/**
 * The cable between host and container: a veth pair. Its host end has the name that neutron looks for; its guest end waits in the
 * host's network namespace until the hook moves it into the container's.
 */
import type { VifSpec } from '../spec.js';
import { deleteDevice, deviceExists, ipBatch } from './ip.js';

const nameMax = 15; // IFNAMSIZ - 1
const defaultMtu = 1500;

/** Name of the guest end while it waits: `hgu` and what follows `tap`. */
export function parkedDevice(vif: Pick<VifSpec, 'hostDevice'>): string {
  return `hgu${vif.hostDevice.replace(/^tap/, '')}`.slice(0, nameMax);
}

/** MTU of a port. */
export function mtuOf(vif: Pick<VifSpec, 'mtu'>, fallback: number = defaultMtu): number {
  return vif.mtu ?? fallback;
}

/** MAC of the host end, as libvirt chooses it: higher than a real device's, so that no bridge, which takes the lowest of its ports' unless it has its own, changes to it. */
const hostMac = (vif: Pick<VifSpec, 'mac'>): string => `fe${vif.mac.slice(2)}`;

/**
 * Makes sure that the pair is there. Neither end gets an IPv6 address of its own while it is on the host, so that nothing is heard
 * of the port's MAC before the container runs.
 * @param options.inUse the container runs: a guest end that is not parked is inside it and stays there
 */
export async function ensureVeth(vif: VifSpec, options: { inUse: boolean; mtu: number }, signal?: AbortSignal): Promise<void> {
  const parked = parkedDevice(vif);
  const mtu = mtuOf(vif, options.mtu);
  const hostThere = deviceExists(vif.hostDevice);
  if (hostThere && !deviceExists(parked)) {
    if (options.inUse) return;
    await deleteDevice(vif.hostDevice); // its other end is in a namespace that is ending
  }
  if (deviceExists(vif.hostDevice)) {
    await ipBatch([`link set dev ${vif.hostDevice} mtu ${mtu}`, `link set dev ${parked} address ${vif.mac} mtu ${mtu}`], signal);
    return;
  }
  await deleteDevice(parked);
  await ipBatch([
    `link add name ${vif.hostDevice} address ${hostMac(vif)} mtu ${mtu} type veth peer name ${parked} address ${vif.mac} mtu ${mtu}`,
    `link set dev ${vif.hostDevice} addrgenmode none`,
    `link set dev ${parked} addrgenmode none`,
  ], signal);
}

/** Takes the pair away, from whichever end is on the host. */
export async function removeVeth(vif: Pick<VifSpec, 'hostDevice'>): Promise<void> {
  await deleteDevice(vif.hostDevice);
  await deleteDevice(parkedDevice(vif));
}

/** What the network knows of a container, and it of the network, so that nobody has to ask first when it has moved. */
import { run } from '../../base/run.js';
import type { VifSpec } from '../../container/spec.js';

/** One entry of a neighbour table. */
export interface Neighbour {
  readonly device: string;
  readonly address: string;
  readonly mac: string;
}

const address = /^[0-9a-f.:]{2,45}$/i;
const mac = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
/** More than a guest talks to; the kernel's own table ends at 1024. */
const most = 1024;
const inNetworkOf = (pid: number): readonly string[] => [`--net=/proc/${pid}/ns/net`];

/** The neighbours that a container knows. @param pid its PID 1 */
export async function readNeighbours(pid: number): Promise<Neighbour[]> {
  const { stdout } = await run('nsenter', [...inNetworkOf(pid), 'ip', '-json', 'neigh', 'show']);
  const entries = JSON.parse(stdout || '[]') as { dst?: string; dev?: string; lladdr?: string }[];
  return entries.flatMap(({ dst, dev, lladdr }) => (dst && dev && lladdr ? [{ device: dev, address: dst, mac: lladdr }] : [])).slice(0, most);
}

/** Lines of an `ip -batch` that give them to another; whatever is not an address is left out. */
export function neighbourLines(neighbours: unknown, vifs: readonly VifSpec[]): string[] {
  const devices = new Set(vifs.map(({ guestDevice }) => guestDevice));
  if (!Array.isArray(neighbours)) return [];
  return (neighbours as Partial<Neighbour>[]).slice(0, most).flatMap((entry) => (
    typeof entry.device === 'string' && devices.has(entry.device) && address.test(String(entry.address)) && mac.test(String(entry.mac))
      ? [`neigh replace ${entry.address} lladdr ${entry.mac} dev ${entry.device} nud stale`] : []));
}

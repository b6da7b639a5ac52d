/** Whether a container could be frozen now, and what is in the way: the table of reasons, each looked for in /proc alone. */
import { cgroupPids } from '../cgroup.js';
import { criuProblem } from '../checkpoint/facts.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { readGuest, type Guest } from './guest.js';
import type { Reason } from './reason.js';
import { devices } from './reasons/devices.js';
import { foreignMounts } from './reasons/foreign-mounts.js';
import { hostFiles } from './reasons/host-files.js';
import { ioUring } from './reasons/io-uring.js';
import { kernelObjects } from './reasons/kernel-objects.js';
import { messageQueues } from './reasons/message-queues.js';
import { nestedNamespaces } from './reasons/nested-namespaces.js';
import { netlinkUnread } from './reasons/netlink-unread.js';
import { networkDevices } from './reasons/network-devices.js';
import { partialMounts } from './reasons/partial-mounts.js';
import { pendingConnections } from './reasons/pending-connections.js';
import { pingSockets } from './reasons/ping-sockets.js';
import { psiTriggers } from './reasons/psi-triggers.js';
import { renamedFiles } from './reasons/renamed-files.js';
import { traced } from './reasons/traced.js';
import { visitors } from './reasons/visitors.js';
import { watchedRootNumber } from './reasons/watched-root-number.js';
import { watchedUnlinked } from './reasons/watched-unlinked.js';

/** Every reason. */
export const reasonTable: readonly Reason[] = [
  ioUring, kernelObjects, renamedFiles, watchedUnlinked, watchedRootNumber, foreignMounts, partialMounts, devices, pingSockets, netlinkUnread, pendingConnections, psiTriggers, nestedNamespaces, messageQueues, traced, hostFiles,
  visitors, networkDevices,
];

/** One thing found. */
export interface Finding {
  readonly code: string;
  readonly effect: Reason['effect'];
  readonly passing: boolean;
  readonly text: string;
}

/** The answer. */
export interface Verdict {
  readonly freezable: boolean;
  readonly findings: readonly Finding[];
}

/** Why criu would refuse it, in plain words: not what it would lose, and not what may pass by itself. */
export const obstacles = ({ findings }: Verdict): string[] => findings.filter(({ effect, passing }) => effect !== 'loses' && !passing).map(({ text }) => text);

/** At most so many lines a reason: a guest could have thousands. */
const mostLines = 10;

/** Judges what was read of the container; the host is not looked at. */
export function judge(guest: Guest): Verdict {
  const findings = reasonTable.flatMap(({ code, effect, passing, find }) => {
    const lines = find(guest);
    const shown = lines.length > mostLines ? [...lines.slice(0, mostLines), `and ${lines.length - mostLines} more`] : lines;
    return shown.map((text) => ({ code, effect, passing, text }));
  });
  return { freezable: findings.every(({ effect }) => effect === 'loses'), findings };
}

/** Looks at a container that runs; it does not notice. @returns undefined if it ended meanwhile */
export async function verdictOf(parts: Pick<HostParts, 'store' | 'cgroups' | 'options'>, id: string): Promise<Verdict | undefined> {
  const [running, spec] = await Promise.all([parts.store.running(id), parts.store.readSpec(id)]);
  if (!running || !spec) return undefined;
  const [guest, problem] = await Promise.all([
    readGuest(running.pid, cgroupPids(parts.cgroups, cgroupsPath(parts, id)), spec.vifs.map(({ guestDevice }) => guestDevice)),
    criuProblem(parts.options),
  ]);
  if (!guest) return undefined;
  const { findings } = judge(guest);
  const all: readonly Finding[] = problem === undefined ? findings : [{ code: 'criu', effect: 'blocks', passing: false, text: problem }, ...findings];
  return { freezable: all.every(({ effect }) => effect === 'loses'), findings: all };
}

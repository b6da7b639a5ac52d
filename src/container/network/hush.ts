/**
 * A container that is being restored refuses nobody. Between the moment at which its addresses are there and the one at which criu has
 * brought its sockets back, its kernel would answer a peer that repeats itself with a reset, or "port unreachable", and the connection
 * that the restore is about to bring back were over. criu's own lock comes too late: the runtime's hook has brought the links up before.
 *
 * So what refuses is dropped at the host's end of its cables, and only that: what the restored processes send goes through. Ports of a
 * switch in a process of its own (Open vSwitch's `netdev`) pass this by.
 */
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { VifSpec } from '../spec.js';
import { deviceExists } from './ip.js';
import { loadRules, withoutTable } from './nft.js';

const tableOf = ({ hostDevice }: VifSpec): string => `haulier-hush-${hostDevice}`;
const refusals = ['tcp flags & rst == rst', 'icmp type destination-unreachable', 'icmpv6 type destination-unreachable'];

/** Drops what plugged ports would refuse. Idempotent. @throws COMMAND_FAILED, COMMAND_TIMEOUT */
export async function hushPorts(vifs: readonly VifSpec[], signal?: AbortSignal): Promise<void> {
  const tables = vifs.filter(({ hostDevice }) => deviceExists(hostDevice)).map((vif) =>
    `${withoutTable(tableOf(vif))}table netdev ${tableOf(vif)} {\nchain refusals {\ntype filter hook ingress device "${vif.hostDevice}" priority -400; policy accept;\n${refusals.map((refusal) => `${refusal} drop\n`).join('')}}\n}\n`);
  if (tables.length > 0) await loadRules(tables.join(''), signal ? { signal } : {});
}

/** Lets them refuse again, or takes away what is left of it when they are gone. Idempotent; never throws. */
export async function unhushPorts(vifs: readonly VifSpec[], log: Pick<Log, 'error'>): Promise<void> {
  if (vifs.length === 0) return;
  await loadRules(vifs.map((vif) => withoutTable(tableOf(vif))).join('')).catch((error: unknown) => {
    log.error({ err: error, ports: vifs.map(({ id }) => id) }, `cannot take the rules of a restore away: ${messageOf(error)}`);
  });
}

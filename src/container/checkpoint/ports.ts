/**
 * A container's ports closed and opened on the host's side.
 *
 * A dump leaves the container in place, frozen, until its images are safe on disk. Its kernel sockets live on meanwhile: what they
 * acknowledged after the dump would be lost by the restore. So nothing may come in from before the dump until the container is gone.
 */
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { run } from '../../base/run.js';
import { deviceExists, ipBatch } from '../network/ip.js';
import { nftCommand } from '../network/nft.js';
import type { HostParts } from '../parts.js';
import type { VifSpec } from '../spec.js';

const disabled = '0';
const forwarding = '3';

/** A port of a Linux bridge is disabled, which the guest cannot see; one of a switch loses its link. */
async function setPort(vif: VifSpec, open: boolean, signal?: AbortSignal): Promise<void> {
  if (!deviceExists(vif.hostDevice)) return;
  const onBridge = vif.plug.type === 'bridge' || vif.plug.hybrid;
  if (onBridge && (await run('bridge', ['link', 'set', 'dev', vif.hostDevice, 'state', open ? forwarding : disabled], signal ? { signal } : {}).then(() => true, () => false))) {
    if (!open) return;
  } else if (onBridge) signal?.throwIfAborted(); // a bridge with spanning tree decides itself: take the link
  await ipBatch([`link set dev ${vif.hostDevice} ${open ? 'up' : 'down'}`], signal);
}

/** Closes them. */
export async function closePorts(vifs: readonly VifSpec[], signal?: AbortSignal): Promise<void> {
  await Promise.all(vifs.map((vif) => setPort(vif, false, signal)));
}

/** criu's own lock: a table in the container's network namespace, which stays when criu is killed. */
const criuTable = /^table (\w+) (CRIU-\S+)$/gm;

/** Takes what a killed criu left of its lock out of the container's network namespace. */
export async function unlockNetwork(parts: Pick<HostParts, 'store' | 'log'>, id: string): Promise<void> {
  const running = await parts.store.running(id);
  if (!running) return;
  const nft = async (...args: string[]): Promise<string> => (await run('nsenter', [`--net=/proc/${running.pid}/ns/net`, nftCommand, ...args])).stdout;
  for (const [, family, name] of (await nft('list', 'tables')).matchAll(criuTable)) {
    if (!family || !name) continue;
    parts.log.warn({ instance: id, table: name }, 'criu left its network lock: taking it away');
    await nft('delete', 'table', family, name);
  }
}

/** Opens them again. Never throws: the container matters more. */
export async function openPorts(vifs: readonly VifSpec[], log: Pick<Log, 'error'>): Promise<void> {
  for (const vif of vifs) {
    await setPort(vif, true).catch((error: unknown) => log.error({ err: error, port: vif.id }, `cannot open port ${vif.id} again: ${messageOf(error)}`));
  }
}

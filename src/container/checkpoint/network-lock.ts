/**
 * Whether criu locks the container's network while it dumps.
 *
 * It makes a table of nftables that drops every packet, and takes it away again when the container stays in place: twice 8 ms. That is
 * for TCP: between the dump of one end of a connection and that of the other nothing may pass. A container that stands still behind
 * closed ports and has no connection, not even to itself, needs none: nothing comes in, nobody sends, and listening sockets hold nothing.
 */
import { replaceFile } from '../../base/atomic.js';
import type { HostParts } from '../parts.js';
import { hasConnections } from '../verdict/sockets.js';
import { criuConfigWith } from './criu-options.js';

/**
 * Writes criu's configuration for the next dump.
 * @param sealed it stands still, and its ports are closed and stay so until it is gone or let go
 */
export async function chooseNetworkLock(parts: Pick<HostParts, 'store'>, id: string, sealed: boolean): Promise<void> {
  const pid = sealed ? (await parts.store.running(id))?.pid : undefined;
  const skip = pid !== undefined && !hasConnections(pid);
  await replaceFile(parts.store.paths(id).criuConfig, criuConfigWith(skip ? 'skip' : 'nftables'));
}

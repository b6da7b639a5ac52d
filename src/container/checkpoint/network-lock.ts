/**
 * Whether criu locks the container's network while it dumps.
 *
 * It makes a table of nftables that drops every packet, and takes it away again when the container stays in place: twice 8 ms. That is
 * for TCP: between the dump of one end of a connection and that of the other nothing may pass. A container that stands still behind
 * closed ports and has no connection, not even to itself, needs none: nothing comes in, nobody sends, and listening sockets hold nothing.
 */
import { replaceFile } from '../../base/atomic.js';
import type { HostParts } from '../parts.js';
import { hasConnections, hasInnerConnections } from '../verdict/sockets.js';
import { criuConfigWith } from './criu-options.js';

/**
 * Whether it stands still behind closed ports, which stay closed until it is gone or let go. `mute`: nothing passes them in either
 * direction, so that only connections to itself count.
 */
export type Sealed = boolean | 'mute';

/** Writes criu's configuration for the next dump. */
export async function chooseNetworkLock(parts: Pick<HostParts, 'store'>, id: string, sealed: Sealed): Promise<void> {
  const pid = sealed ? (await parts.store.running(id))?.pid : undefined;
  const skip = pid !== undefined && !(sealed === 'mute' ? hasInnerConnections(pid) : hasConnections(pid));
  await replaceFile(parts.store.paths(id).criuConfig, criuConfigWith(skip ? 'skip' : 'nftables'));
}

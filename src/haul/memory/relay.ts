/** Carries criu's requests for pages, and the pages, between a socket of criu's and the haul's channel. Nothing listens for it on either host. */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { HaulChannel } from '../wire/channel.js';

/** Names of the two streams, each opened by the host that sends on it. */
const streams = { source: { out: 'pages', in: 'page-requests' }, destination: { out: 'page-requests', in: 'pages' } } as const;

/**
 * Relays until both directions have ended. The socket is not destroyed when the channel breaks: what its reader may think of that is the caller's to decide.
 * @param onBytes told what has gone out
 * @throws what broke it
 */
export async function relayPages(channel: HaulChannel, side: keyof typeof streams, socket: Duplex, onBytes?: (bytes: number) => void): Promise<void> {
  const names = streams[side];
  const out = channel.openStream(names.out);
  socket.on('error', () => undefined); // the pumps are told
  const back = channel.acceptStream(names.in);
  try {
    await Promise.all([pump(socket, out, onBytes), back.then((incoming) => pump(incoming, socket))]);
  } catch (error) {
    // the other side must not wait for somebody to read on
    out.destroy(error as Error);
    back.then((incoming) => incoming.destroy(error as Error), () => undefined);
    throw error;
  }
}

async function pump(from: Readable, to: Writable, onBytes?: (bytes: number) => void): Promise<void> {
  for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    await new Promise<void>((resolve, reject) => { to.write(chunk, (error) => (error ? reject(error) : resolve())); });
    onBytes?.(chunk.length);
  }
  to.end();
}

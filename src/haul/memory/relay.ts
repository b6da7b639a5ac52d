/** Carries criu's requests for pages, and the pages, between a socket of criu's and the haul's channel. Nothing listens for it on either host. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import type { HaulChannel } from '../wire/channel.js';
import type { PageDesk } from './page-desk.js';

/** criu's page daemon asks for the end, is told that it is there, and ends: so long, and no longer, its pages may have ended before it. */
const graceMs = 5000;

/** Names of the two streams, each opened by the host that sends on it. */
const streams = { source: { out: 'pages', in: 'page-requests' }, destination: { out: 'page-requests', in: 'pages' } } as const;

/**
 * Relays until both directions have ended. The socket is not destroyed when the channel breaks: what its reader may think of that is the caller's to decide.
 * @param about.onBytes told what has gone out; about.desk at the destination: answers what it can by itself
 * @throws what broke it; HAUL_LOST at the destination if the pages end and its socket does not: it is not told of their end, it would go on without them
 */
export async function relayPages(channel: HaulChannel, side: keyof typeof streams, socket: Duplex, about: { readonly onBytes?: (bytes: number) => void; readonly desk?: PageDesk; readonly endMs?: number } = {}): Promise<void> {
  const { onBytes, desk, endMs = graceMs } = about;
  const names = streams[side];
  const out = channel.openStream(names.out);
  socket.on('error', () => undefined); // the pumps are told
  const back = channel.acceptStream(names.in);
  try {
    const ask = desk && ((chunk: Buffer): readonly Buffer[] => {
      const { forward, answers } = desk.asked(chunk);
      for (const answer of answers) socket.write(answer);
      return forward;
    });
    const there = pump(socket, out, ask, onBytes).then(() => out.end());
    const here = back.then((incoming) => pump(incoming, socket, desk && ((chunk) => desk.answered(chunk))));
    await Promise.all([there, here.then(async () => {
      if (side === 'destination') await requireEnd(there, endMs);
      socket.end();
    })]);
  } catch (error) {
    // the other side must not wait for somebody to read on
    out.destroy(error as Error);
    back.then((incoming) => incoming.destroy(error as Error), () => undefined);
    throw error;
  }
}

async function pump(from: Readable, to: Writable, through: (chunk: Buffer) => readonly Buffer[] = (chunk) => [chunk], onBytes?: (bytes: number) => void): Promise<void> {
  for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const pieces = through(chunk);
    await Promise.all(pieces.map((piece) => new Promise<void>((resolve, reject) => { to.write(piece, (error) => (error ? reject(error) : resolve())); })));
    onBytes?.(chunk.length);
  }
}

async function requireEnd(work: Promise<unknown>, withinMs: number): Promise<void> {
  const over = new AbortController();
  const late = sleep(withinMs, undefined, { signal: over.signal }).then(() => { throw new HaulierError('HAUL_LOST', { reason: 'the pages end before all have come' }); });
  try {
    await Promise.race([work, late]);
  } finally {
    over.abort();
    late.catch(() => undefined);
  }
}

/**
 * The first bytes in each direction: `major, highest minor that I speak`. The server answers with `major, minor that we speak`: the
 * lower of both. Another major is answered with the server's own, and the connection ends.
 *
 * A minor adds frame types from 128 on and fields of messages, which an older side skips, and first messages, which a client says only
 * to a side that knows them; a major may change anything. 1.1 added `examine`.
 */
import type { Duplex } from 'node:stream';
import { HaulierError } from '../../base/errors.js';

/** A version of the protocol. */
export interface Version {
  readonly major: number;
  readonly minor: number;
}

/** What this side speaks. */
export const ownVersion: Version = { major: 1, minor: 1 };

const greetingBytes = 2;

async function readGreeting(socket: Duplex): Promise<Version> {
  for (;;) {
    const bytes = socket.read(greetingBytes) as Buffer | null;
    if (bytes?.length === greetingBytes) return { major: bytes.readUInt8(0), minor: bytes.readUInt8(1) };
    if (bytes || socket.readableEnded || socket.destroyed) throw lost(socket);
    await new Promise<void>((resolve, reject) => {
      const done = (act: () => void) => (): void => {
        socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd).off('error', onEnd);
        act();
      };
      const onReadable = done(resolve);
      const onEnd = done(() => reject(lost(socket)));
      socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd).on('error', onEnd);
    });
  }
}

const lost = (socket: Duplex): HaulierError => new HaulierError('HAUL_LOST', { reason: socket.errored?.message ?? 'the connection was closed before a greeting came' });

const greeting = ({ major, minor }: Version): Buffer => Buffer.from([major, minor]);

/** The client's side. @returns the version that is spoken from now on @throws HAUL_VERSION, HAUL_LOST */
export async function greetServer(socket: Duplex, own: Version = ownVersion): Promise<Version> {
  socket.write(greeting(own));
  const chosen = await readGreeting(socket);
  if (chosen.major !== own.major || chosen.minor > own.minor) throw new HaulierError('HAUL_VERSION', { theirs: `${chosen.major}.${chosen.minor}`, ours: `${own.major}.${own.minor}` });
  return chosen;
}

/** The server's side. @throws HAUL_VERSION, HAUL_LOST */
export async function greetClient(socket: Duplex, own: Version = ownVersion): Promise<Version> {
  const theirs = await readGreeting(socket);
  const chosen = theirs.major === own.major ? { major: own.major, minor: Math.min(own.minor, theirs.minor) } : own;
  socket.write(greeting(chosen));
  if (theirs.major !== own.major) throw new HaulierError('HAUL_VERSION', { theirs: `${theirs.major}.${theirs.minor}`, ours: `${own.major}.${own.minor}` });
  return chosen;
}

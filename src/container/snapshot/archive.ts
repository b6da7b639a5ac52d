/**
 * A tree as an archive stream: tar in the jail, compressed as it flows. Nobody waits for it and nothing of it is stored: whoever
 * reads slowly slows tar down.
 *
 * The archive is what an image is made of: `raw/bare`, ids as the guest has them, modes, times, hard links, holes, file
 * capabilities, `user.*` attributes. Without: the content of /dev (the runtime's), sockets (tar leaves them out), ACLs.
 */
import { Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import { jailed } from '../image/jail.js';
import { startPiped, type PipedProcess } from '../image/piped-process.js';

/**
 * pax: no limit on names, sizes and ids, times with fractions, and GNU's map of holes in it. Owners by number: the names are
 * nobody's business. The folder's own entry is the archive's first.
 */
const tarCommand = ['tar', '--create', '--file=-', '--format=posix', '--numeric-owner', '--sparse', '--hole-detection=seek',
  '--pax-option=delete=atime,delete=ctime', '--xattrs', '--xattrs-include=security.capability', '--xattrs-include=user.*',
  '--anchored', '--no-wildcards-match-slash', '--exclude=./dev/*', '--warning=no-file-ignored', '.'];

/** The fastest level: see docs/snapshots.md for what the others cost. */
const zstdCommand = ['zstd', '-q', '-c', '-1', '-T1'];

/** An archive on its way. */
export interface Archive {
  /** The compressed bytes. Fails, never just ends, if tar or its tree did. */
  readonly stream: Readable;
  /** Bytes of the uncompressed archive that were read from the tree so far. */
  readonly packedBytes: () => number;
  /** Kills what still runs and waits for its end. */
  end(): Promise<void>;
}

/** Starts to archive what is below `folder`. */
export function archiveTree(folder: string): Archive {
  const tar = startPiped(jailed(tarCommand, { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH'] }));
  const zstd = startPiped(jailed(zstdCommand));
  tar.stdin.end();
  let packed = 0;
  tar.stdout.on('data', (chunk: Buffer) => { packed += chunk.length; });
  tar.stdout.pipe(zstd.stdin);
  tar.stdout.on('error', () => undefined); // their ends tell
  const end = async (): Promise<void> => {
    tar.kill();
    zstd.kill();
    await Promise.allSettled([tar.ended, zstd.ended]);
  };
  return { stream: Readable.from(whole(tar, zstd), { objectMode: false, highWaterMark: 1024 * 1024 }), packedBytes: () => packed, end };
}

async function* whole(tar: PipedProcess, zstd: PipedProcess): AsyncGenerator<Buffer> {
  for await (const chunk of zstd.stdout) yield chunk as Buffer;
  // zstd first: where it fell, tar would wait for a reader for ever
  for (const [name, process] of [['zstd', zstd], ['tar', tar]] as const) {
    const { code, signal, stderr } = await process.ended;
    if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: name, outcome: code === undefined ? `signal ${signal}` : `exit code ${code}`, stderr: stderr.trim().slice(0, 1000) });
  }
}

/**
 * A tree as an archive stream: tar in the jail, compressed as it flows. Nobody waits for it and nothing of it is stored: whoever
 * reads slowly slows tar down.
 *
 * The archive is what an image is made of: `raw/bare`, ids as the guest has them, modes, times, hard links, holes, file
 * capabilities, POSIX ACLs, `user.*` attributes. Without: the content of /dev (the runtime's), sockets (tar leaves them out).
 */
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { HaulierError } from '../../base/errors.js';
import { jailed } from '../image/jail.js';
import { startPiped, type PipedProcess } from '../image/piped-process.js';

/**
 * pax: no limit on names, sizes and ids, times with fractions, and GNU's map of holes in it. Owners by number: the names are
 * nobody's business. The folder's own entry is the archive's first.
 */
const tarCommand = ['tar', '--create', '--file=-', '--format=posix', '--numeric-owner', '--sparse', '--hole-detection=seek',
  '--pax-option=delete=atime,delete=ctime', '--acls', '--xattrs', '--xattrs-include=security.capability', '--xattrs-include=user.*',
  '--anchored', '--no-wildcards-match-slash', '--exclude=./dev/*', '--warning=no-file-ignored'];

/**
 * In the same jail, so that only the packed bytes pass through this process: that made it twice as fast. Level 1 costs less than
 * sending what it saves; gzip -1 would be 9 times slower for the same size (docs/snapshots.md).
 */
const packer = '--use-compress-program=zstd -q -1 -T1';

/** An archive on its way. */
export interface Archive {
  /** The compressed bytes. Fails, never just ends, if tar or its tree did. */
  readonly stream: Readable;
  /** Kills what still runs and waits for its end. */
  end(): Promise<void>;
}

/** Archives what is below `folder`, as it is read. */
export function archiveTree(folder: string): Archive {
  return archive(folder, []);
}

/** The same of a checkpoint's images: whose they are at that moment is nobody's business. */
export function archiveImages(folder: string): Archive {
  return archive(folder, ['--owner=0', '--group=0']);
}

/** Only these paths, without what is below them. @param paths latin1, one character a byte */
export function archivePaths(folder: string, paths: readonly string[]): Archive {
  return archive(folder, ['--no-recursion', '--null', '--verbatim-files-from', '--files-from=-'], Buffer.from(paths.map((path) => `./${path}\0`).join(''), 'latin1'));
}

/** The same archive with these headers of entries before its own. @throws COMMAND_FAILED */
export async function archiveBehind(headers: Buffer, { stream, end }: Archive): Promise<Archive> {
  if (headers.length === 0) return { stream, end };
  const front = await packed(headers);
  const all = async function* (): AsyncGenerator<Buffer> {
    yield front; // frames of zstd follow each other as one stream
    yield* stream as AsyncIterable<Buffer>;
  };
  return { stream: Readable.from(all(), { objectMode: false, highWaterMark: 1024 * 1024 }), end };
}

/** One frame of zstd. */
async function packed(bytes: Buffer): Promise<Buffer> {
  const zstd = startPiped(jailed(['zstd', '-q', '-1', '-c']));
  zstd.stdin.end(bytes);
  const [frame, { code, stderr }] = await Promise.all([buffer(zstd.stdout), zstd.ended]);
  if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'zstd', outcome: `exit code ${code}`, stderr });
  return frame;
}

/** tar is started by the first read: the output of one that ends before it is read would be thrown away (Node drains the pipes of a process that has ended). */
function archive(folder: string, options: readonly string[], files?: Buffer): Archive {
  let tar: PipedProcess | undefined;
  let over = false;
  const start = (): PipedProcess => {
    if (over) throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: 'not started', stderr: 'the archive was given up' });
    tar = startPiped(jailed([...tarCommand, packer, ...options, ...(files ? [] : ['.'])], { folder: { path: folder, writable: false }, capabilities: ['CAP_DAC_READ_SEARCH'] }));
    tar.stdin.end(files);
    return tar;
  };
  return {
    stream: Readable.from(whole(start), { objectMode: false, highWaterMark: 1024 * 1024 }),
    end: async () => {
      over = true;
      tar?.kill();
      await tar?.ended.catch(() => undefined);
    },
  };
}

/** tar's exit code speaks for the compressor too. The last byte is no end until it is known. */
async function* whole(start: () => PipedProcess): AsyncGenerator<Buffer> {
  const tar = start();
  for await (const chunk of tar.stdout) yield chunk as Buffer;
  const { code, signal, stderr } = await tar.ended;
  if (code !== 0) throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: code === undefined ? `signal ${signal}` : `exit code ${code}`, stderr: stderr.trim().slice(0, 1000) });
}

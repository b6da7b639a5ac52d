/**
 * Unpacks an image while it downloads: source -> count and hash -> decompressor (jailed) -> cap -> tar (jailed) -> folder. All run
 * side by side; a slow end slows the download down. Verified only when the last byte has come, so the folder must be a throw-away
 * one until then: the caller removes it if this throws.
 */
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import type { ImageSource } from '../spec.js';
import { detect, headBytes, isTar, nameForeign, type Packing } from './format.js';
import { feed } from './feed.js';
import { readHead, type Headed } from './head.js';
import { unacceptable } from './image-error.js';
import { jailed } from './jail.js';
import { ArchiveMeter, EntryMeter, StoredMeter } from './meters.js';
import { startPiped, type PipedProcess, type ProcessEnd } from './piped-process.js';
import { tarExtract, tarVerdict } from './tar.js';
import { checkTree, type TreeSize } from './tree-check.js';

/** Caps on what an image may unpack to. */
export interface UnpackLimits {
  /** Bytes of the archive, and of the files' apparent sizes together. */
  readonly maxBytes: number;
  readonly maxEntries: number;
}

/** What was unpacked. */
export interface Unpacked extends TreeSize {
  readonly packing: string;
  /** Bytes as stored in Glance. */
  readonly storedBytes: number;
}

/** What tar does with an archive while it comes. */
export interface TarWork {
  /** The command line; it reads the archive from its standard input. */
  readonly command: readonly [string, ...string[]];
  /** Told tar's standard output. May throw. */
  take(chunk: Buffer): void;
  /** Where it writes, for messages. */
  readonly path: string;
  /** The unpacked archive's digest is wanted, by this algorithm. */
  readonly digest?: string;
}

/** What has flowed through tar. */
export interface Flowed {
  readonly packing: Packing;
  readonly storedBytes: number;
  /** Bytes of the unpacked archive, and their digest in hex where it was wanted. */
  readonly archiveBytes: number;
  readonly digest: string | undefined;
}

/** How long the rest of the source (padding, a decompressor's end) may take after tar has seen the archive's end. */
const afterArchiveMs = 10_000;

/** Compressed archives, how to unpack each to standard output. The memory caps admit `xz -9` and `zstd --long=29`. */
const decompressors: Readonly<Record<Exclude<Packing, 'tar'>, readonly string[]>> = {
  gzip: ['gzip', '-dc'],
  xz: ['xz', '-dc', '--memlimit-decompress=1GiB'],
  zstd: ['zstd', '-dcq', '--memory=1024MB'],
};

/**
 * Unpacks `source`, a tarball, into the empty folder `folder`.
 * @param progress told the stored bytes that have come so far
 * @throws IMAGE_UNACCEPTABLE with the reason, DISK_FULL, the source's own error, or the signal's reason
 */
export async function unpackImage(source: ImageSource, folder: string, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked> {
  const entries = new EntryMeter(source.id, limits.maxEntries);
  const { packing, storedBytes } = await flowThroughTar(source, { command: tarExtract(folder, limits.maxBytes), take: (chunk) => entries.add(chunk), path: folder }, limits.maxBytes, signal, progress);
  return { ...(await checkTree(source.id, folder, limits.maxBytes, signal)), packing, storedBytes };
}

/**
 * Lets `source`, a tarball, flow through tar.
 * @throws as `unpackImage`
 */
export async function flowThroughTar(source: ImageSource, work: TarWork, maxBytes: number, signal: AbortSignal, progress: (bytes: number) => void): Promise<Flowed> {
  signal.throwIfAborted();
  const stored = new StoredMeter(source);
  const stream = await source.open(signal) as Readable;
  const onError = (): void => undefined; // the reader gets it; without a listener a late one would end the process
  stream.on('error', onError);
  const close = (): void => { stream.destroy(); }; // frees a read that waits
  signal.addEventListener('abort', close, { once: true });
  try {
    const headed = await readHead(stream, headBytes);
    const detected = detect(headed.head);
    if ('packing' in detected) {
      const archive = await flow({ source, headed, packing: detected.packing, stored, work, maxBytes, signal, progress, close });
      if (!archive.whole) throw unacceptable(source.id, 'its archive is cut off: the end-of-archive mark is missing');
      return { packing: detected.packing, storedBytes: stored.bytes, archiveBytes: archive.bytes, digest: archive.digest() };
    }
    const cut = headed.head.length < headBytes && source.size !== undefined && source.size !== headed.head.length;
    throw unacceptable(source.id, cut ? `it ends after ${headed.head.length} of ${source.size} bytes` : refusal(detected.foreign));
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

/** The words for something that should be a tarball and is not. */
const refusal = (what: string): string => `it is ${what}, and no tarball (tar, tar.gz, tar.xz or tar.zst)`;

/** What came out of a decompressor is no tar archive. */
class NoArchive extends Error {
  constructor(readonly what: string) {
    super(what);
  }
}

interface Flow {
  readonly source: ImageSource;
  readonly headed: Headed;
  readonly packing: Packing;
  readonly stored: StoredMeter;
  readonly work: TarWork;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  readonly progress: (bytes: number) => void;
  /** Closes the source. */
  readonly close: () => void;
}

/** Lets the bytes flow to their end, and explains the first thing that went wrong. All processes are gone when it returns or throws. */
async function flow({ source, headed, packing, stored, work, maxBytes, signal, progress, close }: Flow): Promise<ArchiveMeter> {
  const archive = new ArchiveMeter(source.id, maxBytes, work.digest);
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  let sourceEnded = false;
  async function* storedBytes(): AsyncGenerator<Buffer> {
    for await (const chunk of unbroken(source, headed.all, stored)) {
      stored.add(chunk);
      progress(stored.bytes);
      yield chunk;
    }
    sourceEnded = true;
  }

  const unpacker = packing === 'tar' ? undefined : startPiped(jailed(decompressors[packing]));
  const tar = startPiped(work.command);
  const halt = (): void => { close(); unpacker?.kill(); tar.kill(); };
  stopped.addEventListener('abort', halt, { once: true });
  let firstEnded: PipedProcess | undefined;
  for (const process of unpacker ? [unpacker, tar] : [tar]) void process.ended.then(() => { firstEnded ??= process; }, (error: unknown) => stop.abort(error));
  // a source that stalls would never notice that nobody reads it any more
  let failure: { readonly error: unknown } | undefined;
  const parts: Promise<void>[] = [listen(tar, work)];
  void tar.ended.then(async (end) => {
    // the archive's end is neither the source's nor the decompressor's: stopped now, their data would look cut off or damaged
    if (tarVerdict(end).ok) await Promise.race([Promise.allSettled([...parts, unpacker?.ended]), sleep(afterArchiveMs, undefined, { ref: false })]);
    stop.abort();
  }).catch(() => undefined);
  if (unpacker) parts.push(feed(storedBytes(), unpacker, { signal: stopped, afterFailure: 'read on' }));
  parts.push(feed(archiveBytes(unpacker, unpacker ? unpacker.stdout : storedBytes(), archive), tar, { signal: stopped, afterFailure: 'read on' }));
  try {
    await Promise.all(parts.map((part) => part.catch((error: unknown) => {
      if (!stopped.aborted) failure = { error };
      stop.abort(error);
    })));
    const unpackerEnd = await unpacker?.ended;
    const tarEnd = await tar.ended;
    signal.throwIfAborted();
    const first = failure?.error;
    if (first !== undefined && !(first instanceof NoArchive)) throw first;
    const wrong = sourceEnded ? stored.verdict() : undefined;
    if (wrong !== undefined) throw unacceptable(source.id, wrong);
    if (first instanceof NoArchive) throw unacceptable(source.id, refusal(`${packing} of something else: ${first.what}`));
    const verdict = tarVerdict(tarEnd);
    const damaged = unpackerEnd && unpackerEnd.code !== 0 ? unacceptable(source.id, `its ${packing} data are damaged: ${lastLine(unpackerEnd)}`) : undefined;
    // who fell first pulled the other down
    if (damaged && firstEnded === unpacker) throw damaged;
    if (!verdict.ok && verdict.diskFull) throw new HaulierError('DISK_FULL', { path: work.path, reason: verdict.reason });
    if (!verdict.ok) throw unacceptable(source.id, `tar: ${verdict.reason}`);
    if (damaged) throw damaged;
    if (!sourceEnded) throw unacceptable(source.id, 'tar stopped reading before its end');
    return archive;
  } finally {
    stopped.removeEventListener('abort', halt);
    halt();
    await Promise.allSettled([unpacker?.ended, tar.ended]);
  }
}

/** The source's bytes; a connection that just closes is told as what it is. */
export async function* unbroken(source: ImageSource, bytes: AsyncIterable<Buffer>, stored: StoredMeter): AsyncGenerator<Buffer> {
  try {
    yield* bytes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
    throw unacceptable(source.id, `its download broke off after ${stored.bytes} of ${source.size ?? 'unknown'} bytes`, error);
  }
}

/** The archive's bytes on their way to tar, counted; refused at once if they do not begin like an archive. */
async function* archiveBytes(unpacker: PipedProcess | undefined, bytes: AsyncIterable<Buffer>, meter: ArchiveMeter): AsyncGenerator<Buffer> {
  const headed = await readHead(bytes, headBytes);
  if (!isTar(headed.head)) {
    // the output is over: its exit code says if it was damaged
    if (unpacker && headed.head.length < headBytes && (await unpacker.ended).code !== 0) return;
    throw new NoArchive(nameForeign(headed.head));
  }
  for await (const chunk of headed.all) {
    meter.add(chunk);
    yield chunk;
  }
}

async function listen(tar: PipedProcess, work: TarWork): Promise<void> {
  for await (const chunk of tar.stdout) work.take(chunk as Buffer);
}

function lastLine({ code, signal, stderr }: ProcessEnd): string {
  return stderr.trim().split('\n').at(-1)?.trim().slice(0, 300) || (code === undefined ? `ended by ${signal ?? 'a signal'}` : `exit code ${code}`);
}

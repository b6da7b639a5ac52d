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
  readonly packing: Packing;
  /** Bytes as stored in Glance. */
  readonly storedBytes: number;
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
 * Unpacks `source` into the empty folder `folder`.
 * @param progress told the stored bytes that have come so far
 * @throws IMAGE_UNACCEPTABLE with the reason, DISK_FULL, the source's own error, or the signal's reason
 */
export async function unpackImage(source: ImageSource, folder: string, limits: UnpackLimits, signal: AbortSignal, progress: (bytes: number) => void): Promise<Unpacked> {
  checkFormats(source);
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
      const archive = await flow({ source, headed, packing: detected.packing, stored, folder, limits, signal, progress, close });
      if (!archive.whole) throw unacceptable(source.id, 'its archive is cut off: the end-of-archive mark is missing');
      const size = await checkTree(source.id, folder, limits.maxBytes, signal);
      return { ...size, packing: detected.packing, storedBytes: stored.bytes };
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

/** @throws IMAGE_UNACCEPTABLE for formats that Haulier has no use for */
export function checkFormats(source: ImageSource): void {
  if (source.diskFormat === 'raw' && source.containerFormat === 'bare') return;
  throw unacceptable(source.id, `its formats are ${source.diskFormat}/${source.containerFormat}; a root file system tarball is raw/bare`);
}

const refusal = (what: string): string => `it is ${what}; Haulier takes a root file system as tar, tar.gz, tar.xz or tar.zst`;

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
  readonly folder: string;
  readonly limits: UnpackLimits;
  readonly signal: AbortSignal;
  readonly progress: (bytes: number) => void;
  /** Closes the source. */
  readonly close: () => void;
}

/** Lets the bytes flow to their end, and explains the first thing that went wrong. All processes are gone when it returns or throws. */
async function flow({ source, headed, packing, stored, folder, limits, signal, progress, close }: Flow): Promise<ArchiveMeter> {
  const archive = new ArchiveMeter(source.id, limits.maxBytes);
  const entries = new EntryMeter(source.id, limits.maxEntries);
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
  const tar = startPiped(tarExtract(folder, limits.maxBytes));
  const halt = (): void => { close(); unpacker?.kill(); tar.kill(); };
  stopped.addEventListener('abort', halt, { once: true });
  let firstEnded: PipedProcess | undefined;
  for (const process of unpacker ? [unpacker, tar] : [tar]) void process.ended.then(() => { firstEnded ??= process; }, (error: unknown) => stop.abort(error));
  // a source that stalls would never notice that nobody reads it any more
  let failure: { readonly error: unknown } | undefined;
  const work: Promise<void>[] = [countEntries(tar, entries)];
  void tar.ended.then(async (end) => {
    // the archive's end is neither the source's nor the decompressor's: stopped now, their data would look cut off or damaged
    if (tarVerdict(end).ok) await Promise.race([Promise.allSettled([...work, unpacker?.ended]), sleep(afterArchiveMs, undefined, { ref: false })]);
    stop.abort();
  }).catch(() => undefined);
  if (unpacker) work.push(feed(storedBytes(), unpacker, { signal: stopped, afterFailure: 'read on' }));
  work.push(feed(archiveBytes(unpacker, unpacker ? unpacker.stdout : storedBytes(), archive), tar, { signal: stopped, afterFailure: 'read on' }));
  try {
    await Promise.all(work.map((part) => part.catch((error: unknown) => {
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
    if (!verdict.ok && verdict.diskFull) throw new HaulierError('DISK_FULL', { path: folder, reason: verdict.reason });
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

async function countEntries(tar: PipedProcess, entries: EntryMeter): Promise<void> {
  for await (const chunk of tar.stdout) entries.add(chunk as Buffer);
}

function lastLine({ code, signal, stderr }: ProcessEnd): string {
  return stderr.trim().split('\n').at(-1)?.trim().slice(0, 300) || (code === undefined ? `ended by ${signal ?? 'a signal'}` : `exit code ${code}`);
}

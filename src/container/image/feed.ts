/** Bytes on their way into a process that may close its input before they end, as tar does at an archive's end mark. */
import { Writable, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { PipedProcess } from './piped-process.js';

/** How bytes flow. */
export interface Feeding {
  readonly signal?: AbortSignal | undefined;
  /** What becomes of the rest when the process has failed: read and dropped, for whoever judges the bytes, or not waited for. */
  readonly afterFailure: 'read on' | 'stop';
}

/** What a write says when the process has closed its input. */
const inputClosed: ReadonlySet<string> = new Set(['EPIPE', 'ECONNRESET', 'ECANCELED', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']);

/**
 * Writes `bytes` into a process's standard input, up to their own end, which alone says that they came whole. The process's early end is
 * no error here, its exit code tells the caller why; what is left is then read to the end and dropped, because whoever writes it would
 * die of a closed pipe: padding follows an archive's end mark.
 * @throws what the bytes throw, the signal's reason
 */
export async function feed(bytes: AsyncIterable<Buffer> | Readable, into: PipedProcess, { signal, afterFailure }: Feeding): Promise<void> {
  const { stdin } = into;
  const failed = new Error('the process failed');
  const taken = (done: (error?: Error) => void) => (error?: NodeJS.ErrnoException | null): void => {
    done(error && !inputClosed.has(error.code ?? '') ? error : undefined);
  };
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (stdin.writable) stdin.write(chunk, taken(done));
      else if (afterFailure === 'read on') done();
      else into.ended.then(({ code }) => done(code === 0 ? undefined : failed), done);
    },
    final(done) {
      if (stdin.writable) stdin.end(taken(done));
      else done();
    },
  });
  try {
    await pipeline(bytes, sink, signal ? { signal } : {});
  } catch (error) {
    if (error !== failed) throw signal?.aborted ? signal.reason : error;
  }
}

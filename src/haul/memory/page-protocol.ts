/**
 * criu's page server protocol, as far as a lazy restore uses it (criu's criu/page-xfer.c): a header asks for pages of a process; the answer
 * is such a header, with as many pages or fewer, and the pages. Answers come in the order of the questions.
 */
import type { Readable } from 'node:stream';
import { atLeast } from '../../container/version.js';
import { HaulierError } from '../../base/errors.js';

/** Bytes of a page in the protocol, whatever the machine's are: haulier runs where they are the same. */
export const pageBytes = 4096;
const getPages = 7;
const commandMask = 0xffff;
/** criu 4.2 gave the number of pages 64 bits. */
const wideSince = '4.2';

/** Bytes of a header. Both sides must have the same. */
export type HeaderBytes = 24 | 32;

/** @param criu its version */
export const headerBytesOf = (criu: string): HeaderBytes => (atLeast(criu, wideSince) ? 32 : 24);

/** Pages of one process. */
export interface PageRange {
  /** As the container sees it. */
  readonly pid: number;
  readonly address: bigint;
  readonly pages: number;
}

/** A header's range; undefined if it is no question for pages, or an answer of another kind. @param bytes exactly one header */
export function readQuestion(bytes: Buffer): PageRange | undefined {
  return (bytes.readUInt32LE(0) & commandMask) === getPages ? rangeOf(bytes) : undefined;
}

/** What is in a header. */
export function rangeOf(bytes: Buffer): PageRange {
  const wide = bytes.length === 32;
  return { pid: Number(bytes.readBigUInt64LE(wide ? 24 : 16)), address: bytes.readBigUInt64LE(wide ? 16 : 8), pages: wide ? Number(bytes.readBigUInt64LE(8)) : bytes.readUInt32LE(4) };
}

/** A header with another range. @param like one of the same kind */
export function withRange(like: Buffer, { pid, address, pages }: PageRange): Buffer {
  const bytes = Buffer.from(like);
  const wide = bytes.length === 32;
  if (wide) bytes.writeBigUInt64LE(BigInt(pages), 8);
  else bytes.writeUInt32LE(pages, 4);
  bytes.writeBigUInt64LE(address, wide ? 16 : 8);
  bytes.writeBigUInt64LE(BigInt(pid), wide ? 24 : 16);
  return bytes;
}

/** Asks for pages. */
export function question(size: HeaderBytes, range: PageRange): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(getPages, 0);
  return withRange(bytes, range);
}

/** Reads a stream piece by piece. Nobody else reads it until `end`. */
export class PieceReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#chunks = (stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** The next so many bytes. @returns undefined at the stream's end @throws HAUL_LOST if it ends within them, the stream's error */
  async take(bytes: number): Promise<Buffer | undefined> {
    const parts = [this.#rest];
    let have = this.#rest.length;
    while (have < bytes) {
      const next = await this.#chunks.next();
      if (next.done === true && have === 0) return undefined;
      if (next.done === true) throw new HaulierError('HAUL_LOST', { reason: 'the pages end in the middle' });
      parts.push(next.value);
      have += next.value.length;
    }
    const whole = parts.length === 2 && this.#rest.length === 0 ? parts[1] as Buffer : Buffer.concat(parts);
    this.#rest = whole.subarray(bytes);
    return whole.subarray(0, bytes);
  }

  /** Another one may read from here on; the other one gets nothing of what has been read ahead: there must be no such. */
  async end(): Promise<void> {
    await this.#chunks.return?.();
  }
}

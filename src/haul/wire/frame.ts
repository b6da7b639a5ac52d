/**
 * Frames: what goes over the connection of a haul after the greeting.
 *
 *     type (1 byte)  stream (4 bytes, big endian)  length (4 bytes)  payload
 *
 * Stream 0 is the haul itself; others are opened by either side, the client's are odd, the server's even. A frame longer than its
 * type allows, or of an unknown type, ends the connection; types from 128 on may be skipped by whoever does not know them.
 */
import { HaulierError } from '../../base/errors.js';

/** Frame types. */
export const frameTypes = {
  /** Stream 0: a message, JSON. */
  message: 1,
  /** Opens a stream: its name and head, JSON. */
  open: 2,
  data: 3,
  /** The stream is whole: its length (8 bytes), and, where the head asked for it, the SHA-256 of its bytes. */
  end: 4,
  /** The receiver takes so many more bytes of this stream (4 bytes). */
  window: 5,
  /** One stream ends early, from either side: why, JSON. */
  reset: 6,
  ping: 7,
  pong: 8,
  /** The whole haul is given up: why, JSON. */
  abort: 9,
  /** Nothing follows: this side is done. */
  bye: 10,
  /** Data, compressed: the method (1 byte), then its bytes. Sent only to a side that says it unpacks it (`packing.ts`). */
  packed: 11,
} as const;

/** Name of a frame type. */
export type FrameName = keyof typeof frameTypes;

const kibi = 1024;
/** Longest data frame, bytes. */
export const maxDataBytes = 256 * kibi;
const limits: Readonly<Record<FrameName, number>> = {
  message: 1024 * kibi, open: 16 * kibi, data: maxDataBytes, end: 40, window: 4, reset: 4 * kibi, ping: 8, pong: 8, abort: 4 * kibi, bye: 0, packed: maxDataBytes,
};
const names = new Map<number, FrameName>(Object.entries(frameTypes).map(([name, type]) => [type, name as FrameName]));
const firstSkippable = 128;
const skippableBytes = 64 * kibi;
const headerBytes = 9;

/** One frame. */
export interface Frame {
  readonly name: FrameName;
  readonly stream: number;
  readonly payload: Buffer;
}

/** The header of a frame; its payload follows. */
export function frameHeader(name: FrameName, stream: number, length: number): Buffer {
  if (length > limits[name]) throw new HaulierError('HAUL_PROTOCOL', { reason: `a ${name} frame of ${length} bytes is too long to be sent` });
  const header = Buffer.allocUnsafe(headerBytes);
  header.writeUInt8(frameTypes[name], 0);
  header.writeUInt32BE(stream, 1);
  header.writeUInt32BE(length, 5);
  return header;
}

/** Takes frames out of bytes that come in pieces. Data is handed on as it comes, a frame of it in several: to put it together would be a copy of all memory. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #data: { readonly stream: number; left: number } | undefined;

  /** @returns the frames that are whole now, and pieces of data @throws HAUL_PROTOCOL */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#data) {
        for (const piece of this.#pieces(this.#data.left)) {
          this.#data.left -= piece.length;
          frames.push({ name: 'data', stream: this.#data.stream, payload: piece });
        }
        if (this.#data.left > 0) return frames;
        this.#data = undefined;
      }
      if (this.#bytes < headerBytes) return frames;
      const header = this.#peek(headerBytes);
      const type = header.readUInt8(0);
      const stream = header.readUInt32BE(1);
      const length = header.readUInt32BE(5);
      const name = names.get(type);
      if (name === undefined && type < firstSkippable) throw new HaulierError('HAUL_PROTOCOL', { reason: `frame of unknown type ${type}` });
      const limit = name === undefined ? skippableBytes : limits[name];
      if (length > limit) throw new HaulierError('HAUL_PROTOCOL', { reason: `${name ?? 'skippable'} frame of ${length} bytes, at most ${limit} are allowed` });
      if (name === 'data') {
        this.#take(headerBytes);
        this.#data = { stream, left: length };
        continue;
      }
      if (this.#bytes < headerBytes + length) return frames;
      this.#take(headerBytes);
      const payload = this.#take(length);
      if (name !== undefined) frames.push({ name, stream, payload });
    }
  }

  /** Takes up to `most` bytes, as they lie. */
  #pieces(most: number): Buffer[] {
    const pieces: Buffer[] = [];
    for (let left = Math.min(most, this.#bytes); left > 0;) {
      const chunk = this.#chunks[0] as Buffer;
      const piece = chunk.subarray(0, left);
      pieces.push(piece);
      left -= piece.length;
      this.#bytes -= piece.length;
      if (piece.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(piece.length);
    }
    return pieces;
  }

  /** The first `count` bytes, not taken. */
  #peek(count: number): Buffer {
    const first = this.#chunks[0] as Buffer;
    if (first.length >= count) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  #take(count: number): Buffer {
    this.#bytes -= count;
    const first = this.#chunks[0] ?? Buffer.alloc(0);
    if (first.length > count) {
      this.#chunks[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const parts: Buffer[] = [];
    for (let left = count; left > 0;) {
      const chunk = this.#chunks[0] as Buffer;
      const part = chunk.subarray(0, left);
      parts.push(part);
      left -= part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    if (first.length === 0 && count === 0) return Buffer.alloc(0);
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }
}

/** Reads JSON that the peer sent. @throws HAUL_PROTOCOL if it is none, or no object */
export function readObject(payload: Buffer, what: string): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(payload.toString('utf8')) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new HaulierError('HAUL_PROTOCOL', { reason: `${what} is no JSON object` });
}

/** The streams of a channel. The sender may be ahead of the reader by one window; the end says the length, and the hash if wanted. */
import { createHash, type Hash } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { HaulierError, messageOf } from '../../base/errors.js';
import { maxDataBytes, type FrameName } from './frame.js';
import { unpack } from './packing.js';

/** What a stream says of itself when it is opened: plain JSON. `digest`: its bytes are hashed, and checked at the end. */
export type StreamHead = Readonly<Record<string, unknown>> & { readonly digest?: boolean };

/** Bytes that may be on their way, unread, in one stream. */
const windowBytes = 8 * 1024 * 1024;
/** The reader asks for more when it has read this much. */
const stepBytes = windowBytes / 4;
const lengthBytes = 8;

interface Port {
  write(name: FrameName, stream: number, payload: Buffer): void;
  ended(): void;
}

const resetOf = (error: Error): Buffer => Buffer.from(JSON.stringify({ reason: messageOf(error).slice(0, 500) }));

/** The writing end. */
export class OutgoingStream extends Writable {
  #credit = windowBytes;
  #length = 0;
  readonly #hash: Hash | undefined;
  #more: (() => void) | undefined;

  constructor(private readonly id: number, private readonly port: Port & { room(bytes: number): Promise<void>; pack(pieces: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> }, digest: boolean) {
    super({ highWaterMark: maxDataBytes });
    this.#hash = digest ? createHash('sha256') : undefined;
    this.on('error', () => undefined); // whoever writes is told by the write; nobody may be writing
  }

  onWindow(bytes: number): void {
    this.#credit += bytes;
    this.#more?.();
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk).then(() => done(), (error: Error) => done(error));
  }

  async #send(chunk: Buffer): Promise<void> {
    this.#hash?.update(chunk);
    this.#length += chunk.length;
    const pieces = Array.from({ length: Math.ceil(chunk.length / maxDataBytes) }, (_, index) => chunk.subarray(index * maxDataBytes, (index + 1) * maxDataBytes));
    const packed = await this.port.pack(pieces);
    for (const [index, piece] of pieces.entries()) {
      while (this.#credit < piece.length && !this.destroyed) await new Promise<void>((resolve) => { this.#more = resolve; });
      if (this.destroyed) throw this.errored ?? new HaulierError('HAUL_ABORTED', { reason: 'the stream was given up' });
      this.#credit -= piece.length;
      const payload = packed[index] ?? piece;
      await this.port.room(payload.length);
      this.port.write(payload === piece ? 'data' : 'packed', this.id, payload);
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    const length = Buffer.alloc(lengthBytes);
    length.writeBigUInt64BE(BigInt(this.#length));
    this.port.write('end', this.id, this.#hash ? Buffer.concat([length, this.#hash.digest()]) : length);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.writableFinished) this.port.write('reset', this.id, resetOf(error ?? new Error('given up')));
    this.port.ended();
    this.#more?.();
    done(error);
  }
}

/** The reading end. It ends only when all has come and is what was sent; else it fails. */
export class IncomingStream extends Readable {
  readonly name: string;
  #length = 0;
  #granted = windowBytes;
  #unread = 0;
  readonly #hash: Hash | undefined;
  #whole = false;

  constructor(private readonly id: number, readonly head: Readonly<Record<string, unknown>>, private readonly port: Port) {
    super({ highWaterMark: stepBytes });
    this.name = String(head['name']);
    this.#hash = head['digest'] === true ? createHash('sha256') : undefined;
    this.on('error', () => undefined); // whoever reads is told by the read; nobody may be reading
  }

  onData(bytes: Buffer): void {
    this.#length += bytes.length;
    this.#granted -= bytes.length;
    this.#unread += bytes.length;
    if (this.#granted < 0) throw new HaulierError('HAUL_PROTOCOL', { reason: `stream ${this.name} sends more than it may` });
    this.#hash?.update(bytes);
    if (this.push(bytes)) this.#grant();
  }

  onPacked(payload: Buffer): void {
    this.onData(unpack(payload));
  }

  onEnd(payload: Buffer): void {
    const length = payload.length >= lengthBytes ? Number(payload.readBigUInt64BE(0)) : -1;
    const damaged = length !== this.#length ? `it has ${this.#length} bytes instead of ${length}`
      : this.#hash && !this.#hash.digest().equals(payload.subarray(lengthBytes)) ? 'its checksum does not fit' : undefined;
    if (damaged) return void this.destroy(new HaulierError('HAUL_DAMAGED', { what: `stream ${this.name}`, reason: damaged }));
    this.#whole = true;
    this.push(null);
  }

  override _read(): void {
    this.#grant();
  }

  #grant(): void {
    if (this.#unread < stepBytes || this.#whole) return;
    const window = Buffer.alloc(4);
    window.writeUInt32BE(this.#unread);
    this.#granted += this.#unread;
    this.#unread = 0;
    this.port.write('window', this.id, window);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#whole) this.port.write('reset', this.id, resetOf(error ?? new Error('nobody reads it')));
    this.port.ended();
    done(error);
  }
}

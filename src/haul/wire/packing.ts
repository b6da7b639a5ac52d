/**
 * Compression of what a stream sends, frame by frame: each `packed` frame stands for itself, so what does not compress goes as it is
 * and nothing has to be flushed. zstd where both sides' Node.js has it (22.15), else brotli at its fastest, which every supported one
 * has: it packs as small as deflate, some four times faster.
 */
import zlib from 'node:zlib';
import { HaulierError } from '../../base/errors.js';
import { maxDataBytes } from './frame.js';

/** `[haulier] haul_compression`. `on`: whatever gets smaller by it; `auto`: where it also makes the haul faster. */
export type Compression = 'auto' | 'on' | 'off';

/** Names in the messages `haul` and `welcome` (`unpacks`); a side that says none is sent none. */
type Algorithm = 'zstd' | 'brotli';

type Transform = (bytes: Buffer, options: object) => Buffer;
type Later = (bytes: Buffer, options: object, done: (error: Error | null, result: Buffer) => void) => void;

/** What Node.js 22.15 added, which the types of the oldest supported one do not have. */
const newer = zlib as unknown as { readonly zstdCompress?: Later; readonly zstdDecompressSync?: Transform; readonly constants: Readonly<Record<string, number>> };
const { constants } = newer;

interface Method { readonly code: number; readonly pack: Later; readonly packing: object; readonly unpack: Transform }

const brotli: Method = {
  code: 2, pack: zlib.brotliCompress as Later, unpack: zlib.brotliDecompressSync as Transform,
  packing: { params: { [constants['BROTLI_PARAM_QUALITY']!]: 0, [constants['BROTLI_PARAM_LGWIN']!]: 18 } },
};
const zstd: Method | undefined = newer.zstdCompress && newer.zstdDecompressSync
  ? { code: 1, pack: newer.zstdCompress, unpack: newer.zstdDecompressSync, packing: { params: { [constants['ZSTD_c_compressionLevel']!]: 1 } } } : undefined;
const methods: Readonly<Partial<Record<Algorithm, Method>>> = { ...(zstd ? { zstd } : {}), brotli };

/** What this side can unpack, the best first. */
export const unpacks = Object.keys(methods) as readonly Algorithm[];

/** Opens a `packed` frame. @throws HAUL_PROTOCOL, HAUL_DAMAGED also if more is in it than a `data` frame may hold */
export function unpack(payload: Buffer): Buffer {
  const method = Object.values(methods).find(({ code }) => code === payload[0]);
  if (!method) throw new HaulierError('HAUL_PROTOCOL', { reason: `packed by a method ${payload[0] ?? ''} that was not offered` });
  try {
    return method.unpack(payload.subarray(1), { maxOutputLength: maxDataBytes });
  } catch (error) {
    throw new HaulierError('HAUL_DAMAGED', { what: 'a packed frame', reason: (error as Error).message }, { cause: error });
  }
}

/** How fast bytes go and how much smaller they get, per millisecond. */
export interface Trial { readonly bytes: number; readonly packed: number; readonly ms: number }

/** It must make a tenth of a difference. */
const gain = 0.9;

/**
 * Whether packing makes it faster: packing and sending go on at once, so the slower of the two counts.
 * @param wire bytes per millisecond; undefined: it has kept nobody waiting
 */
export function paysOff({ bytes, packed, ms }: Trial, wire: number | undefined): boolean {
  if (wire === undefined || bytes === 0) return false;
  return Math.max(ms, packed / wire) < gain * (bytes / wire);
}

/** Less is not worth a frame of its own kind. */
const smallestBytes = 4096;
/** What does not pay is tried again after so many bytes, with one frame: what does not get smaller, and what was only too slow at that moment. */
const againBytes = { large: 16 * 1024 * 1024, slow: 2 * 1024 * 1024 };
/** Of what was measured before, when something is measured. */
const kept = 0.8;

/** Packs the frames of one direction of a channel. */
export class Packer {
  readonly #method: Method;
  #pays: boolean;
  /** Bytes until it is tried again. */
  #untilTrial = 0;
  /** Bytes and milliseconds of late. */
  #speed = { bytes: 0, ms: 0 };

  /** @param wire bytes per millisecond, as far as is known @throws HAUL_PROTOCOL if this side cannot do it */
  constructor(algorithm: Algorithm, private readonly compression: Exclude<Compression, 'off'>, private readonly wire: () => number | undefined, private readonly now = (): number => performance.now()) {
    const method = methods[algorithm];
    if (!method) throw new HaulierError('HAUL_PROTOCOL', { reason: `no ${algorithm} here` });
    this.#method = method;
    this.#pays = compression === 'on';
  }

  /** One for a side that says it can unpack these. @returns undefined if none is wanted, or there is none that both know */
  static for(theirs: unknown, compression: Compression, wire: () => number | undefined): Packer | undefined {
    const both = compression === 'off' || !Array.isArray(theirs) ? undefined : unpacks.find((name) => theirs.includes(name));
    return both && compression !== 'off' ? new Packer(both, compression, wire) : undefined;
  }

  /** @param pieces that go out together, each a frame's worth @returns for each its payload as a `packed` frame; undefined where it goes as it is */
  async pack(pieces: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]> {
    const worthy = pieces.filter(({ length }) => length >= smallestBytes);
    const bytes = sum(worthy);
    if (bytes === 0) return pieces.map(() => undefined);
    if (this.compression === 'auto') {
      if (this.#pays && this.wire() === undefined) this.#pays = false;
      if (!this.#pays && (this.wire() === undefined || (this.#untilTrial -= bytes) > 0)) return pieces.map(() => undefined);
    }
    const tried = this.#pays ? worthy : worthy.slice(0, 1);
    const began = this.now();
    const packed = new Map(await Promise.all(tried.map(async (piece) => [piece, await this.#one(piece)] as const)));
    if (this.compression === 'auto') this.#judge(sum(tried), sum([...packed.values()]), this.now() - began);
    return pieces.map((piece) => {
      const result = packed.get(piece);
      return result && result.length < piece.length * gain ? result : undefined;
    });
  }

  /** How small it gets says this trial, how fast those before as well: any one may have had to wait for a processor. */
  #judge(bytes: number, packed: number, ms: number): void {
    this.#speed = { bytes: this.#speed.bytes * kept + bytes, ms: this.#speed.ms * kept + ms };
    this.#pays = paysOff({ bytes, packed, ms: (bytes * this.#speed.ms) / this.#speed.bytes }, this.wire());
    this.#untilTrial = packed < bytes * gain ? againBytes.slow : againBytes.large;
  }

  #one(piece: Buffer): Promise<Buffer> {
    const { code, pack, packing } = this.#method;
    return new Promise((resolve, reject) => pack(piece, packing, (error, result) => (error ? reject(error) : resolve(Buffer.concat([Buffer.of(code), result])))));
  }
}

const sum = (buffers: readonly Buffer[]): number => buffers.reduce((all, { length }) => all + length, 0);

/** What the wire is measured by may be so old, in bytes sent since. */
const validBytes = 64 * 1024 * 1024;
/** How fast the other side's end of the wire takes what is sent, by the times in which it kept the sender waiting. */
export class WireMeter {
  #bytes = 0;
  #ms = 0;
  #since = Infinity;

  /** So many bytes have gone out. */
  sent(bytes: number): void {
    this.#since += bytes;
  }

  /** So many stood in line and have all gone in this time. */
  drained(bytes: number, ms: number): void {
    this.#bytes = this.#bytes * kept + bytes;
    this.#ms = this.#ms * kept + ms;
    this.#since = 0;
  }

  /** Bytes per millisecond; undefined if nobody has waited for long. @param limit what the operator permits, 0: all */
  rate(limit: number): number | undefined {
    const measured = this.#since <= validBytes && this.#ms > 0 ? this.#bytes / this.#ms : Infinity;
    const rate = Math.min(measured, limit > 0 ? limit : Infinity);
    return rate === Infinity ? undefined : rate;
  }
}

/**
 * What is inside the seal: records of a kind (1 byte), a length (4 bytes, big endian) and that many bytes, in this order: the manifest
 * (JSON), the checkpoint and the root file system (each a compressed tarball in any number of records), the end.
 */
import { HaulierError } from '../../base/errors.js';

const kinds = { end: 0, manifest: 1, checkpoint: 2, disk: 3 } as const;
const headerBytes = 5;
/** More would be nobody's manifest: 100 bytes for each of criu's files and of the guest's control groups. */
const mostManifest = 16 * 1024 * 1024;

/** A part that is as long as it is. */
export type PartName = 'checkpoint' | 'disk';

function header(kind: number, length: number): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes[0] = kind;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

/** Writes them. The parts are read one after the other. */
export async function* writeRecords(manifest: unknown, parts: Readonly<Record<PartName, AsyncIterable<Buffer>>>): AsyncGenerator<Buffer> {
  const text = Buffer.from(JSON.stringify(manifest));
  yield header(kinds.manifest, text.length);
  yield text;
  for (const name of ['checkpoint', 'disk'] as const) {
    for await (const bytes of parts[name]) {
      yield header(kinds[name], bytes.length);
      yield bytes;
    }
  }
  yield header(kinds.end, 0);
}

/** Reads them, in order. Every method throws MEMORY_IMAGE_REFUSED where the records are not what they should be, and what the source throws. */
export class RecordReader {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  /** The record that is being read: its kind, and how much of it is left. */
  #record: { readonly kind: number; left: number } | undefined;

  constructor(plain: AsyncIterable<Buffer>, private readonly image: string) {
    this.#source = plain[Symbol.asyncIterator]();
  }

  #refuse(reason: string): HaulierError {
    return new HaulierError('MEMORY_IMAGE_REFUSED', { image: this.image, reason });
  }

  /** Up to `most` bytes; empty at the end. */
  async #some(most: number): Promise<Buffer> {
    while (this.#held.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return Buffer.alloc(0);
      this.#held = next.value;
    }
    const taken = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  async #exactly(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0;) {
      const part = await this.#some(left);
      if (part.length === 0) throw this.#refuse('its records end too soon');
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts, count);
  }

  async #next(): Promise<{ readonly kind: number; left: number }> {
    if (!this.#record) {
      const bytes = await this.#exactly(headerBytes);
      this.#record = { kind: bytes[0] ?? kinds.end, left: bytes.readUInt32BE(1) };
    }
    return this.#record;
  }

  /** The manifest, as JSON has it. */
  async manifest(): Promise<unknown> {
    const record = await this.#next();
    if (record.kind !== kinds.manifest || record.left > mostManifest) throw this.#refuse('it does not begin with a manifest');
    const text = (await this.#exactly(record.left)).toString('utf8');
    this.#record = undefined;
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw this.#refuse('its manifest is no JSON');
    }
  }

  /** The bytes of the part that comes next. */
  async *part(name: PartName): AsyncGenerator<Buffer> {
    for (let record = await this.#next(); record.kind === kinds[name]; record = await this.#next()) {
      while (record.left > 0) {
        const bytes = await this.#some(record.left);
        if (bytes.length === 0) throw this.#refuse('its records end too soon');
        record.left -= bytes.length;
        yield bytes;
      }
      this.#record = undefined;
    }
  }

  /** To the very end: only then is it known that nothing was cut off. */
  async end(): Promise<void> {
    const record = await this.#next();
    if (record.kind !== kinds.end || record.left !== 0 || (await this.#some(1)).length > 0) throw this.#refuse('it has records that nobody knows');
  }
}

/** Counts and checks on the two sides of an image's stream: the bytes as stored, and the bytes as unpacked. */
import { createHash, getHashes, type Hash } from 'node:crypto';
import type { ImageSource } from '../spec.js';
import { unacceptable } from './image-error.js';

/** Counts and hashes the bytes as they are stored in Glance. */
export class StoredMeter {
  #bytes = 0;
  readonly #hash: Hash | undefined;
  readonly #source: ImageSource;

  /** @throws IMAGE_UNACCEPTABLE if this host does not know the checksum's algorithm */
  constructor(source: ImageSource) {
    this.#source = source;
    const algorithm = source.checksum?.algorithm.toLowerCase();
    if (algorithm === undefined || source.repacked) return;
    if (!getHashes().includes(algorithm)) throw unacceptable(source.id, `this host cannot compute its checksum's algorithm '${algorithm}'`);
    this.#hash = createHash(algorithm);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @throws IMAGE_UNACCEPTABLE as soon as there are more bytes than Glance said */
  add(chunk: Buffer): void {
    this.#bytes += chunk.length;
    const { id, size } = this.#source;
    if (size !== undefined && this.#bytes > size) throw unacceptable(id, `it has more than the ${size} bytes that it should have`);
    this.#hash?.update(chunk);
  }

  /** What is wrong with the bytes now that all have come; undefined if they are what Glance says. Call once. */
  verdict(): string | undefined {
    const { size, checksum } = this.#source;
    if (size !== undefined && this.#bytes !== size) return `it ends after ${this.#bytes} of ${size} bytes`;
    if (!this.#hash || !checksum) return undefined;
    const found = this.#hash.digest('hex');
    return found === checksum.value.toLowerCase() ? undefined : `its ${checksum.algorithm} checksum is ${found}, not ${checksum.value}`;
  }
}

const endBytes = 1024;

/** Counts the unpacked archive's bytes, holds them to a cap, and remembers whether they end like an archive. */
export class ArchiveMeter {
  #bytes = 0;
  #zerosAtEnd = 0;
  readonly #hash: Hash | undefined;

  /** @param digest an algorithm, where the bytes' digest is wanted */
  constructor(private readonly image: string, private readonly maxBytes: number, digest?: string) {
    this.#hash = digest === undefined ? undefined : createHash(digest);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @throws IMAGE_UNACCEPTABLE when the cap is passed */
  add(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.maxBytes) throw unacceptable(this.image, `it unpacks to more than ${this.maxBytes} bytes`);
    this.#hash?.update(chunk);
    let zeros = 0;
    while (zeros < Math.min(chunk.length, endBytes) && chunk[chunk.length - 1 - zeros] === 0) zeros++;
    this.#zerosAtEnd = zeros === chunk.length ? Math.min(this.#zerosAtEnd + zeros, endBytes) : zeros;
  }

  /** The digest in hex, now that all has come; undefined if none was wanted. Call once. */
  digest(): string | undefined {
    return this.#hash?.digest('hex');
  }

  /** True if the archive ended with the two zero blocks of every whole tar archive (POSIX ustar). */
  get whole(): boolean {
    return this.#zerosAtEnd >= endBytes;
  }
}

/** Counts entries in the listing that `tar --verbose` writes: one line each (a name's own newlines are quoted). */
export class EntryMeter {
  #entries = 0;
  constructor(private readonly image: string, private readonly maxEntries: number) {}

  get entries(): number {
    return this.#entries;
  }

  /** @throws IMAGE_UNACCEPTABLE when there are too many */
  add(chunk: Buffer): void {
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) this.#entries++;
    if (this.#entries > this.maxEntries) throw unacceptable(this.image, `it has more than ${this.maxEntries} entries`);
  }
}

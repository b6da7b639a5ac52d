/**
 * Sends memory while criu still writes it: the way to the other host is over when the dump is, or soon after. criu writes its files of
 * pages one after the other, and appends to the last one only. They are read at once: they were written this moment, and are in memory.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import type { HaulChannel } from '../wire/channel.js';

const pieceBytes = 256 * 1024;
const pollMs = 2;
const pagesFile = /^pages-(\d+)\.img$/;
const numberOf = (name: string): number => Number(pagesFile.exec(name)?.[1]);

/** Follows one dump, from its begin on. The other side takes it in with `receiveImages`. */
export class PagesAhead {
  /** Bytes of each file that has gone. */
  readonly #sent = new Map<string, number>();
  readonly #work: Promise<void>;
  #bytes = 0;
  #over = false;
  #given: Error | undefined;

  /** @param onSent told what has gone, all in all */
  constructor(private readonly channel: HaulChannel, private readonly folder: string, private readonly signal: AbortSignal, private readonly onSent: (bytes: number) => void) {
    this.#work = this.#follow();
    this.#work.catch(() => undefined); // told at the end
  }

  /** The dump is over: sends the rest. @param files what it has written @returns those of them that have not gone @throws what broke it; HAUL_DAMAGED if one has changed its size since */
  async end(files: Readonly<Record<string, number>>): Promise<Readonly<Record<string, number>>> {
    this.#over = true;
    await this.#work;
    for (const [name, bytes] of this.#sent) if (files[name] !== bytes) throw new HaulierError('HAUL_DAMAGED', { what: `image ${name}`, reason: `it has ${files[name]} bytes, and ${bytes} were sent` });
    return Object.fromEntries(Object.entries(files).filter(([name]) => !this.#sent.has(name)));
  }

  /** The dump has failed. */
  async giveUp(error: Error): Promise<void> {
    this.#given = error;
    await this.#work.catch(() => undefined);
  }

  async #follow(): Promise<void> {
    for (;;) {
      const over = this.#over;
      const next = this.#names().find((name) => !this.#sent.has(name));
      if (next !== undefined) await this.#send(next);
      else if (over) return;
      else await this.#wait();
    }
  }

  async #send(name: string): Promise<void> {
    const before = this.#bytes;
    await pipeline(this.#content(name), this.channel.openStream('image', { name: 'image', file: name, growing: true }), { signal: this.signal });
    this.#sent.set(name, this.#bytes - before);
  }

  async *#content(name: string): AsyncGenerator<Buffer> {
    const file = openSync(join(this.folder, name), 'r');
    try {
      for (let at = 0; ;) {
        const whole = this.#over || this.#names().some((other) => numberOf(other) > numberOf(name)); // before the look: what is there then is all
        const { size } = fstatSync(file);
        if (size <= at) {
          if (whole) return;
          await this.#wait();
          continue;
        }
        const piece = Buffer.allocUnsafe(Math.min(pieceBytes, size - at));
        const bytes = readSync(file, piece, 0, piece.length, at);
        at += bytes;
        this.onSent(this.#bytes += bytes);
        yield piece.subarray(0, bytes);
      }
    } finally {
      closeSync(file);
    }
  }

  #names(): string[] {
    return readdirSync(this.folder).filter((name) => pagesFile.test(name)).sort((one, other) => numberOf(one) - numberOf(other));
  }

  async #wait(): Promise<void> {
    if (this.#given) throw this.#given;
    await sleep(pollMs, undefined, { signal: this.signal });
  }
}

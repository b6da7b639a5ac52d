/** Where the page daemon's questions are answered in their order: by the pages that are here already, and else by the other host. */
import type { EarlyPages } from './early-pages.js';
import { pageBytes, rangeOf, readQuestion, type HeaderBytes } from './page-protocol.js';

const none: Buffer = Buffer.alloc(0);

/** One connection of criu's page daemon. */
export class PageDesk {
  /** Answers that are owed, in order: our own, or undefined for one that the other host gives. */
  readonly #owed: (Buffer | undefined)[] = [];
  #question = none;
  #head = none;
  #left = 0;
  #ends = false;

  constructor(private readonly early: Pick<EarlyPages, 'answer'>, private readonly size: HeaderBytes) {}

  /** The daemon says more. @returns what must be asked of the other host, and what the daemon is told at once */
  asked(chunk: Buffer): { readonly forward: readonly Buffer[]; readonly answers: readonly Buffer[] } {
    if (this.#ends) return { forward: [chunk], answers: [] };
    const forward: Buffer[] = [];
    let bytes = this.#question.length > 0 ? Buffer.concat([this.#question, chunk]) : chunk;
    for (; bytes.length >= this.size && !this.#ends; bytes = bytes.subarray(this.size)) {
      const head = bytes.subarray(0, this.size);
      const range = readQuestion(head);
      this.#ends = range === undefined; // it wants nothing more, and says so in words that are not ours to know
      const answer = range && this.early.answer(range);
      if (range) this.#owed.push(answer);
      if (!answer) forward.push(head);
    }
    if (this.#ends && bytes.length > 0) forward.push(bytes);
    this.#question = this.#ends ? none : bytes;
    return { forward, answers: this.#ready() };
  }

  /** The other host answers. @returns what the daemon is told */
  answered(chunk: Buffer): readonly Buffer[] {
    const told: Buffer[] = [];
    for (let rest = chunk; rest.length > 0;) {
      const inHead = this.#owed.length > 0 && this.#left === 0;
      const part = this.#owed.length === 0 ? rest : rest.subarray(0, inHead ? this.size - this.#head.length : this.#left);
      told.push(part);
      rest = rest.subarray(part.length);
      if (this.#owed.length === 0) continue; // not an answer for pages
      if (inHead) {
        this.#head = Buffer.concat([this.#head, part]);
        if (this.#head.length < this.size) continue;
        this.#left = rangeOf(this.#head).pages * pageBytes;
        this.#head = none;
      } else this.#left -= part.length;
      if (this.#left > 0) continue;
      this.#owed.shift();
      told.push(...this.#ready());
    }
    return told;
  }

  #ready(): Buffer[] {
    const ready: Buffer[] = [];
    for (let [next] = this.#owed; next !== undefined; [next] = this.#owed) {
      ready.push(next);
      this.#owed.shift();
    }
    return ready;
  }
}

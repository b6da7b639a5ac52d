/**
 * How long a source whose haul is over goes on telling the destination so, which keeps its own record until then: with growing pauses,
 * and not for ever. A destination that is never told only keeps a file of a kilobyte.
 */

/** After so long nobody is told any more, milliseconds. */
export const tellingEndsMs = 7 * 24 * 3600_000;
const pauseMs = { first: 15_000, last: 600_000 };

/** When each haul's destination is told next. In memory: a service that has just started tries at once. */
export class Telling {
  readonly #next = new Map<string, { at: number; pauseMs: number }>();

  /** True if it is time. @param now milliseconds of any clock that does not go back */
  due(haul: string, now: number): boolean {
    return now >= (this.#next.get(haul)?.at ?? 0);
  }

  /** It could not be told. */
  failed(haul: string, now: number): void {
    const pause = Math.min((this.#next.get(haul)?.pauseMs ?? pauseMs.first / 2) * 2, pauseMs.last);
    this.#next.set(haul, { at: now + pause, pauseMs: pause });
  }

  /** Nothing is to be told any more. */
  done(haul: string): void {
    this.#next.delete(haul);
  }
}

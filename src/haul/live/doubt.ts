/**
 * The time in which a source has offered its container, lost the destination, and cannot know what became of the haul. Then, and only
 * then, an operator may decide in the destination's place.
 */

/** What became of a haul. */
export type Outcome = 'committed' | 'aborted';

/** How a doubt ended. */
export interface Settled {
  readonly outcome: Outcome;
  /** Not the destination has said it. */
  readonly byOperator: boolean;
}

/** See above: of one haul. */
export class Doubt {
  #decide: ((outcome: Outcome) => void) | undefined;

  /** True while a decision counts. */
  get open(): boolean {
    return this.#decide !== undefined;
  }

  /** An operator decides. @returns false if there is nothing to decide (any more): it did not count */
  decide(outcome: Outcome): boolean {
    const decide = this.#decide;
    decide?.(outcome);
    return decide !== undefined;
  }

  /** Open until the first of both: the answer, or a decision. Whatever comes later is not heard. @throws what `ask` throws before a decision */
  async until(ask: () => Promise<Outcome>): Promise<Settled> {
    return await new Promise<Settled>((resolve, reject) => {
      const close = (act: () => void): void => {
        if (this.#decide !== mine) return;
        this.#decide = undefined;
        act();
      };
      const mine = (outcome: Outcome): void => close(() => resolve({ outcome, byOperator: true }));
      this.#decide = mine;
      ask().then((outcome) => close(() => resolve({ outcome, byOperator: false })), (error: unknown) => close(() => reject(error as Error)));
    });
  }
}

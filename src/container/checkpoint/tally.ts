/** How often and how fast containers were suspended and resumed since the service's start, for the metrics. */

/** What is counted. */
export type TalliedOperation = 'suspend' | 'resume';
/** How it ended. */
export type TalliedResult = 'done' | 'failed';

/** Upper bounds of the histogram, in seconds. */
export const timeBounds: readonly number[] = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120];

/** One operation with one result. */
export interface TallyRow {
  readonly operation: TalliedOperation;
  readonly result: TalliedResult;
  readonly count: number;
  /** Seconds of all together. */
  readonly seconds: number;
  /** How many took no longer than each of `timeBounds`. */
  readonly within: readonly number[];
}

/** Counts. */
export class Tally {
  readonly #times = new Map<string, number[]>();
  #frozenSeconds = 0;
  #frozenCount = 0;

  /** Runs `work` and counts it. @throws what `work` throws */
  async time<T>(operation: TalliedOperation, work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const note = (result: TalliedResult): void => this.add(operation, result, (performance.now() - began) / 1000);
    try {
      const value = await work();
      note('done');
      return value;
    } catch (error) {
      note('failed');
      throw error;
    }
  }

  add(operation: TalliedOperation, result: TalliedResult, seconds: number): void {
    const row = this.#times.get(`${operation} ${result}`) ?? [0, 0, ...timeBounds.map(() => 0)];
    row[0] = (row[0] ?? 0) + 1;
    row[1] = (row[1] ?? 0) + seconds;
    timeBounds.forEach((bound, index) => { if (seconds <= bound) row[index + 2] = (row[index + 2] ?? 0) + 1; });
    this.#times.set(`${operation} ${result}`, row);
  }

  /** Adds seconds for which criu let a container stand still. */
  frozen(seconds: number): void {
    this.#frozenSeconds += seconds;
    this.#frozenCount++;
  }

  /** Every operation with every result, also those that never came: a metric that is not there cannot be watched. */
  get rows(): readonly TallyRow[] {
    return (['suspend', 'resume'] as const).flatMap((operation) => (['done', 'failed'] as const).map((result) => {
      const [count = 0, seconds = 0, ...within] = this.#times.get(`${operation} ${result}`) ?? [];
      return { operation, result, count, seconds, within: timeBounds.map((_, index) => within[index] ?? 0) };
    }));
  }

  get frozenTime(): { readonly seconds: number; readonly count: number } {
    return { seconds: this.#frozenSeconds, count: this.#frozenCount };
  }
}

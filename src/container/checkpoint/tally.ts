/** How often and how fast containers were suspended and resumed since the service's start, for the metrics. */
import { Timings, timeBounds, type TimingRow } from '../../base/timings.js';

/** What is counted. */
export type TalliedOperation = 'suspend' | 'resume';
/** How it ended. */
export type TalliedResult = 'done' | 'failed';

/** Counts. */
export class Tally {
  readonly #times = new Timings();
  #frozenSeconds = 0;
  #frozenCount = 0;
  #cached = 0;
  #fetched = 0;

  /** Runs `work` and counts it. @throws what `work` throws */
  async time<T>(operation: TalliedOperation, work: () => Promise<T>): Promise<T> {
    return await this.#times.time(operation, work);
  }

  add(operation: TalliedOperation, result: TalliedResult, seconds: number): void {
    this.#times.add(operation, result, seconds);
  }

  /** Adds seconds for which criu let a container stand still. */
  frozen(seconds: number): void {
    this.#frozenSeconds += seconds;
    this.#frozenCount++;
  }

  /** Adds an image that was asked for. @param cached it was here already */
  image(cached: boolean): void {
    if (cached) this.#cached++;
    else this.#fetched++;
  }

  /** Every operation with every result, also those that never came: a metric that is not there cannot be watched. */
  get rows(): readonly TimingRow[] {
    const seen = this.#times.rows;
    return (['suspend', 'resume'] as const).flatMap((name) => (['done', 'failed'] as const).map((result) =>
      seen.find((row) => row.name === name && row.result === result) ?? { name, result, count: 0, seconds: 0, within: timeBounds.map(() => 0) }));
  }

  get frozenTime(): { readonly seconds: number; readonly count: number } {
    return { seconds: this.#frozenSeconds, count: this.#frozenCount };
  }

  get images(): { readonly cached: number; readonly fetched: number } {
    return { cached: this.#cached, fetched: this.#fetched };
  }
}

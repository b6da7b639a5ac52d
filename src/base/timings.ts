/** How often things were done, how they ended and how long they took, since the service's start: for the metrics. */

/** Upper bounds of the histograms, in seconds. */
export const timeBounds: readonly number[] = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120];

/** One thing with one result. */
export interface TimingRow {
  readonly name: string;
  readonly result: string;
  readonly count: number;
  /** Seconds of all together. */
  readonly seconds: number;
  /** How many took no longer than each of `timeBounds`. */
  readonly within: readonly number[];
}

interface Row {
  count: number;
  seconds: number;
  readonly within: number[];
}

/** Counts. Names must be few: each is a line of the metrics for good. */
export class Timings {
  readonly #rows = new Map<string, Map<string, Row>>();

  add(name: string, result: string, seconds: number): void {
    const results = this.#rows.get(name) ?? new Map<string, Row>();
    this.#rows.set(name, results);
    const row = results.get(result) ?? { count: 0, seconds: 0, within: timeBounds.map(() => 0) };
    results.set(result, row);
    row.count++;
    row.seconds += seconds;
    timeBounds.forEach((bound, index) => { if (seconds <= bound) row.within[index] = (row.within[index] ?? 0) + 1; });
  }

  /** Runs `work` and counts it, as `done` or as what `resultOf` makes of its error. @throws what `work` throws */
  async time<T>(name: string, work: () => Promise<T>, resultOf: (error: unknown) => string = () => 'failed'): Promise<T> {
    const began = performance.now();
    try {
      const value = await work();
      this.add(name, 'done', (performance.now() - began) / 1000);
      return value;
    } catch (error) {
      this.add(name, resultOf(error), (performance.now() - began) / 1000);
      throw error;
    }
  }

  get rows(): readonly TimingRow[] {
    return [...this.#rows].flatMap(([name, results]) => [...results].map(([result, row]) => ({ name, result, ...row })));
  }
}

/** Every call that the fakes get, in one order, and what a test wants to happen at one of them. */

/** A call that stands still. */
export interface Blocked {
  /** Resolves when the call came. */
  readonly reached: Promise<void>;
  release(): void;
}

/** The journal of a world. */
export class Steps {
  readonly seen: string[] = [];
  readonly #plans = new Map<string, (() => unknown)[]>();

  readonly #watchers = new Map<string, () => unknown>();

  /** Does `work` whenever `name` is called, beside what is planned there, and not waited for. */
  whenever(name: string, work: () => unknown): void {
    this.#watchers.set(name, work);
  }

  /** Called by the fakes first in every call. */
  async pass(name: string): Promise<void> {
    this.seen.push(name);
    this.#watchers.get(name)?.();
    await this.#plans.get(name)?.shift()?.();
  }

  /** Does `work` when `name` is called next. */
  before(name: string, work: () => unknown): void {
    this.#plans.set(name, [...(this.#plans.get(name) ?? []), work]);
  }

  /** Makes the next call of `name` fail. */
  fail(name: string, error: Error): void {
    this.before(name, () => { throw error; });
  }

  /** Holds the next call of `name` until it is released. */
  block(name: string): Blocked {
    let arrived!: () => void;
    let release!: () => void;
    const reached = new Promise<void>((resolve) => { arrived = resolve; });
    const go = new Promise<void>((resolve) => { release = resolve; });
    this.before(name, () => { arrived(); return go; });
    return { reached, release };
  }

  count(name: string): number {
    return this.seen.filter((entry) => entry === name).length;
  }
  /** The calls seen, of those that `names` asks for. */
  of(...names: readonly string[]): string[] {
    return this.seen.filter((entry) => names.includes(entry));
  }
  clear(): void {
    this.seen.length = 0;
  }
}

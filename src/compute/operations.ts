/** The operations that run now, for progress, readiness and a graceful stop. */
import { Operation } from '../base/operation.js';
import { Timings } from '../base/timings.js';
import type { Log } from '../base/log.js';

/** Registry of running operations. */
export class Operations {
  readonly #running = new Set<Operation>();
  readonly #stop = new AbortController();
  /** What has ended, by name and result. */
  readonly ended = new Timings();

  constructor(private readonly log: Log) {}

  /** Runs `work` as an operation that others can see, and that a stop of the service can end. */
  async run<T>(init: { name: string; requestId?: string; instance?: string; deadlineMs?: number }, work: (operation: Operation) => Promise<T>): Promise<T> {
    const operation = new Operation({ ...init, log: this.log, parent: this.#stop.signal });
    this.#running.add(operation);
    try {
      return await this.ended.time(init.name, () => operation.run(work), () => (operation.signal.aborted ? 'aborted' : 'failed'));
    } finally {
      this.#running.delete(operation);
    }
  }

  get running(): readonly Operation[] {
    return [...this.#running];
  }

  /** Aborts what runs for an instance under one of `names`: a delete need not wait for the build that it ends. */
  abort(instance: string, names: readonly string[], reason: Error): void {
    for (const operation of this.#running) if (operation.instance === instance && names.includes(operation.name)) operation.abort(reason);
  }

  /** Waits until nothing runs, at most `graceMs`, then aborts the rest with `reason` and waits for their rollback. */
  async drain(graceMs: number, reason: Error): Promise<void> {
    const until = performance.now() + graceMs;
    while (this.#running.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    this.#stop.abort(reason);
    const last = performance.now() + 10_000;
    while (this.#running.size > 0 && performance.now() < last) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

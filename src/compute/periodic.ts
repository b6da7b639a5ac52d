/** Runs the periodic tasks (contract D.6): each at its spacing, never twice at once, an error logged and no more. */
import type { Log } from '../base/log.js';

/** A task. Spacing in seconds: 0 means 60, negative means never. */
export interface PeriodicTask {
  readonly name: string;
  readonly spacing: number;
  /** Run at the start too, after the fuzzy delay. */
  readonly immediately?: boolean;
  readonly run: () => Promise<void>;
}

const defaultSpacing = 60;
/** Node's timers run out at once when they are given more. */
const longestMs = 2 ** 31 - 1;

/** The tasks of a running service. */
export class PeriodicTasks {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #stopped = false;

  /** @param fuzzySeconds a random delay of up to this before the first run, so that hosts do not beat in step */
  constructor(private readonly tasks: readonly PeriodicTask[], private readonly fuzzySeconds: number, private readonly log: Log) {}

  start(): void {
    for (const task of this.tasks) {
      if (task.spacing < 0) continue;
      const spacing = (task.spacing === 0 ? defaultSpacing : task.spacing) * 1000;
      const fuzzy = Math.random() * this.fuzzySeconds * 1000;
      this.#schedule(task, spacing, task.immediately ? fuzzy : Math.max(fuzzy, spacing));
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  #schedule(task: PeriodicTask, spacing: number, delay: number): void {
    if (this.#stopped) return;
    if (delay > longestMs) {
      this.#timers.set(task.name, setTimeout(() => this.#schedule(task, spacing, delay - longestMs), longestMs));
      return;
    }
    this.#timers.set(task.name, setTimeout(() => {
      const started = performance.now();
      task.run()
        .catch((error: unknown) => this.log.warn({ err: error, task: task.name }, 'periodic task failed'))
        .finally(() => this.#schedule(task, spacing, Math.max(0, spacing - (performance.now() - started))));
    }, delay));
  }
}

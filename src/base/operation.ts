/**
 * One unit of work: an RPC or a job. It carries the request id, the deadline, the abort signal, the progress, the log and the
 * undo stack, and so it *is* time-out, abort, progress report and rollback.
 */
import { asDiskFull } from './disk-full.js';
import { HaulierError, messageOf } from './errors.js';
import type { Log } from './log.js';

type Undo = { readonly what: string; readonly run: () => Promise<void> | void };

/** What an operation says of itself to whoever watches. */
export interface OperationView {
  readonly id: number;
  readonly name: string;
  readonly requestId: string | undefined;
  readonly instance: string | undefined;
  /** The step that runs now. */
  readonly step: string;
  /** 0 to 1, or undefined where nobody knows. */
  readonly progress: number | undefined;
  /** Milliseconds since its start. */
  readonly ageMs: number;
}

let nextId = 1;

/** One operation. Make it with `new`, run the work inside `run`. */
export class Operation {
  readonly id = nextId++;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly name: string;
  readonly requestId: string | undefined;
  readonly instance: string | undefined;
  progress: number | undefined;
  #step = 'start';
  #undo: Undo[] = [];
  #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly #started = performance.now();
  readonly #marks = new Map<string, number>();

  /**
   * @param init.deadlineMs milliseconds after which the signal aborts with DEADLINE; none if absent
   * @param init.parent signal whose abort aborts this operation too
   */
  constructor(init: { name: string; log: Log; requestId?: string; instance?: string; deadlineMs?: number; parent?: AbortSignal }) {
    this.name = init.name;
    this.requestId = init.requestId;
    this.instance = init.instance;
    this.log = init.log.child({ op: init.name, ...(init.requestId ? { req: init.requestId } : {}), ...(init.instance ? { instance: init.instance } : {}) });
    this.signal = init.parent ? AbortSignal.any([init.parent, this.#abort.signal]) : this.#abort.signal;
    if (init.deadlineMs !== undefined) {
      const seconds = init.deadlineMs / 1000;
      this.#timer = setTimeout(() => this.abort(new HaulierError('DEADLINE', { what: init.name, seconds })), init.deadlineMs);
      this.#timer.unref();
    }
  }

  /** Names the step that begins, for progress, log and fault points. */
  step(name: string): void {
    this.throwIfAborted();
    this.mark(name);
  }

  /** As `step`, for work that goes on although the operation was given up. */
  mark(name: string): void {
    this.#step = name;
    this.#marks.set(name, this.ageMs);
    this.log.debug({ step: name }, 'step');
  }

  /** Milliseconds since its start. */
  get ageMs(): number {
    return Math.round(performance.now() - this.#started);
  }

  /** When each step last began, in milliseconds since the start. Steps that run side by side interleave. */
  get steps(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#marks);
  }

  /** Milliseconds from the begin of one step to that of another; undefined if one of them has not begun. */
  between(first: string, second: string): number | undefined {
    const from = this.#marks.get(first);
    const to = this.#marks.get(second);
    return from === undefined || to === undefined ? undefined : to - from;
  }

  /** Pushes what takes the step just done back. Undone last in, first out. */
  undo(what: string, run: Undo['run']): void {
    this.#undo.push({ what, run });
  }

  /** Forgets the undo stack: what was done stays. */
  commit(): void {
    this.#undo = [];
  }

  /** Runs the undo stack; a failing undo is logged and never thrown. */
  async rollback(): Promise<void> {
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        await undo.run();
      } catch (error) {
        this.log.error({ err: error }, `cannot undo: ${undo.what}: ${messageOf(error)}`);
      }
    }
  }

  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  throwIfAborted(): void {
    if (this.signal.aborted) throw this.signal.reason;
  }

  /** Runs `work`; on any error the undo stack is run and the error goes on, the system's own of a full disk as DISK_FULL. */
  async run<T>(work: (operation: this) => Promise<T>): Promise<T> {
    try {
      const result = await work(this);
      this.commit();
      return result;
    } catch (error) {
      await this.rollback();
      throw asDiskFull(error, (error as NodeJS.ErrnoException | undefined)?.path ?? 'a disk of this host');
    } finally {
      if (this.#timer) clearTimeout(this.#timer);
    }
  }

  view(): OperationView {
    return { id: this.id, name: this.name, requestId: this.requestId, instance: this.instance, step: this.#step, progress: this.progress, ageMs: performance.now() - this.#started };
  }
}

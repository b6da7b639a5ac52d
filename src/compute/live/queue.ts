/** Live migrations away from this host: so many at once (`max_concurrent_live_migrations`), the others wait; each can be cancelled, and hurried. */
import { HaulierError } from '../../base/errors.js';

/** One of them. */
export interface LiveEntry {
  /** Aborted by a cancel. */
  readonly signal: AbortSignal;
  /** Aborted when somebody wants it over with. */
  readonly force: AbortSignal;
  /** Waits for a slot. @throws the reason of the cancel */
  turn(): Promise<void>;
  /** Gives the slot to the next one; the entry stays. */
  release(): void;
  /** Nothing is left of it in the queue. */
  end(): void;
}

class Entry implements LiveEntry {
  readonly #cancel = new AbortController();
  readonly #force = new AbortController();
  readonly ended: Promise<void>;
  #resolve!: () => void;
  holds = false;

  constructor(private readonly queue: LiveQueue, private readonly uuid: string, readonly migration: number | undefined) {
    this.ended = new Promise((resolve) => { this.#resolve = resolve; });
  }
  get signal(): AbortSignal { return this.#cancel.signal; }
  get force(): AbortSignal { return this.#force.signal; }
  turn(): Promise<void> { return this.queue.wait(this); }
  release(): void { this.queue.free(this); }
  end(): void {
    this.release();
    this.queue.drop(this.uuid, this);
    this.#resolve();
  }
  cancel(reason: Error): void { this.#cancel.abort(reason); }
  hurry(reason: Error): void { this.#force.abort(reason); }
}

/** The queue of one host. */
export class LiveQueue {
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: { readonly entry: Entry; readonly go: () => void }[] = [];
  #free: number;
  #closed: Error | undefined;

  /** @param limit 0: none */
  constructor(limit: number) {
    this.#free = limit > 0 ? limit : Infinity;
  }

  /** Enters at the end. @param migration its record's id @throws INSTANCE_BUSY if the instance is in it already */
  enter(uuid: string, migration?: number): LiveEntry {
    if (this.#entries.has(uuid)) throw new HaulierError('INSTANCE_BUSY', { instance: uuid, operation: 'live_migration' });
    const entry = new Entry(this, uuid, migration);
    this.#entries.set(uuid, entry);
    if (this.#closed) entry.cancel(this.#closed);
    return entry;
  }

  /** Cancels the instance's migration. @param migration only that one @returns its end, which may be another one than asked for; undefined if there is none */
  cancel(uuid: string, reason: Error, migration?: number): Promise<void> | undefined {
    const entry = this.#entries.get(uuid);
    if (!entry || (migration !== undefined && entry.migration !== migration)) return undefined;
    entry.cancel(reason);
    return entry.ended;
  }

  /** Wants the instance's migration over with. @returns false if none runs */
  hurry(uuid: string, reason: Error): boolean {
    const entry = this.#entries.get(uuid);
    if (!entry?.holds) return false;
    entry.hurry(reason);
    return true;
  }

  /** The service stops: what waits is cancelled, and so is what comes. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const { entry } of [...this.#waiting]) entry.cancel(reason);
  }

  async wait(entry: Entry): Promise<void> {
    entry.signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else {
      await new Promise<void>((resolve, reject) => {
        const waiter = { entry, go: resolve };
        this.#waiting.push(waiter);
        entry.signal.addEventListener('abort', () => {
          const place = this.#waiting.indexOf(waiter);
          if (place >= 0) this.#waiting.splice(place, 1);
          reject(entry.signal.reason as Error);
        }, { once: true });
      });
    }
    entry.holds = true;
  }

  free(entry: Entry): void {
    if (!entry.holds) return;
    entry.holds = false;
    const next = this.#waiting.shift();
    if (next) next.go();
    else this.#free++;
  }

  drop(uuid: string, entry: Entry): void {
    if (this.#entries.get(uuid) === entry) this.#entries.delete(uuid);
  }
}

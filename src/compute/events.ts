/**
 * External events (contract C.14): waits that are registered before the action that triggers the event. Events are handled
 * beside the instance's lock, since its holder is the one who waits.
 */
import { HaulierError } from '../base/errors.js';
import { Timings } from '../base/timings.js';

/** How an awaited event ended. */
export type EventOutcome = 'completed' | 'failed' | 'in-progress';

interface Waiter {
  readonly resolve: (outcome: EventOutcome) => void;
  readonly reject: (reason: Error) => void;
}

/** A registered wait. */
export interface EventWait {
  /** Resolves with the event's status. Rejects when the wait is cancelled. */
  readonly outcome: Promise<EventOutcome>;
  /** Forgets the wait. */
  drop(): void;
}

const keyOf = (instance: string, name: string, tag: string): string => `${instance}/${name}-${tag}`;

/** Waits by instance, event name and tag. */
export class EventWaiters {
  readonly #waiters = new Map<string, Set<Waiter>>();
  #closed: string | undefined;
  /** How long each was waited for, by its name; `given up` if it did not come. */
  readonly waited = new Timings();

  /** Registers a wait for one event. After `close` it is one that has been cancelled. */
  expect(instance: string, name: string, tag: string): EventWait {
    const key = keyOf(instance, name, tag);
    let waiter!: Waiter;
    const outcome = new Promise<EventOutcome>((resolve, reject) => { waiter = { resolve, reject }; });
    const began = performance.now();
    let over = false;
    const end = (result: string): void => {
      if (!over) this.waited.add(name, result, (performance.now() - began) / 1000);
      over = true;
    };
    outcome.then(end, () => end('given up')); // whoever awaits it sees it; a dropped wait must not end the process
    const set = this.#waiters.get(key) ?? new Set();
    set.add(waiter);
    this.#waiters.set(key, set);
    if (this.#closed !== undefined) this.#cancel(key, this.#closed, 'stop');
    return { outcome, drop: () => { this.#remove(key, waiter); waiter.reject(new Error('nobody waits')); } };
  }

  /** Wakes the waiters of an event. @returns how many there were */
  deliver(instance: string, name: string, tag: string, outcome: EventOutcome): number {
    const key = keyOf(instance, name, tag);
    const set = this.#waiters.get(key);
    this.#waiters.delete(key);
    for (const waiter of set ?? []) waiter.resolve(outcome);
    return set?.size ?? 0;
  }

  /** Ends every wait of an instance, as a delete does. */
  cancel(instance: string, reason: string): void {
    for (const key of [...this.#waiters.keys()]) if (key.startsWith(`${instance}/`)) this.#cancel(key, reason, 'delete');
  }

  /** Ends all waits, and those that are registered later: the service stops, and nobody brings events any more. */
  close(reason: string): void {
    this.#closed = reason;
    for (const key of [...this.#waiters.keys()]) this.#cancel(key, reason, 'stop');
  }

  #cancel(key: string, reason: string, by: 'delete' | 'stop'): void {
    const set = this.#waiters.get(key);
    this.#waiters.delete(key);
    for (const waiter of set ?? []) waiter.reject(new HaulierError('CANCELLED', { what: `waiting for ${key.slice(key.indexOf('/') + 1)}`, reason, by }));
  }

  #remove(key: string, waiter: Waiter): void {
    const set = this.#waiters.get(key);
    set?.delete(waiter);
    if (set?.size === 0) this.#waiters.delete(key);
  }
}

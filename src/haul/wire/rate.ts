/** The bandwidth that all hauls of this host share. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Pauses shorter than this are saved up: timers are no finer. */
const graceMs = 5;

/** Lets bytes through at a steady rate. */
export class RateLimit {
  #free = 0;
  /** 0: no limit. */
  readonly bytesPerMs: number;

  /** @param bytesPerSecond 0: no limit */
  constructor(bytesPerSecond: number) {
    this.bytesPerMs = bytesPerSecond / 1000;
  }

  /** Waits until so many bytes may go. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerMs <= 0) return;
    const now = performance.now();
    const from = Math.max(this.#free, now);
    this.#free = from + bytes / this.bytesPerMs;
    const wait = from - now;
    if (wait > graceMs) await sleep(wait, undefined, signal ? { signal } : {});
  }
}

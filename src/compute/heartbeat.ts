/** The Service record: made at the start, its report count raised as a sign of life (contract D.2, D.3). */
import type { Log } from '../base/log.js';
import { isNova } from './failure-report.js';
import { adminContext } from '../nova/context.js';
import { beat, createService, findService, updateServiceVersion } from '../nova/service.js';
import type { NovaObject } from '../nova/object.js';
import type { Conductor } from '../nova/types.js';

const firstBeatMs = 5000;

/** Keeps the record alive. */
export class Heartbeat {
  #record: NovaObject | undefined;
  #timer: NodeJS.Timeout | undefined;
  #beating = false;
  /** The control plane's clock at `performance.now()` 0, milliseconds since 1970. */
  #cloudOrigin: number | undefined;
  /** When the last beat was stored, `performance.now()`; undefined before the first. */
  lastBeat: number | undefined;

  constructor(private readonly conductor: Conductor, private readonly host: string, private readonly intervalSeconds: number, private readonly log: Log) {}

  /** Takes the record that was found, or makes one. */
  async register(found: NovaObject | undefined): Promise<void> {
    this.#record = found ?? (await createService(this.conductor, adminContext(), this.host));
    await updateServiceVersion(this.conductor, adminContext(), this.#record);
  }

  get service(): { readonly id: number; readonly disabled: boolean } {
    return { id: this.#record?.number('id') ?? 0, disabled: this.#record?.get('disabled') === true };
  }

  /**
   * What the control plane's clock says, milliseconds since 1970; undefined before the first beat. Times out of the database are its, and what
   * is this host's clock's business is none of theirs.
   */
  get cloudNow(): number | undefined {
    return this.#cloudOrigin === undefined ? undefined : this.#cloudOrigin + performance.now();
  }

  start(): void {
    const next = (ms: number): void => {
      this.#timer = setTimeout(() => {
        next(this.intervalSeconds * 1000);
        void this.#beat();
      }, ms);
    };
    next(Math.min(firstBeatMs, this.intervalSeconds * 1000));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** The record as it is now: `disabled` is the API's to change. */
  async refresh(): Promise<void> {
    const found = await findService(this.conductor, adminContext(), this.host);
    if (found) this.#record = found;
  }

  async #beat(): Promise<void> {
    if (!this.#record || this.#beating) return; // one that hangs in an outage goes out when the broker is back
    this.#beating = true;
    try {
      await beat(this.conductor, adminContext(), this.#record);
      this.lastBeat = performance.now();
      const at = Date.parse(this.#record.text('last_seen_up') ?? '');
      if (Number.isFinite(at)) this.#cloudOrigin = at - this.lastBeat;
    } catch (error) {
      this.log.warn({ err: error }, 'heartbeat not stored');
      if (isNova(error, 'ServiceNotFound')) await this.#registerAgain();
    } finally {
      this.#beating = false;
    }
  }

  async #registerAgain(): Promise<void> {
    try {
      this.log.error('the service record was deleted; making a new one');
      await this.register(await findService(this.conductor, adminContext(), this.host));
    } catch (error) {
      this.log.error({ err: error }, 'cannot register again');
    }
  }
}

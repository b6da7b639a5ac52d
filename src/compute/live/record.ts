/** The `Migration` of a live migration while it runs: one save after the other, the figures of a haul no more often than every second. */
import type { Compute } from '../compute.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';
import type { MigrationStatus } from '../../nova/states.js';
import type { Amount, HaulProgress, HaulResult } from '../../haul/progress.js';

const spacingMs = 1000;

/** Share of the memory that is over, in percent, as Nova's libvirt driver has it in `instance.progress`. */
export function percent({ total, remaining }: Amount): number {
  return total > 0 ? Math.max(0, Math.min(100, 100 - Math.round((100 * remaining) / total))) : 0;
}

/** See above. */
export class MigrationRecord {
  #saves: Promise<void> = Promise.resolve();
  #latest: HaulProgress | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly compute: Compute, private readonly context: WireContext, private readonly migration: NovaObject, private readonly instance: NovaObject) {}

  /** Saves a status. @throws what the conductor says */
  async status(status: MigrationStatus): Promise<void> {
    await this.#save(async () => {
      this.migration.set('status', status);
      await this.compute.conductor.objectCall(this.context, this.migration, 'save');
    });
  }

  /** Takes a look at the haul down, soon. */
  note(progress: HaulProgress): void {
    this.#latest = progress;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#figures().catch((error: unknown) => this.compute.log.warn({ err: error }, `cannot save how far a live migration is: ${messageOf(error)}`));
    }, spacingMs);
    this.#timer.unref();
  }

  /** No more looks. @param result of a haul that has succeeded: nothing remains. Saved with the next status */
  async finish(result?: HaulResult): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#latest = undefined;
    await this.#saves.catch(() => undefined);
    if (!result) return;
    for (const [what, bytes] of [['memory', result.memoryBytes], ['disk', result.diskBytes]] as const) this.#set(what, { total: bytes, processed: bytes, remaining: 0 });
  }

  async #figures(): Promise<void> {
    const progress = this.#latest;
    if (!progress) return;
    await this.#save(async () => {
      this.#set('memory', progress.memory);
      this.#set('disk', progress.disk);
      await this.compute.conductor.objectCall(this.context, this.migration, 'save');
      const now = percent(progress.memory);
      if (this.instance.number('progress') === now) return;
      this.instance.set('progress', now);
      await this.compute.conductor.saveInstance(this.context, this.instance);
    });
  }

  #set(what: 'memory' | 'disk', amount: Amount): void {
    for (const part of ['total', 'processed', 'remaining'] as const) this.migration.set(`${what}_${part}`, amount[part]);
  }

  async #save(work: () => Promise<void>): Promise<void> {
    const mine = this.#saves.catch(() => undefined).then(work);
    this.#saves = mine;
    await mine;
  }
}

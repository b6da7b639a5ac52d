/** Waiting for neutron to wire the ports (contract F.4): registered before plugging, awaited before the container's PID 1 runs. */
import type { Compute } from '../compute.js';
import type { EventWait } from '../events.js';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { VifInfo } from '../../nova/network-info.js';

/** Waits for `network-vif-plugged` of several ports. */
export class VifWait {
  readonly #waits: { readonly port: string; readonly wait: EventWait }[] = [];

  constructor(private readonly compute: Compute, private readonly uuid: string) {}

  /** Registers the wait for a port that is about to be plugged: unless it is active already or the operator waits for none. */
  expect(vif: Pick<VifInfo, 'id' | 'active'>): void {
    if (vif.active || this.compute.settings.vifPluggingTimeout <= 0) return;
    this.#waits.push({ port: vif.id, wait: this.compute.events.expect(this.uuid, 'network-vif-plugged', vif.id) });
  }

  /**
   * Resolves when all ports are wired.
   * @throws VIF_PLUG_TIMEOUT, VIF_PLUG_FAILED if plugging is fatal; otherwise it is only logged. Abort and cancel are thrown always.
   */
  async ready(operation: Operation): Promise<void> {
    const seconds = this.compute.settings.vifPluggingTimeout;
    const give = async ({ port, wait }: { port: string; wait: EventWait }): Promise<void> => {
      let timer: NodeJS.Timeout | undefined;
      let onAbort: (() => void) | undefined;
      const end = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new HaulierError('VIF_PLUG_TIMEOUT', { port, seconds })), seconds * 1000);
        onAbort = () => reject(operation.signal.reason as Error);
        operation.signal.addEventListener('abort', onAbort, { once: true });
      });
      try {
        operation.throwIfAborted();
        if ((await Promise.race([wait.outcome, end])) === 'failed') throw new HaulierError('VIF_PLUG_FAILED', { reason: `neutron could not wire port ${port}` });
      } finally {
        clearTimeout(timer);
        if (onAbort) operation.signal.removeEventListener('abort', onAbort);
        wait.drop();
      }
    };
    try {
      await Promise.all(this.#waits.map(give));
    } catch (error) {
      const tolerable = error instanceof HaulierError && (error.code === 'VIF_PLUG_TIMEOUT' || error.code === 'VIF_PLUG_FAILED');
      if (!tolerable || this.compute.settings.vifPluggingIsFatal) throw error;
      operation.log.warn({ err: error }, 'starting without the wired port, as vif_plugging_is_fatal is off');
    }
  }

  /** Forgets what is still awaited. */
  drop(): void {
    for (const { wait } of this.#waits) wait.drop();
  }
}

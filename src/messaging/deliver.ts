/** Sends to a queue that may be missing for a while, as all queues are after a broker restart. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Publication, Publisher } from './publisher.js';
import { MessageUndeliverable } from './types.js';

/** Milliseconds between tries (amqpdriver.py `reply`). */
const retryEveryMs = 250;

/**
 * Publishes as mandatory, and again every 0.25 s while no queue takes it.
 * @param retryMs for how long; Infinity: until the publication's signal aborts
 * @throws MessageUndeliverable afterwards; otherwise what Publisher.publish throws
 */
export async function deliver(publisher: Publisher, publication: Publication, retryMs: number): Promise<void> {
  const { signal } = publication;
  for (const until = performance.now() + retryMs; ;) {
    try {
      await publisher.publish({ ...publication, mandatory: true });
      return;
    } catch (error) {
      if (!(error instanceof MessageUndeliverable) || performance.now() >= until) throw error;
      await sleep(retryEveryMs, undefined, { signal }).catch(() => { throw signal?.reason; });
    }
  }
}

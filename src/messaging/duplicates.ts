/** Short memories: of messages already seen, and of reply queues that are gone (contract A.4). */

const rememberedIds = 16;
const rememberedQueues = 200;

/** The last 16 message ids of one listener (oslo_messaging/_drivers/amqp.py `_MsgIdCache`). */
export class DuplicateCheck {
  readonly #ids: string[] = [];

  /** True if `id` was among the last 16; otherwise it is remembered. A message without id is never a duplicate. */
  seen(id: string | undefined): boolean {
    if (id === undefined) return false;
    if (this.#ids.includes(id)) return true;
    this.#ids.push(id);
    if (this.#ids.length > rememberedIds) this.#ids.shift();
    return false;
  }
}

/**
 * Reply queues whose owner is gone, remembered for a minute so that many answers to one dead caller do not wait a minute each
 * (oslo_messaging/_drivers/amqpdriver.py `ObsoleteReplyQueuesCache`).
 */
export class ObsoleteQueues {
  readonly #until = new Map<string, number>();
  /** @param ttlMs how long a queue stays obsolete; @param now milliseconds of a steady clock */
  constructor(private readonly ttlMs = 60_000, private readonly now: () => number = () => performance.now()) {}

  add(queue: string): void {
    this.#until.delete(queue);
    this.#until.set(queue, this.now() + this.ttlMs);
    const oldest = this.#until.keys().next();
    if (this.#until.size > rememberedQueues && !oldest.done) this.#until.delete(oldest.value);
  }

  has(queue: string): boolean {
    const until = this.#until.get(queue);
    if (until === undefined) return false;
    if (until > this.now()) return true;
    this.#until.delete(queue);
    return false;
  }
}

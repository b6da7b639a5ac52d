/** The reply queue of this process and who waits for what (contract A.2, A.3, A.6; amqpdriver.py `ReplyWaiter`). */
import type { Log } from '../base/log.js';
import { messageOf } from '../base/errors.js';
import { consumeAll, StreamOffsets, type Delivery } from './consumer.js';
import { DuplicateCheck } from './duplicates.js';
import { bodyOf, decodeEnvelope } from './envelope.js';
import { decodeFailure } from './failure.js';
import { Link, type LinkState } from './link.js';
import { decodeReply, type WireReply } from './message.js';
import type { Settings } from './options.js';
import { replyConsumer } from './topology.js';

/** One call that waits for its answer. */
export class Waiter {
  readonly answer: Promise<unknown>;
  #resolve!: (result: unknown) => void;
  #reject!: (reason: unknown) => void;
  #result: unknown = null;
  #timer: NodeJS.Timeout | undefined;

  /** @param monitor the call-monitor time-out: without a sign of life for `ms` the call fails with what `error` makes */
  constructor(private readonly monitor?: { readonly ms: number; readonly error: () => Error }) {
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.answer.catch(() => undefined); // it may fail before anyone awaits it
    this.#watch();
  }

  /** Takes a reply: a failure or the end settles it, a value is kept, an empty one without end is a sign of life. */
  take(reply: WireReply): void {
    if (reply.failure !== null) this.fail(decodeFailure(reply.failure));
    else if (reply.result !== null) this.#result = reply.result;
    else if (!reply.ending) this.#watch();
    if (reply.ending) this.#resolve(this.#result);
  }

  fail(reason: unknown): void {
    this.#reject(reason);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #watch(): void {
    clearTimeout(this.#timer);
    if (this.monitor) this.#timer = setTimeout(() => this.fail(this.monitor?.error()), this.monitor.ms);
  }
}

/** The reply queue. It is declared on the first call and keeps its name through every reconnect. */
export class Replies {
  readonly #consumer;
  readonly #waiters = new Map<string, Waiter>();
  readonly #duplicates = new DuplicateCheck();
  #link: Link | undefined;

  constructor(private readonly settings: Settings, private readonly log: Log) {
    this.#consumer = replyConsumer(settings.rabbit);
  }

  get queue(): string {
    return this.#consumer.queue.name;
  }

  /** Undefined before the first call. */
  get state(): LinkState | undefined {
    return this.#link?.state;
  }

  /** Resolves when the queue is there and consumed. @throws the signal's reason; CANCELLED when closed */
  async ready(signal: AbortSignal): Promise<void> {
    if (!this.#link) {
      const offsets = new StreamOffsets();
      const link: Link = new Link('replies', this.settings, this.log, async (model) => {
        await consumeAll(model, {
          consumers: [this.#consumer],
          rabbit: this.settings.rabbit,
          log: this.log,
          onDelivery: (delivery) => this.#take(delivery),
          onLost: (reason) => link.reset(model, reason),
        }, offsets);
      });
      this.#link = link;
      link.start();
    }
    await this.#link.whenUp(signal);
  }

  add(messageId: string, waiter: Waiter): void {
    this.#waiters.set(messageId, waiter);
  }

  remove(messageId: string): void {
    this.#waiters.get(messageId)?.stop();
    this.#waiters.delete(messageId);
  }

  async close(): Promise<void> {
    await this.#link?.close();
  }

  #take({ channel, message }: Delivery): void {
    try {
      channel.ack(message);
      const reply = decodeReply(decodeEnvelope(bodyOf(message)));
      if (this.#duplicates.seen(reply.uniqueId)) return;
      const waiter = this.#waiters.get(reply.messageId);
      if (waiter) waiter.take(reply);
      else this.log.info({ messageId: reply.messageId }, 'reply to a call that nobody waits for any more');
    } catch (error) {
      this.log.warn(`reply dropped: ${messageOf(error)}`);
    }
  }
}

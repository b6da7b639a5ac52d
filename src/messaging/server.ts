/** The RPC server: consumes `T`, `T.H` and the fanouts of each topic; what becomes of each request is in dispatcher.ts. */
import type { Channel } from 'amqplib';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AnswerDesk } from './answer.js';
import { consumeAll, StreamOffsets } from './consumer.js';
import { Dispatcher } from './dispatcher.js';
import { Link, type LinkState } from './link.js';
import { serverConsumers, type ConsumerSpec } from './topology.js';
import type { Endpoint, Failure, RpcServer } from './types.js';

/** What a server serves. */
export interface ServeOptions {
  /** Topics, as `compute` and `compute-alt`. */
  readonly topics: readonly string[];
  /** This host's name on the bus. */
  readonly server: string;
  readonly endpoints: readonly Endpoint[];
  /** Methods that never wait for a free slot: external events, which a handler in a slot may be waiting for (contract K.32). */
  readonly unlimited?: ReadonlySet<string>;
  /** Requests handled at once; `executor_thread_pool_size` if absent, 0 for no limit. */
  readonly concurrency?: number;
  /** Makes the failure of what a handler threw; `toFailure` of failure.ts if absent. */
  readonly toFailure?: (error: unknown) => Failure;
  /** Gives up waiting for the broker at the start. */
  readonly signal?: AbortSignal;
}

/** A server; `start` before use. */
export class AmqpRpcServer implements RpcServer {
  readonly #consumers: readonly ConsumerSpec[];
  readonly #dispatcher: Dispatcher;
  readonly #link: Link;
  #channel: Channel | undefined;
  #stopping = false;

  constructor(private readonly desk: AnswerDesk, private readonly options: ServeOptions) {
    const { settings, log } = desk;
    this.#consumers = options.topics.flatMap((topic) => serverConsumers(settings.controlExchange, topic, options.server, settings.rabbit));
    this.#dispatcher = new Dispatcher(desk, options);
    const offsets = new StreamOffsets();
    this.#link = new Link(`server ${options.topics.join(' ')}`, settings, log, async (model) => {
      this.#channel = await consumeAll(model, {
        consumers: this.#consumers,
        rabbit: settings.rabbit,
        log,
        onDelivery: (delivery) => this.#dispatcher.receive(delivery),
        onLost: (reason) => { if (!this.#stopping) this.#link.reset(model, reason); },
      }, offsets);
    });
  }

  get state(): LinkState {
    return this.#link.state;
  }

  get running(): number {
    return this.#dispatcher.running;
  }

  /** Resolves when every queue is declared and consumed. @throws the signal's reason; CANCELLED when closed */
  async start(): Promise<void> {
    this.#link.start();
    await this.#link.whenUp(this.options.signal);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#dispatcher.close();
    await this.#disconnect();
    await this.#dispatcher.drain(graceMs);
  }

  /** Ends consuming: what was not acknowledged goes back to its queue. */
  async #disconnect(): Promise<void> {
    const channel = this.#channel;
    if (channel && this.#link.state.state === 'up') {
      const goodbye = async (): Promise<void> => {
        for (const { queue, ownedQueue } of this.#consumers) if (ownedQueue) await channel.deleteQueue(queue.name); // as impl_rabbit.py `close`
        // its goodbye comes after the acknowledgements; that of the connection could overtake them
        await channel.close();
      };
      await Promise.race([goodbye().catch(() => undefined), sleep(2000, undefined, { ref: false })]);
    }
    await this.#link.close();
  }
}

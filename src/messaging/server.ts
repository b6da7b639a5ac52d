/**
 * The RPC server: consumes `T`, `T.H` and the fanouts of each topic, hands requests to endpoints, answers calls.
 *
 * A request is acknowledged right before it is dispatched (contract A.4: at most once). One that waits for a free slot is
 * not acknowledged yet: if the service dies or stops meanwhile it comes again at the next start.
 */
import type { Channel } from 'amqplib';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, messageOf } from '../base/errors.js';
import { Semaphore } from '../base/lock.js';
import { sendReply, startMonitor, type AnswerDesk, type Outcome } from './answer.js';
import { consumeAll, StreamOffsets, type Delivery } from './consumer.js';
import { DuplicateCheck } from './duplicates.js';
import { bodyOf, decodeEnvelope } from './envelope.js';
import { toFailure } from './failure.js';
import { Link, type LinkState } from './link.js';
import { decodeRequest, type WireRequest } from './message.js';
import { serverConsumers, type ConsumerSpec } from './topology.js';
import { RemoteFailure, type Endpoint, type Failure, type RpcServer } from './types.js';
import { chooseEndpoint } from './version.js';

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

/** After an abort handlers have this long to end and answer. */
const lastWordsMs = 1000;

/** A server; `start` before use. */
export class AmqpRpcServer implements RpcServer {
  readonly #consumers: readonly ConsumerSpec[];
  /** By topic: each topic's queues are one listener of a stock service. */
  readonly #duplicates: ReadonlyMap<string, DuplicateCheck>;
  readonly #slots: Semaphore;
  readonly #abort = new AbortController();
  readonly #link: Link;
  readonly #work = new Set<Promise<void>>();
  #channel: Channel | undefined;
  #stopping = false;

  constructor(private readonly desk: AnswerDesk, private readonly options: ServeOptions) {
    const { settings, log } = desk;
    this.#consumers = options.topics.flatMap((topic) => serverConsumers(settings.controlExchange, topic, options.server, settings.rabbit));
    this.#duplicates = new Map(options.topics.map((topic) => [topic, new DuplicateCheck()]));
    this.#slots = new Semaphore(options.concurrency ?? settings.concurrency);
    const offsets = new StreamOffsets();
    this.#link = new Link(`server ${options.topics.join(' ')}`, settings, log, async (model) => {
      this.#channel = await consumeAll(model, {
        consumers: this.#consumers,
        rabbit: settings.rabbit,
        log,
        onDelivery: (delivery) => this.#receive(delivery),
        onLost: (reason) => { if (!this.#stopping) this.#link.reset(model, reason); },
      }, offsets);
    });
  }

  get state(): LinkState {
    return this.#link.state;
  }

  get running(): number {
    return this.#work.size;
  }

  /** Resolves when every queue is declared and consumed. @throws the signal's reason; CANCELLED when closed */
  async start(): Promise<void> {
    this.#link.start();
    await this.#link.whenUp(this.options.signal);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    await this.#disconnect();
    await Promise.race([this.#idle(), sleep(graceMs, undefined, { ref: false })]);
    if (this.#work.size === 0) return;
    this.#abort.abort(new HaulierError('CANCELLED', { what: 'request', reason: 'the service stops' }));
    await Promise.race([this.#idle(), sleep(lastWordsMs, undefined, { ref: false })]);
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

  async #idle(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  #receive(delivery: Delivery): void {
    const receivedAt = performance.now();
    let request: WireRequest;
    try {
      request = decodeRequest(decodeEnvelope(bodyOf(delivery.message)));
    } catch (error) {
      this.desk.log.error({ queue: delivery.consumer.queue.name }, `message dropped: ${messageOf(error)}`);
      try {
        delivery.channel.reject(delivery.message, false);
      } catch {
        // the channel is closed: the broker sends it again, and it is dropped then
      }
      return;
    }
    const unlimited = this.options.unlimited?.has(request.method) ?? false;
    const handle = (): Promise<void> => this.#accept(delivery, request, receivedAt);
    (unlimited ? handle() : this.#slots.use(handle)).catch((error: unknown) => this.desk.log.error({ err: error }, 'request lost'));
  }

  /** Decides whether a request is still wanted, acknowledges it and handles it. Resolves when the handler is done. */
  async #accept({ channel, message, consumer }: Delivery, request: WireRequest, receivedAt: number): Promise<void> {
    if (this.#stopping) return;
    const { log } = this.desk;
    const about = { method: request.method, messageId: request.reply?.messageId };
    try {
      channel.ack(message);
    } catch (error) {
      log.warn(about, `request discarded, for it cannot be acknowledged; it will come again: ${messageOf(error)}`);
      return;
    }
    const expiresAt = receivedAt + expirationOf(message.properties.expiration);
    if (performance.now() > expiresAt) {
      log.warn(about, 'request dropped: its caller has given up');
      return;
    }
    if (this.#duplicates.get(consumer.topic)?.seen(request.uniqueId)) {
      log.warn(about, 'duplicate request dropped');
      return;
    }
    const outcome = this.#handle(request, receivedAt);
    const { reply } = request;
    // the reply may have to wait for its queue: it holds no slot then
    const work: Promise<void> = outcome.then((done) => (reply ? sendReply(this.desk, reply, done, expiresAt) : undefined)).finally(() => this.#work.delete(work));
    this.#work.add(work);
    await outcome;
  }

  async #handle(request: WireRequest, receivedAt: number): Promise<Outcome> {
    const { method, namespace, version, args, context, reply } = request;
    let known = false; // names are kept for good: only those of methods that there are
    const note = (result: string): void => { if (known) this.desk.requests.add(method, result, (performance.now() - receivedAt) / 1000); };
    const stopMonitor = reply ? startMonitor(this.desk, reply) : undefined;
    try {
      const endpoint = chooseEndpoint(this.options.endpoints, request);
      known = true;
      const result = await endpoint.handle({ method, namespace, version, args, context, isCall: reply !== undefined, signal: this.#abort.signal });
      note('done');
      return { result };
    } catch (error) {
      note('failed');
      const level = error instanceof HaulierError || error instanceof RemoteFailure ? 'info' : 'error';
      this.desk.log[level]({ err: error, method, req: context['request_id'] }, `${method} failed: ${messageOf(error)}`);
      return { failure: this.#failure(error) };
    } finally {
      stopMonitor?.();
    }
  }

  #failure(error: unknown): Failure {
    try {
      return (this.options.toFailure ?? toFailure)(error);
    } catch (own) {
      return toFailure(own);
    }
  }
}

function expirationOf(value: unknown): number {
  const ms = typeof value === 'string' ? Number(value) : NaN;
  return Number.isFinite(ms) && ms > 0 ? ms : Infinity;
}

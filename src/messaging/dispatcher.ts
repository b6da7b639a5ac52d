/**
 * What happens to a request once it is delivered: taken apart, acknowledged, checked for being late or a duplicate, handed to the
 * endpoint that fits, answered. Apart from the connection, so that it can be tried with any message.
 *
 * A request is acknowledged right before it is dispatched (contract A.4: at most once). One that waits for a free slot is
 * not acknowledged yet: if the service dies or stops meanwhile it comes again at the next start.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, messageOf } from '../base/errors.js';
import { Semaphore } from '../base/lock.js';
import { hideSecret } from '../base/log.js';
import { sendReply, startMonitor, type AnswerDesk, type Outcome } from './answer.js';
import type { Delivery } from './consumer.js';
import { DuplicateCheck } from './duplicates.js';
import { bodyOf, decodeEnvelope } from './envelope.js';
import { toFailure } from './failure.js';
import { decodeRequest, type WireRequest } from './message.js';
import type { ServeOptions } from './server.js';
import { RemoteFailure, type Failure } from './types.js';
import { chooseEndpoint } from './version.js';

/** After an abort handlers have this long to end and answer. */
const lastWordsMs = 1000;

/** Handles requests of one server. */
export class Dispatcher {
  /** By topic: each topic's queues are one listener of a stock service. */
  readonly #duplicates: ReadonlyMap<string, DuplicateCheck>;
  readonly #slots: Semaphore;
  readonly #abort = new AbortController();
  readonly #work = new Set<Promise<void>>();
  #closed = false;

  constructor(private readonly desk: AnswerDesk, private readonly options: ServeOptions) {
    this.#duplicates = new Map(options.topics.map((topic) => [topic, new DuplicateCheck()]));
    this.#slots = new Semaphore(options.concurrency ?? desk.settings.concurrency);
  }

  /** Requests being handled now. */
  get running(): number {
    return this.#work.size;
  }

  /** Takes no more requests: those that wait for a slot come again at the next start. */
  close(): void {
    this.#closed = true;
  }

  /** Lets what runs end, for `graceMs`; then aborts it. */
  async drain(graceMs: number): Promise<void> {
    await Promise.race([this.idle(), sleep(graceMs, undefined, { ref: false })]);
    if (this.#work.size === 0) return;
    this.#abort.abort(new HaulierError('CANCELLED', { what: 'request', reason: 'the service stops' }));
    await Promise.race([this.idle(), sleep(lastWordsMs, undefined, { ref: false })]);
  }

  /** Resolves when nothing is handled. */
  async idle(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Never throws. */
  receive(delivery: Delivery): void {
    const receivedAt = performance.now();
    let request: WireRequest;
    try {
      request = decodeRequest(decodeEnvelope(bodyOf(delivery.message)));
      hideSecret(request.context['auth_token']);
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
    if (this.#closed) return;
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

/** Calls, casts and fanouts (oslo_messaging/rpc/client.py, amqpdriver.py `_send`). */
import { Timings } from '../base/timings.js';
import { deliver } from './deliver.js';
import { encodeEnvelope } from './envelope.js';
import { encodeRequest, hexId, type ReplyAddress } from './message.js';
import type { Settings } from './options.js';
import type { Publication, Publisher } from './publisher.js';
import { Waiter, type Replies } from './replies.js';
import { controlExchange, fanoutExchange } from './topology.js';
import { MessagingTimeout, RemoteFailure, type CallOptions, type CastOptions, type RpcClient, type Target, type WireContext } from './types.js';

type Args = Record<string, unknown>;

/** A call that waited less than this for the broker carries its full time-out as expiration, as a stock sender's does. */
const noWaitMs = 100;

/** The client over one publisher and one reply queue. */
export class AmqpRpcClient implements RpcClient {
  constructor(private readonly settings: Settings, private readonly publisher: Publisher, private readonly replies: Replies, private readonly timings = new Timings()) {}

  async call(target: Target, method: string, args: Args, context: WireContext, options: CallOptions = {}): Promise<unknown> {
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? this.settings.callTimeoutMs;
    const { monitorMs } = options;
    const began = performance.now();
    const noAnswer = (ms: number): Error => new MessagingTimeout(method, routingKeyOf(target), ms / 1000);
    const messageId = hexId();
    const waiter = new Waiter(monitorMs === undefined ? undefined : { ms: monitorMs, error: () => noAnswer(monitorMs) });
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(noAnswer(timeoutMs)), timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, over.signal]) : over.signal;
    signal.addEventListener('abort', () => waiter.fail(signal.reason), { once: true });
    this.replies.add(messageId, waiter);
    const send = async (): Promise<void> => {
      await this.replies.ready(signal);
      const reply = { messageId, replyQueue: this.replies.queue, monitorSeconds: monitorMs === undefined ? null : Math.max(1, Math.round(monitorMs / 1000)) };
      const waited = (): number => performance.now() - began;
      // a message that waited long must not outlive its caller's patience in a queue
      const expirationMs = (): number => (waited() < noWaitMs ? timeoutMs : Math.max(1, timeoutMs - waited()));
      await deliver(this.publisher, { ...this.#publication(target, method, args, context, reply), expirationMs, signal }, Infinity); // the signal ends it
    };
    try {
      // the answer can be here before the broker has confirmed the question
      send().catch((error: unknown) => waiter.fail(error));
      return await this.timings.time(`${target.topic} ${method}`, () => waiter.answer, (error) => (error instanceof RemoteFailure ? 'failed' : error instanceof MessagingTimeout ? 'timeout' : 'given up'));
    } finally {
      clearTimeout(timer);
      this.replies.remove(messageId);
      over.abort(new Error('call is over')); // whatever of it still waits to be sent
    }
  }

  async cast(target: Target, method: string, args: Args, context: WireContext, options: CastOptions = {}): Promise<void> {
    const retryMs = this.settings.rabbit.kombu_missing_consumer_retry_timeout * 1000;
    await deliver(this.publisher, { ...this.#publication(target, method, args, context), ...options }, retryMs);
  }

  async fanout(target: Target, method: string, args: Args, context: WireContext, options: CastOptions = {}): Promise<void> {
    const publication = this.#publication(target, method, args, context);
    await this.publisher.publish({ ...publication, exchange: fanoutExchange(target.topic, this.settings.rabbit), routingKey: '', ...options });
  }

  #publication(target: Target, method: string, args: Args, context: WireContext, reply?: ReplyAddress): Publication {
    const request = encodeRequest({ method, args, namespace: target.namespace, version: target.version, uniqueId: hexId(), reply, context });
    return {
      exchange: controlExchange(this.settings.controlExchange, this.settings.rabbit),
      routingKey: routingKeyOf(target),
      body: encodeEnvelope(request),
    };
  }
}

function routingKeyOf(target: Target): string {
  return target.server === undefined ? target.topic : `${target.topic}.${target.server}`;
}

/**
 * Which exchanges and queues there are, and with which flags (contract A.1, A.2; impl_rabbit.py `declare_*_consumer`,
 * `_get_queue_arguments`). Pure: nothing here talks to a broker.
 */
import type { RabbitOptions } from './options.js';
import { hexId } from './message.js';

/** An exchange to declare. */
export interface ExchangeSpec {
  readonly name: string;
  readonly type: 'topic' | 'fanout';
  readonly durable: boolean;
  readonly autoDelete: boolean;
}

/** A queue to declare. Never exclusive. */
export interface QueueSpec {
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly arguments: Readonly<Record<string, string | number>>;
  /** Where it is bound; absent: only on the default exchange. */
  readonly binding?: { readonly exchange: ExchangeSpec; readonly routingKey: string };
}

/** A queue to consume from. */
export interface ConsumerSpec {
  /** The topic it belongs to; empty for the reply queue. */
  readonly topic: string;
  readonly queue: QueueSpec;
  /** It belongs to this process alone, so a graceful stop deletes it. */
  readonly ownedQueue: boolean;
  /** It is a stream: the consumer names an offset. */
  readonly stream: boolean;
}

/** The control exchange, which calls, casts and notifications go to. */
export function controlExchange(name: string, rabbit: RabbitOptions): ExchangeSpec {
  return { name, type: 'topic', durable: topicDurable(rabbit), autoDelete: rabbit.amqp_auto_delete };
}

/** The exchange of a topic's fanouts. */
export function fanoutExchange(topic: string, rabbit: RabbitOptions): ExchangeSpec {
  return { name: `${topic}_fanout`, type: 'fanout', durable: transientDurable(rabbit), autoDelete: true };
}

/** A queue bound to the control exchange under its own name: `T`, `T.H`, or a notification's `<topic>.<priority>`. */
export function topicQueue(exchange: ExchangeSpec, name: string, rabbit: RabbitOptions): QueueSpec {
  return {
    name,
    durable: topicDurable(rabbit),
    autoDelete: rabbit.amqp_auto_delete,
    arguments: queueArguments(rabbit, rabbit.rabbit_quorum_queue, 0),
    binding: { exchange, routingKey: name },
  };
}

/** The queues of a server for `topic` on host `server`: `T`, `T.H` and one for fanouts. */
export function serverConsumers(exchangeName: string, topic: string, server: string, rabbit: RabbitOptions): ConsumerSpec[] {
  const exchange = controlExchange(exchangeName, rabbit);
  return [
    { topic, queue: topicQueue(exchange, topic, rabbit), ownedQueue: false, stream: false },
    { topic, queue: topicQueue(exchange, `${topic}.${server}`, rabbit), ownedQueue: false, stream: false },
    fanoutConsumer(topic, rabbit),
  ];
}

function fanoutConsumer(topic: string, rabbit: RabbitOptions): ConsumerSpec {
  const stream = rabbit.rabbit_stream_fanout;
  const ttl = rabbit.rabbit_transient_queues_ttl;
  return {
    topic,
    queue: {
      name: stream ? `${topic}_fanout` : `${topic}_fanout_${hexId()}`,
      durable: transientDurable(rabbit),
      autoDelete: false,
      arguments: stream
        ? { 'x-queue-type': 'stream', ...(ttl > 0 ? { 'x-max-age': `${ttl}s` } : {}) }
        : queueArguments(rabbit, rabbit.rabbit_transient_quorum_queue, ttl),
      binding: { exchange: fanoutExchange(topic, rabbit), routingKey: topic },
    },
    ownedQueue: !stream,
    stream,
  };
}

/** The reply queue of this process, under a fresh random name. */
export function replyConsumer(rabbit: RabbitOptions): ConsumerSpec {
  return {
    topic: '',
    queue: {
      name: `reply_${hexId()}`,
      durable: rabbit.rabbit_transient_quorum_queue,
      autoDelete: false,
      arguments: queueArguments(rabbit, rabbit.rabbit_transient_quorum_queue, rabbit.rabbit_transient_queues_ttl),
    },
    ownedQueue: true,
    stream: false,
  };
}

function topicDurable(rabbit: RabbitOptions): boolean {
  return rabbit.amqp_durable_queues || rabbit.rabbit_quorum_queue;
}

function transientDurable(rabbit: RabbitOptions): boolean {
  return rabbit.rabbit_transient_quorum_queue || rabbit.rabbit_stream_fanout;
}

function queueArguments(rabbit: RabbitOptions, quorum: boolean, ttlSeconds: number): Record<string, string | number> {
  const args: Record<string, string | number> = {};
  if (rabbit.rabbit_ha_queues) args['x-ha-policy'] = 'all';
  if (quorum) {
    args['x-queue-type'] = 'quorum';
    if (rabbit.rabbit_quorum_delivery_limit) args['x-delivery-limit'] = rabbit.rabbit_quorum_delivery_limit;
    if (rabbit.rabbit_quorum_max_memory_length) args['x-max-in-memory-length'] = rabbit.rabbit_quorum_max_memory_length;
    if (rabbit.rabbit_quorum_max_memory_bytes) args['x-max-in-memory-bytes'] = rabbit.rabbit_quorum_max_memory_bytes;
  }
  if (ttlSeconds > 0) args['x-expires'] = ttlSeconds * 1000;
  return args;
}

/** Declares queues and consumes from them on one channel; a cancelled consumer or a closed channel resets the connection. */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import type { Log } from '../base/log.js';
import { declareQueue } from './declare.js';
import type { RabbitOptions } from './options.js';
import type { ConsumerSpec } from './topology.js';

/** A message as it came, and the channel on which it must be acknowledged. */
export interface Delivery {
  readonly channel: Channel;
  readonly message: ConsumeMessage;
  readonly consumer: ConsumerSpec;
}

/** What `consumeAll` needs. */
export interface ConsumeOptions {
  readonly consumers: readonly ConsumerSpec[];
  readonly rabbit: RabbitOptions;
  readonly log: Log;
  /** Called for each delivery; must not throw. */
  readonly onDelivery: (delivery: Delivery) => void;
  /** Called when the channel or a consumer ended without being asked to. */
  readonly onLost: (reason: Error) => void;
}

/** Where in each stream to go on, by queue name; lives as long as the consumer does. */
export class StreamOffsets {
  readonly #next = new Map<string, number>();
  of(queue: string): number | 'last' {
    return this.#next.get(queue) ?? 'last';
  }
  /** Notes the offset that a delivery carried. */
  note({ consumer, message }: Delivery): void {
    const offset: unknown = message.properties.headers?.['x-stream-offset'];
    if (consumer.stream && typeof offset === 'number') this.#next.set(consumer.queue.name, offset + 1);
  }
  /** After a cancel by the broker the stream may be another one (impl_rabbit.py `reset_stream_offset`). */
  forget(queue: string): void {
    this.#next.delete(queue);
  }
}

/**
 * Declares and consumes everything; returns the channel.
 * @throws Error with AMQP `code` if the broker refuses
 */
export async function consumeAll(model: ChannelModel, options: ConsumeOptions, offsets: StreamOffsets): Promise<Channel> {
  const { consumers, rabbit, log, onDelivery, onLost } = options;
  for (const { queue } of consumers) await declareQueue(model, queue, log);
  const channel = await model.createChannel();
  let problem: Error | undefined;
  channel.on('error', (error: Error) => { problem = error; });
  channel.on('close', () => onLost(problem ?? new Error('channel closed')));
  if (rabbit.rabbit_qos_prefetch_count > 0) await channel.prefetch(rabbit.rabbit_qos_prefetch_count);
  for (const consumer of consumers) {
    const { name } = consumer.queue;
    const args = {
      ...(rabbit.enable_cancel_on_failover && !consumer.stream ? { 'x-cancel-on-ha-failover': true } : {}),
      ...(consumer.stream ? { 'x-stream-offset': offsets.of(name) } : {}),
    };
    await channel.consume(name, (message) => {
      if (message) {
        const delivery = { channel, message, consumer };
        offsets.note(delivery);
        onDelivery(delivery);
      } else {
        offsets.forget(name);
        onLost(new Error(`the broker cancelled the consumer of ${name}`)); // its queue was deleted or its node went down
      }
    }, { arguments: args });
  }
  return channel;
}

/** Notifications: published to a queue that the publisher itself declares, so nothing is lost while nobody listens (contract J.1). */
import { randomUUID } from 'node:crypto';
import { contextTimestamp, publicContext } from './context.js';
import { encodeEnvelope } from './envelope.js';
import { hexId, packContext } from './message.js';
import type { Settings } from './options.js';
import type { Publisher } from './publisher.js';
import { controlExchange, topicQueue } from './topology.js';
import type { WireContext } from './types.js';

/** The priorities of oslo.messaging. */
export type NotificationPriority = 'AUDIT' | 'DEBUG' | 'INFO' | 'WARN' | 'ERROR' | 'CRITICAL' | 'SAMPLE';

/** One notification. */
export interface Notification {
  /** `notifications` or `versioned_notifications`. */
  readonly topic: string;
  /** `compute.<host>` or `nova-compute:<host>`. */
  readonly publisherId: string;
  readonly eventType: string;
  readonly priority: NotificationPriority;
  readonly payload: unknown;
  /** Goes along without its token and service catalogue. */
  readonly context: WireContext;
  /** Gives up a notification that still waits for the broker. */
  readonly signal?: AbortSignal;
}

/** Publishes a notification; resolves when the broker has confirmed it. */
export type Notify = (notification: Notification) => Promise<void>;

/** Makes the publisher of notifications. */
export function notifier(settings: Settings, publisher: Publisher): Notify {
  return async ({ topic, publisherId, eventType, priority, payload, context, signal }) => {
    const exchange = controlExchange(settings.controlExchange, settings.rabbit);
    const routingKey = `${topic}.${priority.toLowerCase()}`;
    const body = encodeEnvelope({
      message_id: randomUUID(),
      publisher_id: publisherId,
      event_type: eventType,
      priority,
      payload,
      timestamp: contextTimestamp().replace('T', ' '), // str() of a Python datetime
      _unique_id: hexId(),
      ...packContext(publicContext(context)),
    });
    await publisher.publish({ exchange, routingKey, body, queue: topicQueue(exchange, routingKey, settings.rabbit), signal });
  };
}

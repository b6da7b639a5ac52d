/** What the tests of this folder share: endpoints, clients and raw looks at the bus. */
import type { ExecutionContext } from 'ava';
import { connect, type ConsumeMessage } from 'amqplib';
import { createLog, silentLog, type Log } from '../../../src/base/log.js';
import { adminContext } from '../../../src/messaging/context.js';
import { connectMessaging, type Messaging } from '../../../src/messaging/messaging.js';
import type { MessagingOptions } from '../../../src/messaging/options.js';
import type { Endpoint, RpcRequest, Target } from '../../../src/messaging/types.js';

/** Where the tests' server listens. */
export const target: Target = { topic: 'compute', server: 'here', version: '6.0' };
export const context = adminContext();

/** A log for tests: silent unless HAULIER_TEST_LOG names a level. */
export const log: Log = process.env['HAULIER_TEST_LOG'] ? createLog({ level: 'debug' }) : silentLog();

/** Messaging on one broker with quick reconnects; whoever asks for it also closes it. */
export function messagingOn(transportUrl: string, options: Partial<MessagingOptions> = {}): Messaging {
  return connectMessaging({ transportUrl, ...options, rabbit: { kombu_reconnect_delay: 0.1, rabbit_retry_backoff: 0, ...options.rabbit } }, log);
}

/** The same, closed when the test ends, however it ends. */
export function messagingFor(t: ExecutionContext, transportUrl: string, options: Partial<MessagingOptions> = {}): Messaging {
  const messaging = messagingOn(transportUrl, options);
  t.teardown(() => messaging.close());
  return messaging;
}

type Handler = (request: RpcRequest) => unknown;

/** An endpoint out of a table of handlers. */
export function endpoint(handlers: Record<string, Handler>, version = '6.5', namespace?: string): Endpoint {
  return {
    namespace,
    version,
    has: (method) => Object.hasOwn(handlers, method),
    handle: async (request) => handlers[request.method]!(request),
  };
}

/** Resolves when `condition` holds; fails after `ms`. */
export async function until(condition: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
  for (const end = Date.now() + ms; !(await condition());) {
    if (Date.now() > end) throw new Error(`not so after ${ms} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Listens on an exchange with a queue of its own and gathers what comes, raw. */
export async function eavesdrop(port: number, exchange: string, type: string, key: string): Promise<{ messages: ConsumeMessage[]; close(): Promise<void> }> {
  const model = await connect({ hostname: '127.0.0.1', port });
  const channel = await model.createChannel();
  const messages: ConsumeMessage[] = [];
  await channel.assertExchange(exchange, type, { durable: false, autoDelete: type === 'fanout' });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, exchange, key);
  await channel.consume(queue, (message) => { if (message) messages.push(message); }, { noAck: true });
  return { messages, close: () => model.close() };
}

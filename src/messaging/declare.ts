/**
 * Declares exchanges and queues, each on a channel of its own: a refused declaration closes its channel, and no other
 * traffic must suffer from that.
 */
import type { Channel, ChannelModel } from 'amqplib';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { ExchangeSpec, QueueSpec } from './topology.js';

/** The AMQP reply code of a channel or connection error, if that is what it is. */
export function amqpCode(error: unknown): number | undefined {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === 'number' ? code : undefined;
}

/**
 * Declares an exchange. Where it exists with another durability than ours, the non-durable form is tried, because services
 * with different settings may share the control exchange (impl_rabbit.py `_declare_fallback_nondurable`, `_publish`).
 * @returns the exchange as it was accepted
 * @throws Error with AMQP `code` 406 on any other difference
 */
export async function declareExchange(model: ChannelModel, spec: ExchangeSpec, log: Log): Promise<ExchangeSpec> {
  try {
    await onOwnChannel(model, (channel) => assertExchange(channel, spec));
    return spec;
  } catch (error) {
    if (!spec.durable || !isDurabilityConflict(error)) throw error;
    log.warn({ exchange: spec.name }, `exchange exists and is not durable; using it so: ${messageOf(error)}`);
    const fallback = { ...spec, durable: false };
    await onOwnChannel(model, (channel) => assertExchange(channel, fallback));
    return fallback;
  }
}

/**
 * Declares a queue with its exchange and binding. If the exchange or the queue turns out not durable, the queue is declared
 * not durable too, except a quorum queue or stream, which cannot be.
 * @throws Error with AMQP `code` 406 if the queue exists with other arguments
 */
export async function declareQueue(model: ChannelModel, spec: QueueSpec, log: Log): Promise<void> {
  const { binding } = spec;
  const exchange = binding ? await declareExchange(model, binding.exchange, log) : undefined;
  const canBeTransient = !('x-queue-type' in spec.arguments);
  const durable = spec.durable && (exchange?.durable === binding?.exchange.durable || !canBeTransient);
  try {
    await assertQueue(model, { ...spec, durable }, log);
  } catch (error) {
    if (!durable || !canBeTransient || !isDurabilityConflict(error)) throw error;
    log.warn({ queue: spec.name }, `queue exists and is not durable; using it so: ${messageOf(error)}`);
    await assertQueue(model, { ...spec, durable: false }, log);
  }
  if (binding) await onOwnChannel(model, (channel) => channel.bindQueue(spec.name, binding.exchange.name, binding.routingKey));
}

async function assertExchange(channel: Channel, spec: ExchangeSpec): Promise<void> {
  await channel.assertExchange(spec.name, spec.type, { durable: spec.durable, autoDelete: spec.autoDelete });
}

async function assertQueue(model: ChannelModel, spec: QueueSpec, log: Log): Promise<void> {
  const options = { durable: spec.durable, autoDelete: spec.autoDelete, exclusive: false, arguments: { ...spec.arguments } };
  const assert = (): Promise<unknown> => onOwnChannel(model, (channel) => channel.assertQueue(spec.name, options));
  try {
    await assert();
  } catch (error) {
    if (amqpCode(error) !== 404) throw error;
    // the queue hangs on a cluster node that is down: only deleting it lets it be declared elsewhere (launchpad 2068630)
    log.warn({ queue: spec.name }, `queue is stuck on a dead node; declaring it anew: ${messageOf(error)}`);
    await onOwnChannel(model, (channel) => channel.deleteQueue(spec.name)).catch((cause: unknown) => log.warn({ queue: spec.name }, messageOf(cause)));
    await assert();
  }
}

function isDurabilityConflict(error: unknown): boolean {
  return amqpCode(error) === 406 && messageOf(error).includes("inequivalent arg 'durable'");
}

/** How many consume from a queue; 0 if there is no such queue. @throws Error with AMQP `code` if the broker refuses to say */
export async function consumersOf(model: ChannelModel, queue: string): Promise<number> {
  try {
    return (await onOwnChannel(model, (channel) => channel.checkQueue(queue))).consumerCount;
  } catch (error) {
    if (amqpCode(error) === 404) return 0;
    throw error;
  }
}

async function onOwnChannel<T>(model: ChannelModel, work: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel();
  let open = true;
  channel.on('error', () => { open = false; }); // the rejected promise tells; without a listener Node would throw
  channel.on('close', () => { open = false; });
  const result = await work(channel);
  if (open) await channel.close();
  return result;
}

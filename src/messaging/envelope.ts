/** The outer form of every message: envelope 2.0 and the AMQP properties around it (contract A.3). */
import { unzipSync } from 'node:zlib';
import type { ConsumeMessage, Options } from 'amqplib';

/** A message body without its envelope. */
export type Message = Readonly<Record<string, unknown>>;

const versionKey = 'oslo.version';
const messageKey = 'oslo.message';
const envelopeMajor = '2';
/** A compressed body may not grow beyond RabbitMQ's own largest message. */
const maxInflatedBytes = 128 * 1024 * 1024;

/** A body that is no message, or has an envelope of another major version. */
export class EnvelopeError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(`Message refused: ${problem}`, options);
    this.name = 'EnvelopeError';
  }
}

/**
 * Wraps a message into the envelope.
 * @throws TypeError where JSON cannot hold it (a cycle, a bigint)
 */
export function encodeEnvelope(message: Message): Buffer {
  return Buffer.from(JSON.stringify({ [versionKey]: '2.0', [messageKey]: JSON.stringify(message) }), 'utf8');
}

/**
 * The body of a delivery, inflated where its sender has `kombu_compression=gzip` (kombu/compression.py: zlib's format under
 * that name). bz2 is not read.
 * @throws EnvelopeError
 */
export function bodyOf({ content, properties }: Pick<ConsumeMessage, 'content' | 'properties'>): Buffer {
  const compression: unknown = properties.headers?.['compression'];
  if (compression === undefined) return content;
  if (compression !== 'application/x-gzip') throw new EnvelopeError(`compression ${String(compression)} is not supported`);
  try {
    return unzipSync(content, { maxOutputLength: maxInflatedBytes });
  } catch (error) {
    throw new EnvelopeError('body cannot be inflated', { cause: error });
  }
}

/**
 * Takes a message out of its envelope. A body without envelope is the message itself (oslo_messaging/_drivers/common.py
 * `deserialize_msg`).
 * @throws EnvelopeError
 */
export function decodeEnvelope(body: Buffer): Message {
  const outer = parseObject(body.toString('utf8'), 'body');
  if (!Object.hasOwn(outer, versionKey) || !Object.hasOwn(outer, messageKey)) return outer;
  const version = outer[versionKey];
  // minor versions above ours are refused too, by the same rule as RPC versions
  if (typeof version !== 'string' || !/^\d+\.\d+/.test(version) || version.split('.')[0] !== envelopeMajor || Number(version.split('.')[1]) > 0) {
    throw new EnvelopeError(`envelope version ${String(version)} is not 2.0`);
  }
  const inner = outer[messageKey];
  if (typeof inner !== 'string') throw new EnvelopeError('oslo.message is no string');
  return parseObject(inner, 'oslo.message');
}

function parseObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // the text itself stays out of the message: it may hold tokens
    throw new EnvelopeError(`${what} is no JSON`, { cause: error instanceof SyntaxError ? undefined : error });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new EnvelopeError(`${what} is no object`);
  return value as Record<string, unknown>;
}

/**
 * The AMQP properties of a message, exactly as kombu sets them.
 * @param expirationMs only on calls: the broker drops the message after so many milliseconds
 */
export function messageProperties(expirationMs?: number): Options.Publish {
  return {
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    deliveryMode: 2,
    priority: 0,
    headers: {},
    ...(expirationMs === undefined ? {} : { expiration: String(Math.max(0, Math.round(expirationMs))) }),
  };
}

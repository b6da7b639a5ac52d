/** Requests and replies as they lie inside the envelope (contract A.3). Key order is that of oslo.messaging. */
import { randomUUID } from 'node:crypto';
import type { Message } from './envelope.js';
import type { WireContext } from './types.js';

const contextPrefix = '_context_';

/** A uuid4 as 32 hex digits, as every id on this wire is. */
export function hexId(): string {
  return randomUUID().replaceAll('-', '');
}

/** What a call adds to a request. */
export interface ReplyAddress {
  readonly messageId: string;
  readonly replyQueue: string;
  /** Seconds between signs of life, times two (contract A.6); null without monitoring. */
  readonly monitorSeconds: number | null;
}

/** A request taken apart. */
export interface WireRequest {
  readonly method: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly namespace?: string;
  /** RPC version; `1.0` where the message had none. */
  readonly version: string;
  /** For the duplicate check; absent in very old senders' messages. */
  readonly uniqueId?: string;
  /** Present on calls. */
  readonly reply?: ReplyAddress;
  readonly context: WireContext;
}

/** A reply taken apart. */
export interface WireReply {
  readonly messageId: string;
  readonly uniqueId?: string;
  readonly result: unknown;
  /** The failure's JSON text, or null. */
  readonly failure: string | null;
  /** False: a sign of life, or an answer before its end. */
  readonly ending: boolean;
}

/** Makes the message of a request. */
export function encodeRequest(request: WireRequest): Message {
  const { reply } = request;
  return {
    method: request.method,
    args: request.args,
    ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
    version: request.version,
    ...(reply ? { _msg_id: reply.messageId, _reply_q: reply.replyQueue, _timeout: reply.monitorSeconds } : {}),
    ...(request.uniqueId === undefined ? {} : { _unique_id: request.uniqueId }),
    ...packContext(request.context),
  };
}

/**
 * Reads a request.
 * @throws TypeError if it names no method
 */
export function decodeRequest(message: Message): WireRequest {
  const { method, args, namespace, version } = message;
  if (typeof method !== 'string') throw new TypeError('request without a method');
  const messageId = text(message['_msg_id']);
  const replyQueue = text(message['_reply_q']);
  return {
    method,
    args: args !== null && typeof args === 'object' && !Array.isArray(args) ? (args as Record<string, unknown>) : {},
    namespace: text(namespace),
    version: text(version) ?? '1.0',
    uniqueId: text(message['_unique_id']),
    reply: messageId && replyQueue ? { messageId, replyQueue, monitorSeconds: monitorSeconds(message['_timeout']) } : undefined,
    context: unpackContext(message),
  };
}

/** Makes the message of a reply. */
export function encodeReply(reply: WireReply): Message {
  return {
    result: reply.result ?? null,
    failure: reply.failure,
    ending: reply.ending,
    _msg_id: reply.messageId,
    ...(reply.uniqueId === undefined ? {} : { _unique_id: reply.uniqueId }),
  };
}

/**
 * Reads a reply.
 * @throws TypeError if it answers nothing
 */
export function decodeReply(message: Message): WireReply {
  const messageId = text(message['_msg_id']);
  if (!messageId) throw new TypeError('reply without _msg_id');
  const failure = message['failure'];
  return {
    messageId,
    uniqueId: text(message['_unique_id']),
    result: message['result'] ?? null,
    // a failure that is not a string is none of oslo's; keep it as text rather than lose it
    failure: failure === null || failure === undefined || failure === '' ? null : typeof failure === 'string' ? failure : JSON.stringify(failure),
    ending: message['ending'] === true,
  };
}

/** The context's keys with their prefix, in order. */
export function packContext(context: WireContext): Message {
  return Object.fromEntries(Object.entries(context).map(([key, value]) => [contextPrefix + key, value]));
}

/** The `_context_*` keys of a message without their prefix, whole and in order. */
export function unpackContext(message: Message): WireContext {
  return Object.fromEntries(
    Object.entries(message)
      .filter(([key]) => key.startsWith(contextPrefix))
      .map(([key, value]) => [key.slice(contextPrefix.length), value]),
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** `_timeout` may come as a number or, from odd senders, as its text (dispatcher.py calls int()). */
function monitorSeconds(value: unknown): number | null {
  const seconds = typeof value === 'string' ? Number(value) : value;
  return typeof seconds === 'number' && Number.isFinite(seconds) ? seconds : null;
}

/** How a server answers: signs of life while a call runs, then one reply (contract A.4, A.6; amqpdriver.py `AMQPIncomingMessage`). */
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Timings } from '../base/timings.js';
import { deliver } from './deliver.js';
import type { ObsoleteQueues } from './duplicates.js';
import { encodeEnvelope } from './envelope.js';
import { encodeFailure, toFailure } from './failure.js';
import { encodeReply, hexId, type ReplyAddress } from './message.js';
import type { Settings } from './options.js';
import type { Publisher } from './publisher.js';
import { MessageUndeliverable, type Failure } from './types.js';

/** What every answer of a server needs. */
export interface AnswerDesk {
  readonly settings: Settings;
  readonly publisher: Publisher;
  readonly obsolete: ObsoleteQueues;
  /** Requests handled, by method, from their arrival on. */
  readonly requests: Timings;
  readonly log: Log;
}

/** What came out of a handler. */
export type Outcome = { readonly result: unknown } | { readonly failure: Failure };

/**
 * Sends the one reply of a call. While the reply queue is missing it is tried again, then the queue counts as gone for a
 * minute. Never throws: there is nobody to tell.
 * @param expiresAt steady-clock milliseconds after which the caller has given up
 */
export async function sendReply(desk: AnswerDesk, reply: ReplyAddress, outcome: Outcome, expiresAt: number): Promise<void> {
  const { settings, publisher, obsolete, log } = desk;
  const { messageId, replyQueue } = reply;
  if (obsolete.has(replyQueue)) {
    log.warn({ messageId, replyQueue }, 'reply dropped: its queue is gone');
    return;
  }
  const publication = {
    routingKey: replyQueue,
    body: encodeOutcome(messageId, outcome),
    ...(Number.isFinite(expiresAt) ? { signal: AbortSignal.timeout(Math.max(1, Math.ceil(expiresAt - performance.now()))) } : {}),
  };
  const retryMs = settings.rabbit.kombu_missing_consumer_retry_timeout * 1000;
  try {
    if (settings.rabbit.direct_mandatory_flag) await deliver(publisher, publication, retryMs);
    else await publisher.publish(publication);
  } catch (error) {
    if (error instanceof MessageUndeliverable) obsolete.add(replyQueue);
    log.error({ messageId, replyQueue }, `reply abandoned: ${messageOf(error)}`);
  }
}

function encodeOutcome(messageId: string, outcome: Outcome): Buffer {
  const rest = { messageId, uniqueId: hexId(), ending: true };
  const failed = (failure: Failure): Buffer => encodeEnvelope(encodeReply({ ...rest, result: null, failure: encodeFailure(failure) }));
  if ('failure' in outcome) return failed(outcome.failure);
  try {
    return encodeEnvelope(encodeReply({ ...rest, result: outcome.result ?? null, failure: null }));
  } catch (error) {
    return failed(toFailure(error)); // a result that JSON cannot hold
  }
}

/**
 * Tells the caller every half `monitorSeconds` that its call still runs, until stopped or until its queue is gone.
 * @returns stops it
 */
export function startMonitor(desk: AnswerDesk, reply: ReplyAddress): () => void {
  const everyMs = ((reply.monitorSeconds ?? 0) / 2) * 1000;
  if (everyMs < 1000) {
    // dispatcher.py `_watchdog` refuses less than a second
    if (reply.monitorSeconds) desk.log.warn({ messageId: reply.messageId }, `call-monitor time-out of ${reply.monitorSeconds} s is too short to be kept`);
    return () => undefined;
  }
  const done = new AbortController();
  const timer = setInterval(() => {
    const body = encodeEnvelope(encodeReply({ messageId: reply.messageId, uniqueId: hexId(), result: null, failure: null, ending: false }));
    // one that cannot go out before the next is due is worth nothing
    const signal = AbortSignal.any([done.signal, AbortSignal.timeout(everyMs)]);
    desk.publisher.publish({ routingKey: reply.replyQueue, body, mandatory: true, signal }).catch((error: unknown) => {
      desk.log.debug({ messageId: reply.messageId }, `sign of life not sent: ${messageOf(error)}`);
      if (error instanceof MessageUndeliverable) stop();
    });
  }, everyMs);
  const stop = (): void => { clearInterval(timer); done.abort(); };
  return stop;
}

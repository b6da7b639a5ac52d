/** A dispatcher without a broker: messages go in as they lie in a queue, answers are collected. */
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Log } from '../../../src/base/log.js';
import { Timings } from '../../../src/base/timings.js';
import type { AnswerDesk } from '../../../src/messaging/answer.js';
import { Dispatcher } from '../../../src/messaging/dispatcher.js';
import { ObsoleteQueues } from '../../../src/messaging/duplicates.js';
import { decodeEnvelope } from '../../../src/messaging/envelope.js';
import { resolveSettings } from '../../../src/messaging/options.js';
import type { Endpoint } from '../../../src/messaging/types.js';

/** A message as the broker hands it over. */
export interface Raw {
  readonly body: Buffer;
  readonly headers?: Record<string, unknown>;
  readonly expiration?: string;
}

/** What came of the messages so far. */
export interface Desk {
  readonly dispatcher: Dispatcher;
  /** Messages of answers, each with its queue. */
  readonly answers: { readonly queue: string; readonly message: Readonly<Record<string, unknown>> }[];
  readonly acknowledged: number;
  /** Thrown away, never to come again. */
  readonly rejected: number;
  deliver(raw: Raw): void;
}

/** @param concurrency requests handled side by side */
export function makeDesk(endpoints: readonly Endpoint[], log: Log, concurrency = 16): Desk {
  const counts = { acknowledged: 0, rejected: 0 };
  const answers: Desk['answers'] = [];
  const publish = async ({ routingKey, body }: { routingKey: string; body: Buffer }): Promise<void> => void answers.push({ queue: routingKey, message: decodeEnvelope(body) });
  const desk: AnswerDesk = {
    settings: resolveSettings({ transportUrl: 'rabbit://', program: 'test' } as Parameters<typeof resolveSettings>[0]),
    publisher: { publish } as unknown as AnswerDesk['publisher'], obsolete: new ObsoleteQueues(), requests: new Timings(), log,
  };
  const dispatcher = new Dispatcher(desk, { topics: ['compute'], server: 'fake2', endpoints, concurrency });
  const channel = { ack: () => void counts.acknowledged++, reject: () => void counts.rejected++ } as unknown as Channel;
  const consumer = { topic: 'compute', queue: { name: 'compute.fake2' } } as unknown as Parameters<Dispatcher['receive']>[0]['consumer'];
  return {
    dispatcher, answers,
    get acknowledged() { return counts.acknowledged; },
    get rejected() { return counts.rejected; },
    deliver: ({ body, headers, expiration }) => dispatcher.receive({ channel, consumer, message: { content: body, properties: { headers: headers ?? {}, expiration }, fields: {} } as unknown as ConsumeMessage }),
  };
}

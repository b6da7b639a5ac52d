/** Every message that was recorded from a real cloud goes through the codec and comes out equal, value for value. */
import test from 'ava';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { adminContext } from '../../src/messaging/context.js';
import { decodeEnvelope, encodeEnvelope, messageProperties, type Message } from '../../src/messaging/envelope.js';
import { decodeFailure, encodeFailure } from '../../src/messaging/failure.js';
import { decodeReply, decodeRequest, encodeReply, encodeRequest } from '../../src/messaging/message.js';
import { rabbitDefaults } from '../../src/messaging/options.js';
import { replyConsumer, serverConsumers } from '../../src/messaging/topology.js';

const folder = join(packageRoot, 'test/contract/wire');

interface Recorded {
  readonly kind: 'call' | 'cast' | 'fanout' | 'reply';
  readonly exchange: string;
  readonly routing_key: string;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly body: { readonly 'oslo.version': string; readonly 'oslo.message': Message };
}

const flows = readdirSync(folder).filter((name) => name.endsWith('.jsonl')).sort();
const readFlow = (name: string): Recorded[] => readFileSync(join(folder, name), 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as Recorded);
const readTable = (name: string): Record<string, unknown>[] => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Record<string, unknown>[];

test('there are recordings', (t) => {
  t.true(flows.length >= 30);
});

for (const flow of flows) {
  test(`recorded: ${flow}`, (t) => {
    const messages = readFlow(flow);
    t.true(messages.length > 0);
    for (const recorded of messages) {
      const message = recorded.body['oslo.message'];
      // the recording holds the inner message decoded; on the wire it is text within text
      const wire = Buffer.from(JSON.stringify({ 'oslo.version': recorded.body['oslo.version'], 'oslo.message': JSON.stringify(message) }));
      t.deepEqual(decodeEnvelope(wire), message);
      t.deepEqual(decodeEnvelope(encodeEnvelope(message)), message);
      const again = recorded.kind === 'reply' ? encodeReply(decodeReply(message)) : encodeRequest(decodeRequest(message));
      t.deepEqual(again, message);
      t.deepEqual(Object.keys(again), Object.keys(message), 'and in the same order');
      if (recorded.kind === 'reply') {
        const { failure } = decodeReply(message);
        if (failure !== null) t.deepEqual(JSON.parse(encodeFailure(decodeFailure(failure).failure)), JSON.parse(failure));
      } else {
        t.is(decodeRequest(message).reply !== undefined, recorded.kind === 'call');
      }
      const { expiration } = recorded.properties;
      const ours = messageProperties(expiration === undefined ? undefined : Number(expiration));
      t.deepEqual(
        { priority: ours.priority, delivery_mode: ours.deliveryMode, headers: ours.headers as unknown, content_encoding: ours.contentEncoding, content_type: ours.contentType, ...(ours.expiration === undefined ? {} : { expiration: ours.expiration }) },
        recorded.properties as ReturnType<typeof JSON.parse>,
      );
      if (recorded.kind === 'reply') t.is(recorded.exchange, '');
      else t.is(recorded.exchange, recorded.kind === 'fanout' ? `scheduler_fanout` : 'nova');
    }
  });
}

test('integers of the recordings fit a JavaScript number', (t) => {
  const check = (value: unknown): void => {
    if (typeof value === 'number' && Number.isInteger(value)) t.true(Number.isSafeInteger(value), String(value));
    else if (value !== null && typeof value === 'object') Object.values(value).forEach(check);
  };
  for (const flow of flows) readFlow(flow).forEach(({ body }) => check(body));
});

test('the admin context has the keys of a real one, in its order and kinds', (t) => {
  const real = readFlow('periodic.jsonl').map(({ body }) => body['oslo.message']).find((message) => message['_context_is_admin'] === true && message['_context_user'] === null);
  t.truthy(real);
  const { context } = decodeRequest(real!);
  const own = adminContext();
  t.deepEqual(Object.keys(own), Object.keys(context));
  t.is(Object.keys(own).length, 25);
  t.deepEqual({ ...own, request_id: 0, timestamp: 0 }, { ...context, request_id: 0, timestamp: 0 });
  t.regex(String(own['request_id']), /^req-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('queues, exchanges and bindings are declared as a stock service declared them', (t) => {
  const queues = readTable('queues.json');
  const exchanges = readTable('exchanges.json');
  const bindings = readTable('bindings.json');
  const shape = (name: string): string => name.replace(/[0-9a-f]{32}$/, 'HEX32');
  for (const { queue } of [...serverConsumers('nova', 'compute', 'fake1', rabbitDefaults), replyConsumer(rabbitDefaults)]) {
    const real = queues.find(({ name }) => shape(String(name)) === shape(queue.name));
    if (!real) {
      t.fail(`no ${queue.name} was recorded`);
      continue;
    }
    const set = (real['arguments'] as [string, string, unknown][]).filter(([key]) => key !== 'x-queue-type'); // the broker's own word, not the client's
    t.deepEqual({ durable: queue.durable, auto_delete: queue.autoDelete, exclusive: false, arguments: { ...queue.arguments } }, { durable: real['durable'] as boolean, auto_delete: real['auto_delete'] as boolean, exclusive: real['exclusive'] as boolean, arguments: Object.fromEntries(set.map(([key, , value]) => [key, value as string | number])) });
    const bound = bindings.find(({ destination_name, source_name }) => destination_name === real['name'] && source_name !== '');
    if (!queue.binding) {
      t.is(bound, undefined);
      continue;
    }
    const { exchange, routingKey } = queue.binding;
    t.like(bound, { source_name: exchange.name, routing_key: routingKey });
    t.like(exchanges.find(({ name }) => name === exchange.name), { type: exchange.type, durable: exchange.durable, auto_delete: exchange.autoDelete });
  }
});

/** Calls, casts, fanouts, failures and notifications over a real RabbitMQ. */
import test from 'ava';
import { connect } from 'amqplib';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../../src/base/errors.js';
import { hexId } from '../../../src/messaging/message.js';
import { decodeEnvelope, encodeEnvelope, messageProperties } from '../../../src/messaging/envelope.js';
import { MessagingTimeout, RemoteFailure, type RpcRequest, type RpcServer } from '../../../src/messaging/types.js';
import type { Messaging } from '../../../src/messaging/messaging.js';
import { Broker, rabbitmqMissing } from '../lib/rabbitmq.js';
import { context, eavesdrop, endpoint, messagingFor, messagingOn, target, until } from './kit.js';

const missing = rabbitmqMissing();
const hosted = missing ? test.serial.skip : test.serial;
let broker: Broker;
let messaging: Messaging;
let server: RpcServer;
const seen: RpcRequest[] = [];
let release: () => void = () => undefined;

test.before(async (t) => {
  if (missing) return t.log(`SKIPPED: ${missing}`);
  broker = await Broker.start();
  messaging = messagingOn(broker.url);
  server = await messaging.serve({
    topics: ['compute', 'compute-alt'],
    server: 'here',
    concurrency: 2,
    unlimited: new Set(['external_instance_event']),
    endpoints: [endpoint({
      echo: (request) => request.args,
      note: (request) => { seen.push(request); },
      slow: async (request) => { await sleep(Number(request.args['ms']), undefined, { signal: request.signal }); return 'done'; },
      hold: (request) => { seen.push(request); return new Promise<void>((resolve) => { const before = release; release = () => { before(); resolve(); }; }); },
      external_instance_event: (request) => { seen.push(request); },
      busy: () => { throw new HaulierError('INSTANCE_STATE', { instance: 'x', state: 'y', action: 'z' }); },
      plain: () => { throw new Error('plain words'); },
      cycle: () => { const a: Record<string, unknown> = {}; a['a'] = a; return a; },
      relay: () => messaging.client.call(target, 'busy', {}, context),
    }), endpoint({ ping: (request) => ({ service: 'compute', arg: request.args['arg'] }) }, '1.1', 'baseapi')],
  });
});

test.after.always(async () => {
  await messaging?.close();
  await broker?.close();
});

test.beforeEach(() => { seen.length = 0; });

hosted('a call is answered, in either namespace and on both topics', async (t) => {
  t.deepEqual(await messaging.client.call(target, 'echo', { a: 1, b: [null, 'ä\u{1f600}', { c: true }] }, context), { a: 1, b: [null, 'ä\u{1f600}', { c: true }] });
  t.deepEqual(await messaging.client.call({ ...target, topic: 'compute-alt' }, 'echo', {}, context), {});
  t.deepEqual(await messaging.client.call({ topic: 'compute', version: '6.0' }, 'echo', {}, context), {}, 'without a server name');
  t.deepEqual(await messaging.client.call({ ...target, namespace: 'baseapi', version: '1.0' }, 'ping', { arg: '1.21 GigaWatts' }, context), { service: 'compute', arg: '1.21 GigaWatts' });
  t.is(await messaging.client.call(target, 'note', {}, context), null, 'no result is null');
  t.true(messaging.healthy);
  t.deepEqual(seen[0]?.context, context);
  t.deepEqual(Object.keys(seen[0]?.context ?? {}), Object.keys(context));
  t.true(seen[0]?.isCall);
});

hosted('a megabyte goes and comes', async (t) => {
  const text = 'x'.repeat(1 << 20);
  t.deepEqual(await messaging.client.call(target, 'echo', { text }, context), { text });
});

hosted('round trip of a call', async (t) => {
  for (let i = 0; i < 50; i++) await messaging.client.call(target, 'echo', { i }, context);
  const times: number[] = [];
  for (let i = 0; i < 500; i++) {
    const began = performance.now();
    await messaging.client.call(target, 'echo', { i }, context);
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  t.log(`call round trip: median ${times[250]!.toFixed(2)} ms, 99 % ${times[495]!.toFixed(2)} ms, worst ${times[499]!.toFixed(2)} ms`);
  t.true(times[0]! < 40, 'Nagle would cost each of them 40 ms');
});

hosted('properties and bodies are those of kombu', async (t) => {
  const ear = await eavesdrop(broker.port, 'nova', 'topic', 'compute.here');
  await messaging.client.call(target, 'echo', {}, context, { timeoutMs: 12_000 });
  await messaging.client.cast(target, 'note', {}, context);
  await until(() => ear.messages.length === 2);
  await ear.close();
  const [call, cast] = ear.messages;
  const properties = { contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 0, headers: {} };
  const defined = (value: object): object => Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));
  t.deepEqual(defined(call!.properties), { ...properties, expiration: '12000' });
  t.deepEqual(defined(cast!.properties), properties);
  t.deepEqual(Object.keys(decodeEnvelope(call!.content)).filter((key) => !key.startsWith('_context_')), ['method', 'args', 'version', '_msg_id', '_reply_q', '_timeout', '_unique_id']);
  t.deepEqual(Object.keys(decodeEnvelope(cast!.content)).filter((key) => !key.startsWith('_context_')), ['method', 'args', 'version', '_unique_id']);
  t.regex(String(decodeEnvelope(call!.content)['_reply_q']), /^reply_[0-9a-f]{32}$/);
});

hosted('casts and fanouts arrive once', async (t) => {
  await messaging.client.cast(target, 'note', { n: 1 }, context);
  await messaging.client.fanout({ topic: 'compute', version: '6.0' }, 'note', { n: 2 }, context);
  await messaging.client.fanout({ topic: 'nobody', version: '1.0' }, 'note', {}, context);
  await until(() => seen.length === 2);
  await sleep(100);
  t.deepEqual(seen.map(({ args, isCall }) => [args['n'], isCall]), [[1, false], [2, false]]);
});

hosted('failures keep class and module', async (t) => {
  const busy = await t.throwsAsync(messaging.client.call(target, 'busy', {}, context), { instanceOf: RemoteFailure });
  t.like(busy.failure, { class: 'InstanceInvalidState', module: 'nova.exception', kwargs: { code: 409 }, args: [busy.failure.message] });
  const relayed = await t.throwsAsync(messaging.client.call(target, 'relay', {}, context), { instanceOf: RemoteFailure });
  t.like(relayed.failure, { class: 'InstanceInvalidState', module: 'nova.exception', kwargs: { code: 409 }, message: busy.failure.message });
  const plain = await t.throwsAsync(messaging.client.call(target, 'plain', {}, context), { instanceOf: RemoteFailure });
  t.like(plain.failure, { class: 'Exception', module: 'builtins', message: 'plain words', kwargs: {} });
  t.like(await t.throwsAsync(messaging.client.call({ ...target, version: '7.0' }, 'echo', {}, context)), { className: 'UnsupportedVersion' });
  t.like(await t.throwsAsync(messaging.client.call({ ...target, version: '6.6' }, 'echo', {}, context)), { className: 'UnsupportedVersion' });
  t.like(await t.throwsAsync(messaging.client.call(target, 'nothing', {}, context)), { className: 'NoSuchMethod' });
  t.like(await t.throwsAsync(messaging.client.call(target, 'cycle', {}, context)), { className: 'Exception' });
});

hosted('a call times out, or is given up', async (t) => {
  await t.throwsAsync(messaging.client.call(target, 'slow', { ms: 600 }, context, { timeoutMs: 200 }), { instanceOf: MessagingTimeout });
  await t.throwsAsync(messaging.client.call({ ...target, server: 'nowhere' }, 'echo', {}, context, { timeoutMs: 300 }), { instanceOf: MessagingTimeout });
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error('enough')), 100);
  await t.throwsAsync(messaging.client.call(target, 'slow', { ms: 600 }, context, { signal: abort.signal }), { message: 'enough' });
  await sleep(600);
});

hosted('signs of life keep a monitored call', async (t) => {
  t.is(await messaging.client.call(target, 'slow', { ms: 3500 }, context, { monitorMs: 2000, timeoutMs: 10_000 }), 'done');
  const silent = messaging.client.call({ ...target, server: 'nowhere' }, 'slow', {}, context, { monitorMs: 500, timeoutMs: 10_000 });
  await t.throwsAsync(silent, { instanceOf: MessagingTimeout, message: /0\.5 s/ });
});

hosted('a repeated message is handled once', async (t) => {
  const model = await connect({ hostname: '127.0.0.1', port: broker.port });
  const channel = await model.createConfirmChannel();
  const body = encodeEnvelope({ method: 'note', args: {}, version: '6.0', _unique_id: hexId() });
  for (let i = 0; i < 3; i++) channel.publish('nova', 'compute.here', body, messageProperties());
  channel.publish('nova', 'compute.here', Buffer.from('no message'), messageProperties());
  channel.publish('nova', 'compute.here', Buffer.from('{"method": "note", "version": "6.0"}'), {});
  await channel.waitForConfirms();
  await model.close();
  await until(() => seen.length === 2);
  await sleep(100);
  t.is(seen.length, 2, 'one of the three, and the one without envelope');
});

hosted('events pass when all slots are taken, and what waits is handled later', async (t) => {
  const held = [1, 2, 3].map(() => messaging.client.call(target, 'hold', {}, context));
  await until(() => seen.length === 2);
  await messaging.client.cast(target, 'external_instance_event', {}, context);
  await until(() => seen.length === 3);
  t.is(seen[2]?.method, 'external_instance_event');
  t.is(server.running, 2);
  release();
  await until(() => seen.length === 4);
  release();
  await Promise.all(held);
});

hosted('a request whose caller gave up while it waited is dropped', async (t) => {
  const held = [1, 2].map(() => messaging.client.call(target, 'hold', {}, context));
  await until(() => seen.length === 2);
  await t.throwsAsync(messaging.client.call(target, 'note', {}, context, { timeoutMs: 200 }), { instanceOf: MessagingTimeout });
  await sleep(100);
  release();
  await Promise.all(held);
  await messaging.client.call(target, 'echo', {}, context);
  t.is(seen.length, 2);
});

hosted('a missing reply queue is waited for, then counts as gone', async (t) => {
  const other = messagingFor(t, broker.url, { rabbit: { kombu_missing_consumer_retry_timeout: 5 } });
  const handled: RpcRequest[] = [];
  const its = await other.serve({ topics: ['compute'], server: 'there', endpoints: [endpoint({ ask: (request) => { handled.push(request); return 'late'; } })] });
  const model = await connect({ hostname: '127.0.0.1', port: broker.port });
  const channel = await model.createConfirmChannel();
  const ask = (queue: string): void => { channel.publish('nova', 'compute.there', encodeEnvelope({ method: 'ask', args: {}, version: '6.0', _msg_id: hexId(), _reply_q: queue, _unique_id: hexId() }), messageProperties()); };
  ask('reply_comes_late');
  await until(() => handled.length === 1);
  await sleep(400);
  t.is(its.running, 1, 'still trying');
  await channel.assertQueue('reply_comes_late', { durable: false, autoDelete: false, exclusive: true });
  const replies: unknown[] = [];
  await channel.consume('reply_comes_late', (message) => replies.push(decodeEnvelope(message!.content)['result']), { noAck: true });
  await until(() => replies.length === 1);
  t.is(replies[0], 'late');
  ask('reply_never');
  await until(() => handled.length === 2 && its.running === 0);
  ask('reply_never');
  await until(() => handled.length === 3 && its.running === 0);
  await model.close();
  await its.stop(0);
});

hosted('notifications wait in their own queue', async (t) => {
  await messaging.notify({ topic: 'versioned_notifications', publisherId: 'nova-compute:here', eventType: 'instance.create.start', priority: 'INFO', payload: { a: 1 }, context: { ...context, auth_token: 'secret' } });
  const model = await connect({ hostname: '127.0.0.1', port: broker.port });
  const channel = await model.createChannel();
  const got = await channel.get('versioned_notifications.info', { noAck: true });
  await model.close();
  if (!got) return t.fail('no notification');
  const message = decodeEnvelope(got.content);
  t.like(message, { publisher_id: 'nova-compute:here', event_type: 'instance.create.start', priority: 'INFO', payload: { a: 1 }, _context_is_admin: true });
  t.regex(String(message['timestamp']), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/);
  t.false(JSON.stringify(message).includes('secret'));
});

hosted('a stopped server leaves what waits in the queue, and its fanout queue is gone', async (t) => {
  const other = messagingFor(t, broker.url);
  const handled: unknown[] = [];
  let letEnd: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => { letEnd = resolve; });
  const options = { topics: ['compute'], server: 'stopping', concurrency: 1, endpoints: [endpoint({ hold: (request: RpcRequest) => { handled.push(request.args['n']); return gate; } })] };
  const its = await other.serve(options);
  for (const n of [1, 2, 3]) await messaging.client.cast({ ...target, server: 'stopping' }, 'hold', { n }, context);
  await until(() => handled.length === 1);
  const fanouts = async (): Promise<number> => (await broker.ctl('list_queues', 'name', '--silent')).split('\n').filter((name) => name.startsWith('compute_fanout_')).length;
  const before = await fanouts();
  const stopped = its.stop(5000);
  setTimeout(letEnd, 300);
  await stopped;
  t.deepEqual(handled, [1], 'the one that ran was let end');
  t.is(await fanouts(), before - 1);
  const again = await other.serve(options);
  await until(() => handled.length === 3);
  t.deepEqual(handled, [1, 2, 3]);
  await again.stop(0);
});

hosted('stop aborts what does not end in time', async (t) => {
  const other = messagingFor(t, broker.url);
  const its = await other.serve({ topics: ['compute'], server: 'late', endpoints: [endpoint({ slow: (request) => sleep(60_000, undefined, { signal: request.signal }) })] });
  const call = messaging.client.call({ ...target, server: 'late' }, 'slow', {}, context);
  await until(() => its.running === 1);
  await its.stop(100);
  await t.throwsAsync(call, { instanceOf: RemoteFailure });
});

/** What survives when the broker goes: stopped, killed, not there yet, blocked, queues deleted under our feet. */
import test, { type ExecutionContext } from 'ava';
import { connect } from 'amqplib';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectMessaging, type Messaging } from '../../../src/messaging/messaging.js';
import { HaulierError } from '../../../src/base/errors.js';
import { MessageUndeliverable, MessagingTimeout } from '../../../src/messaging/types.js';
import { Broker, freePorts, rabbitmqMissing } from '../lib/rabbitmq.js';
import { context, endpoint, log, messagingFor, target, until } from './kit.js';

const missing = rabbitmqMissing();
const hosted = missing ? test.serial.skip : test.serial;
let broker: Broker;

test.before(async (t) => {
  if (missing) return t.log(`SKIPPED: ${missing}`);
  broker = await Broker.start();
});
test.after.always(() => broker?.close());

/** A server that counts, and a client in another process's place. */
async function pair(t: ExecutionContext, rabbit = {}): Promise<{ numbers: number[]; server: Messaging; client: Messaging }> {
  const numbers: number[] = [];
  const server = messagingFor(t, broker.url, { rabbit });
  const client = messagingFor(t, broker.url, { rabbit });
  await server.serve({ topics: ['compute'], server: 'here', endpoints: [endpoint({ count: ({ args }) => { numbers.push(Number(args['n'])); return args['n']; } })] });
  t.is(await client.client.call(target, 'count', { n: 0 }, context), 0);
  return { numbers, server, client };
}

async function queues(): Promise<string[]> {
  return (await broker.ctl('list_queues', 'name', '--silent')).split('\n').filter((name) => /^(compute|reply)/.test(name)).sort();
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

for (const how of ['orderly', 'kill'] as const) {
  hosted(`broker restart (${how}): the same queues come back, no cast is lost, none is doubled`, async (t) => {
    const { numbers, server, client } = await pair(t);
    await server.client.call(target, 'count', { n: 0 }, context); // its reply queue too
    const before = await queues();
    numbers.length = 0;
    await broker.stop(how);
    await until(() => !client.healthy && !server.healthy);
    const casts = range(0, 50).map((n) => client.client.cast(target, 'count', { n }, context));
    const call = client.client.call(target, 'count', { n: 50 }, context);
    await sleep(300);
    const began = Date.now();
    await broker.restart();
    await Promise.all(casts);
    t.is(await call, 50);
    t.log(`all sent ${Date.now() - began} ms after the restart began`);
    await until(() => numbers.length >= 51);
    await sleep(300);
    t.deepEqual([...numbers].sort((a, b) => a - b), range(0, 51));
    const after = await queues();
    t.is(after.filter((name) => name.startsWith('compute')).length, 3);
    t.is(after.filter((name) => name.startsWith('reply')).length, 2, 'those of closed clients went with the broker');
    t.true(after.every((name) => before.includes(name)), 'under the same names');
    t.true(client.healthy && server.healthy);
  });
}

hosted('calls and casts sent through a restart: each cast whose promise resolved after it arrived once', async (t) => {
  const { numbers, client } = await pair(t, { amqp_durable_queues: false });
  numbers.length = 0;
  let n = 0;
  let sending = true;
  const sent: Promise<void>[] = [];
  const flood = (async () => {
    while (sending) {
      sent.push(client.client.cast(target, 'count', { n: n++ }, context));
      await sleep(1);
    }
  })();
  await sleep(200);
  await broker.stop();
  const cut = n;
  await broker.restart();
  await sleep(2000);
  sending = false;
  await flood;
  await Promise.all(sent);
  // all that was sent since, in whatever order; what never comes fails below
  await until(() => range(cut + 1, n).every((item) => numbers.includes(item))).catch(() => undefined);
  t.is(new Set(numbers).size, numbers.length, 'none twice');
  const lost = range(0, n).filter((item) => !numbers.includes(item));
  // the queues are transient: what lay in them when the broker stopped is gone, and no sender can know
  t.true(lost.every((item) => item <= cut), `lost ${lost.length} of ${n} (${String(lost.slice(0, 10))}...), stopped at ${cut}`);
  t.log(`${n} casts, stopped at ${cut}, ${lost.length} lost in the broker's memory`);
});

hosted('a start before the broker: nothing throws, all works once it is there', async (t) => {
  await broker.stop();
  const messaging = messagingFor(t, broker.url);
  const serving = messaging.serve({ topics: ['compute'], server: 'early', endpoints: [endpoint({ hello: () => 'hello' })] });
  const cast = messaging.client.cast({ ...target, server: 'early' }, 'hello', {}, context);
  await t.throwsAsync(messaging.client.call(target, 'x', {}, context, { timeoutMs: 300 }), { instanceOf: MessagingTimeout });
  const abort = new AbortController();
  const given = messaging.client.cast(target, 'x', {}, context, { signal: abort.signal });
  const servingNever = messaging.serve({ topics: ['compute'], server: 'never', endpoints: [], signal: abort.signal });
  abort.abort(new Error('enough'));
  await t.throwsAsync(given, { message: 'enough' });
  await t.throwsAsync(servingNever, { message: 'enough' });
  t.false(messaging.healthy);
  t.regex(messaging.connections()[0]?.problem ?? '', /ECONNREFUSED/);
  await broker.restart();
  await serving;
  await cast;
  t.is(await messaging.client.call({ ...target, server: 'early' }, 'hello', {}, context), 'hello');
  t.true(messaging.healthy);
});

hosted('close ends everything that waits', async (t) => {
  const [port] = await freePorts(1);
  const messaging = connectMessaging({ transportUrl: `rabbit://u:p@127.0.0.1:${port}/` }, log);
  const waiting = [messaging.client.cast(target, 'x', {}, context), messaging.client.call(target, 'x', {}, context), messaging.serve({ topics: ['compute'], server: 'x', endpoints: [] })];
  const results = Promise.allSettled(waiting);
  await sleep(100);
  await messaging.close();
  for (const result of await results) t.true(result.status === 'rejected' && result.reason instanceof HaulierError && result.reason.code === 'CANCELLED');
});

hosted('the second broker of the URL is used when the first is dead', async (t) => {
  const [dead] = await freePorts(1);
  const messaging = messagingFor(t, `rabbit://guest:guest@127.0.0.1:${dead},guest:guest@127.0.0.1:${broker.port}/`);
  await messaging.serve({ topics: ['compute'], server: 'two', endpoints: [endpoint({ hello: () => 'hello' })] });
  t.is(await messaging.client.call({ ...target, server: 'two' }, 'hello', {}, context), 'hello');
});

hosted('a deleted queue is declared again', async (t) => {
  const { client } = await pair(t);
  await broker.ctl('delete_queue', 'compute.here');
  await broker.ctl('delete_queue', (await queues()).find((name) => name.startsWith('reply_'))!);
  t.is(await client.client.call(target, 'count', { n: 7 }, context, { timeoutMs: 20_000 }), 7);
});

hosted('a vanished fanout exchange does not hurt', async (t) => {
  const { client, numbers } = await pair(t);
  const fanout = { topic: 'passing', version: '6.0' };
  await client.client.fanout(fanout, 'count', { n: 1 }, context);
  const model = await connect({ hostname: '127.0.0.1', port: broker.port });
  await (await model.createChannel()).deleteExchange('passing_fanout');
  await model.close();
  await client.client.fanout(fanout, 'count', { n: 2 }, context);
  await client.client.fanout({ topic: 'compute', version: '6.0' }, 'count', { n: 3 }, context);
  await until(() => numbers.includes(3));
  t.pass();
});

hosted('a cast to nobody fails after the retry time', async (t) => {
  const messaging = messagingFor(t, broker.url, { rabbit: { kombu_missing_consumer_retry_timeout: 1 } });
  await t.throwsAsync(messaging.client.cast({ ...target, server: 'nobody' }, 'x', {}, context), { instanceOf: MessageUndeliverable });
});

hosted('a blocked connection waits and goes on', async (t) => {
  const { client, numbers } = await pair(t);
  await broker.ctl('set_vm_memory_high_watermark', '0.0001');
  try {
    // the broker blocks a connection at its first publish after the alarm
    const first = client.client.cast(target, 'count', { n: 1 }, context);
    await until(() => client.connections()[0]?.state === 'blocked');
    const second = client.client.cast(target, 'count', { n: 2 }, context);
    t.false(client.healthy);
    await sleep(300);
    t.false(numbers.includes(2));
    await broker.ctl('set_vm_memory_high_watermark', '0.6');
    await Promise.all([first, second]);
    await until(() => numbers.includes(1) && numbers.includes(2));
  } finally {
    await broker.ctl('set_vm_memory_high_watermark', '0.6');
  }
  t.true(client.healthy);
});

hosted('a broker that falls silent is noticed by its heartbeat, an idle one is not dropped', async (t) => {
  const { client, server, numbers } = await pair(t, { heartbeat_timeout_threshold: 1 });
  await sleep(4000);
  t.true(client.healthy && server.healthy, 'idle connections stay');
  broker.freeze();
  t.teardown(() => broker.thaw());
  const cast = client.client.cast(target, 'count', { n: 5 }, context);
  await until(() => !client.healthy && !server.healthy, 10_000);
  broker.thaw();
  await cast;
  await until(() => numbers.includes(5));
  t.is(await client.client.call(target, 'count', { n: 6 }, context), 6);
  t.is(numbers.filter((n) => n === 5).length, 1, 'published twice, handled once');
});

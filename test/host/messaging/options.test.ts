/** Durable, quorum and stream queues, differing declarations, TLS and logins on a real RabbitMQ. */
import test from 'ava';
import { connect } from 'amqplib';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { RabbitOptions } from '../../../src/messaging/options.js';
import { Broker, rabbitmqMissing } from '../lib/rabbitmq.js';
import { context, endpoint, messagingFor, target, until } from './kit.js';

const missing = rabbitmqMissing();
const hosted = missing ? test.serial.skip : test.serial;
let broker: Broker;
let folder: string;
let vhosts = 0;

async function makeCertificates(): Promise<void> {
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { cwd: folder });
  for (const ca of ['ca', 'strange']) await openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${ca}`, '-keyout', `${ca}.key`, '-out', `${ca}.pem`);
  await openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=broker', '-addext', 'subjectAltName=DNS:localhost', '-keyout', 'broker.key', '-out', 'broker.csr');
  await openssl('x509', '-req', '-in', 'broker.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-days', '2', '-copy_extensions', 'copy', '-out', 'broker.pem');
}

test.before(async (t) => {
  if (missing) return t.log(`SKIPPED: ${missing}`);
  folder = await mkdtemp(join(tmpdir(), 'messaging-tls-'));
  await makeCertificates();
  broker = await Broker.start({ tls: { ca: join(folder, 'ca.pem'), cert: join(folder, 'broker.pem'), key: join(folder, 'broker.key') } });
});
test.after.always(async () => {
  await broker?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Each test has a virtual host of its own, so that one's declarations do not bind the next. */
async function freshVhost(): Promise<{ name: string; url: string }> {
  const name = `v/${++vhosts}`;
  await broker.ctl('add_vhost', name);
  await broker.ctl('set_permissions', '-p', name, 'guest', '.*', '.*', '.*');
  return { name, url: `rabbit://guest:guest@127.0.0.1:${broker.port}/v%2F${vhosts}` };
}

interface QueueRow { readonly name: string; readonly durable: boolean; readonly type: string; readonly auto_delete: boolean; readonly arguments: readonly [string, string, unknown][] }

async function queueRows(vhost: string): Promise<QueueRow[]> {
  const rows = JSON.parse(await broker.ctl('list_queues', '-p', vhost, 'name', 'durable', 'type', 'auto_delete', 'arguments', '--formatter', 'json')) as (Omit<QueueRow, 'type'> & { type: string })[];
  return rows.map((row) => ({ ...row, name: row.name.replace(/[0-9a-f]{32}/, 'HEX32'), type: row.type.replace(/^.*_(\w+)_queue$/, '$1') })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

const modes: { title: string; rabbit: Partial<RabbitOptions>; expected: [name: string, durable: boolean, type: string, args: Record<string, unknown>][] }[] = [
  {
    title: 'default', rabbit: {},
    expected: [['compute', false, 'classic', {}], ['compute.here', false, 'classic', {}], ['compute_fanout_HEX32', false, 'classic', { 'x-expires': 1800000 }], ['reply_HEX32', false, 'classic', { 'x-expires': 1800000 }]],
  },
  {
    title: 'durable', rabbit: { amqp_durable_queues: true, rabbit_transient_queues_ttl: 60 },
    expected: [['compute', true, 'classic', {}], ['compute.here', true, 'classic', {}], ['compute_fanout_HEX32', false, 'classic', { 'x-expires': 60000 }], ['reply_HEX32', false, 'classic', { 'x-expires': 60000 }]],
  },
  {
    title: 'quorum', rabbit: { rabbit_quorum_queue: true, rabbit_quorum_delivery_limit: 5 },
    expected: [['compute', true, 'quorum', { 'x-queue-type': 'quorum', 'x-delivery-limit': 5 }], ['compute.here', true, 'quorum', { 'x-queue-type': 'quorum', 'x-delivery-limit': 5 }], ['compute_fanout_HEX32', false, 'classic', { 'x-expires': 1800000 }], ['reply_HEX32', false, 'classic', { 'x-expires': 1800000 }]],
  },
  {
    title: 'all quorum', rabbit: { rabbit_quorum_queue: true, rabbit_transient_quorum_queue: true },
    expected: [['compute', true, 'quorum', { 'x-queue-type': 'quorum' }], ['compute.here', true, 'quorum', { 'x-queue-type': 'quorum' }], ['compute_fanout_HEX32', true, 'quorum', { 'x-queue-type': 'quorum', 'x-expires': 1800000 }], ['reply_HEX32', true, 'quorum', { 'x-queue-type': 'quorum', 'x-expires': 1800000 }]],
  },
  {
    title: 'stream fanout', rabbit: { rabbit_quorum_queue: true, rabbit_transient_quorum_queue: true, rabbit_stream_fanout: true, rabbit_qos_prefetch_count: 10 },
    expected: [['compute', true, 'quorum', { 'x-queue-type': 'quorum' }], ['compute.here', true, 'quorum', { 'x-queue-type': 'quorum' }], ['compute_fanout', true, 'stream', { 'x-queue-type': 'stream', 'x-max-age': '1800s' }], ['reply_HEX32', true, 'quorum', { 'x-queue-type': 'quorum', 'x-expires': 1800000 }]],
  },
];

for (const { title, rabbit, expected } of modes) {
  hosted(`queues as oslo declares them: ${title}`, async (t) => {
    const vhost = await freshVhost();
    const messaging = messagingFor(t, vhost.url, { rabbit });
    const seen: unknown[] = [];
    const options = { topics: ['compute'], server: 'here', endpoints: [endpoint({ note: ({ args }) => { seen.push(args['n']); return args['n']; } })] };
    const server = await messaging.serve(options);
    t.is(await messaging.client.call(target, 'note', { n: 1 }, context), 1);
    await messaging.client.cast(target, 'note', { n: 2 }, context);
    await messaging.client.fanout({ topic: 'compute', version: '6.0' }, 'note', { n: 3 }, context);
    await until(() => seen.length === 3);
    const rows = await queueRows(vhost.name);
    const withoutDefaultType = (row: QueueRow): Record<string, unknown> => Object.fromEntries(row.arguments.filter(([key, , value]) => !(key === 'x-queue-type' && value === 'classic')).map(([key, , value]) => [key, value]));
    t.deepEqual(rows.map((row) => [row.name, row.durable, row.type, withoutDefaultType(row)]), expected);
    // the same declarations again are accepted
    const again = messagingFor(t, vhost.url, { rabbit });
    await again.serve({ ...options, server: 'here' });
    await server.stop(0);
  });
}

hosted('a durable cast survives a broker restart', async (t) => {
  const vhost = await freshVhost();
  const rabbit = { amqp_durable_queues: true };
  const messaging = messagingFor(t, vhost.url, { rabbit });
  const server = await messaging.serve({ topics: ['compute'], server: 'here', endpoints: [] });
  await server.stop(0);
  await messaging.client.cast(target, 'note', {}, context);
  await broker.stop('kill');
  await broker.restart();
  const seen: unknown[] = [];
  await messaging.serve({ topics: ['compute'], server: 'here', endpoints: [endpoint({ note: () => { seen.push(1); } })] });
  await until(() => seen.length === 1);
  t.pass();
});

hosted('a durable setting on a non-durable exchange falls back', async (t) => {
  const vhost = await freshVhost();
  const model = await connect({ hostname: '127.0.0.1', port: broker.port, vhost: encodeURIComponent(vhost.name) });
  await (await model.createChannel()).assertExchange('nova', 'topic', { durable: false });
  await model.close();
  const messaging = messagingFor(t, vhost.url, { rabbit: { amqp_durable_queues: true } });
  await messaging.serve({ topics: ['compute'], server: 'here', endpoints: [endpoint({ hello: () => 'hello' })] });
  t.is(await messaging.client.call(target, 'hello', {}, context), 'hello');
  t.deepEqual((await queueRows(vhost.name)).filter(({ name }) => name.startsWith('compute')).map(({ durable }) => durable), [false, false, false]);
});

hosted('a queue of another kind is a problem that health names, and it heals', async (t) => {
  const vhost = await freshVhost();
  const model = await connect({ hostname: '127.0.0.1', port: broker.port, vhost: encodeURIComponent(vhost.name) });
  const channel = await model.createChannel();
  await channel.assertQueue('compute.here', { durable: false, expires: 600_000 });
  const messaging = messagingFor(t, vhost.url);
  const serving = messaging.serve({ topics: ['compute'], server: 'here', endpoints: [endpoint({ hello: () => 'hello' })] });
  await until(() => messaging.connections().some(({ problem }) => problem?.includes('PRECONDITION_FAILED')));
  await channel.deleteQueue('compute.here');
  await serving;
  t.is(await messaging.client.call(target, 'hello', {}, context), 'hello');
  await model.close();
});

const tls = (more: Partial<RabbitOptions>): { rabbit: Partial<RabbitOptions> } => ({ rabbit: { ssl: true, ...more } });

hosted('TLS: chain and name are checked as told', async (t) => {
  const byName = `rabbit://guest:guest@localhost:${broker.tlsPort}/`;
  const byAddress = `rabbit://guest:guest@127.0.0.1:${broker.tlsPort}/`;
  const ca = { ssl_ca_file: join(folder, 'ca.pem') };
  const works = async (url: string, more: Partial<RabbitOptions>): Promise<void> => {
    const messaging = messagingFor(t, url, tls(more));
    await messaging.client.fanout({ topic: 'nobody', version: '1.0' }, 'x', {}, context, { signal: AbortSignal.timeout(5000) });
  };
  const fails = async (url: string, more: Partial<RabbitOptions>, problem: RegExp): Promise<void> => {
    const messaging = messagingFor(t, url, tls(more));
    await until(() => problem.test(messaging.connections()[0]?.problem ?? ''));
  };
  await t.notThrowsAsync(works(byName, ca));
  await t.notThrowsAsync(works(byName, { ...ca, ssl_version: 'TLSv1_2', rabbit_login_method: 'PLAIN' }));
  await t.notThrowsAsync(works(byAddress, { ...ca, ssl_enforce_hostname_verification: false }));
  await t.notThrowsAsync(works(byAddress, {}), 'without an authority nothing is checked, as in oslo');
  await t.notThrowsAsync(fails(byAddress, ca, /altnames|IP/i));
  await t.notThrowsAsync(fails(byName, { ssl_ca_file: join(folder, 'strange.pem') }, /certificate|verify/i));
  await t.notThrowsAsync(fails(byName, { ssl_ca_file: join(folder, 'missing.pem') }, /ENOENT/));
});

hosted('a wrong password is a problem that health names, without the password', async (t) => {
  const messaging = messagingFor(t, `rabbit://guest:sesame@127.0.0.1:${broker.port}/`);
  await until(() => /ACCESS[_-]REFUSED/.test(messaging.connections()[0]?.problem ?? ''));
  t.false(JSON.stringify(messaging.connections()).includes('sesame'));
});

hosted('the connection bears the name PROGRAM:PID:UUID and the capabilities', async (t) => {
  const messaging = messagingFor(t, broker.url, { program: 'haulier-test' });
  await messaging.client.fanout({ topic: 'nobody', version: '1.0' }, 'x', {}, context);
  const listed = await broker.ctl('list_connections', 'client_properties', 'auth_mechanism', 'timeout', '--silent');
  const line = listed.split('\n').find((row) => row.includes('haulier-test:')) ?? '';
  t.regex(line, new RegExp(`haulier-test:${process.pid}:[0-9a-f-]{36}`));
  for (const capability of ['consumer_cancel_notify', 'connection.blocked', 'authentication_failure_close']) t.true(line.includes(capability), capability);
  t.regex(line, /AMQPLAIN\s+60$/);
});

import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { DuplicateCheck, ObsoleteQueues } from '../../../src/messaging/duplicates.js';
import { rabbitDefaults } from '../../../src/messaging/options.js';
import { Waiter } from '../../../src/messaging/replies.js';
import { BrokerRota, reconnectDelayMs, retryDelayMs } from '../../../src/messaging/brokers.js';
import type { Endpoint } from '../../../src/messaging/types.js';
import { chooseEndpoint, versionFits } from '../../../src/messaging/version.js';

const endpoint = (version: string, methods: string[], namespace?: string): Endpoint => ({ namespace, version, has: (method) => methods.includes(method), handle: () => Promise.resolve(version) });

test('versions: same major, minor not above', (t) => {
  t.true(versionFits('6.5', '6.0'));
  t.true(versionFits('6.5', '6.5'));
  t.true(versionFits('6.10', '6.9'));
  t.false(versionFits('6.5', '6.6'));
  t.false(versionFits('6.5', '5.0'));
  t.true(versionFits('6.5.2', '6.5.1'));
  t.false(versionFits('6.5', '6.5.1'));
  t.true(versionFits('6.5', '6.4.9'));
  for (const bad of ['', '6', 'six.0', '6.0.0.0', '-6.0']) t.false(versionFits('6.5', bad));
});

test('the endpoint is chosen by namespace, version and method', (t) => {
  const six = endpoint('6.5', ['boot', '_private']);
  const five = endpoint('5.13', ['boot', 'old']);
  const base = endpoint('1.1', ['ping'], 'baseapi');
  const all = [six, five, base];
  t.is(chooseEndpoint(all, { method: 'boot', version: '6.0' }), six);
  t.is(chooseEndpoint(all, { method: 'boot', version: '5.13' }), five);
  t.is(chooseEndpoint(all, { method: 'ping', version: '1.0', namespace: 'baseapi' }), base);
  const refused = (request: { method: string; version: string; namespace?: string }, className: string): void => { t.like(t.throws(() => chooseEndpoint(all, request)), { className }); };
  refused({ method: 'boot', version: '6.6' }, 'UnsupportedVersion');
  refused({ method: 'boot', version: '4.0' }, 'UnsupportedVersion');
  refused({ method: 'boot', version: '6.0', namespace: 'compute_task' }, 'UnsupportedVersion');
  refused({ method: 'old', version: '6.0' }, 'NoSuchMethod');
  refused({ method: '_private', version: '6.0' }, 'NoSuchMethod');
  t.throws(() => chooseEndpoint(all, { method: 'boot', version: '7.0' }), { message: 'Endpoint does not support RPC version 7.0. Attempted method: boot' });
});

test('of two fitting endpoints the one with the method answers', (t) => {
  const second = endpoint('6.5', ['b']);
  t.is(chooseEndpoint([endpoint('6.5', ['a']), second], { method: 'b', version: '6.0' }), second);
});

test('the last 16 ids are remembered', (t) => {
  const check = new DuplicateCheck();
  const ids = Array.from({ length: 17 }, (_, i) => `id${i}`);
  t.true(ids.every((id) => !check.seen(id)));
  t.true(check.seen('id16'));
  t.true(check.seen('id1'));
  t.false(check.seen('id0'), 'pushed out');
  t.false(check.seen(undefined));
  t.false(check.seen(undefined));
});

test('a gone queue is remembered for a minute, and no more than 200', (t) => {
  let now = 0;
  const gone = new ObsoleteQueues(60_000, () => now);
  gone.add('a');
  now = 59_999;
  t.true(gone.has('a'));
  now = 60_000;
  t.false(gone.has('a'));
  for (let i = 0; i < 201; i++) gone.add(`q${i}`);
  t.false(gone.has('q0'));
  t.true(gone.has('q1') && gone.has('q200'));
});

const reply = (more: object): Parameters<Waiter['take']>[0] => ({ messageId: 'm', result: null, failure: null, ending: false, ...more });

test('a value before the end is kept', async (t) => {
  const waiter = new Waiter();
  waiter.take(reply({ result: 7 }));
  waiter.take(reply({}));
  waiter.take(reply({ ending: true }));
  t.is(await waiter.answer, 7);
});

test('a sign of life restarts the monitor; silence ends the call', async (t) => {
  const waiter = new Waiter({ ms: 2000, error: () => new Error('silent') });
  for (let i = 0; i < 3; i++) {
    await sleep(800);
    waiter.take(reply({}));
  }
  const began = performance.now();
  await t.throwsAsync(waiter.answer, { message: 'silent' });
  t.true(performance.now() - began > 1000);
});

test('a failure ends the call', async (t) => {
  const waiter = new Waiter();
  waiter.take(reply({ failure: '{"class": "Forbidden", "module": "nova.exception"}', ending: true }));
  t.like(await t.throwsAsync(waiter.answer), { className: 'Forbidden' });
});

const hosts = ['a', 'b', 'c'].map((hostname) => ({ hostname, port: 5672, username: '', password: '' }));

test('brokers are tried in turn, after one shuffle', (t) => {
  const rota = new BrokerRota(hosts, 'round-robin');
  const rounds = [0, 1].map(() => hosts.map(() => rota.next()));
  t.deepEqual(rounds[0]!.map(({ endsRound }) => endsRound), [false, false, true]);
  t.deepEqual(rounds[0]!.map(({ host }) => host.hostname).sort(), ['a', 'b', 'c']);
  t.deepEqual(rounds[0], rounds[1]);
});

test('or shuffled each round', (t) => {
  let seed = 0;
  const rota = new BrokerRota(hosts, 'shuffle', () => [0.1, 0.2, 0.3, 0.3, 0.2, 0.1][seed++ % 6]!);
  const round = (): string => hosts.map(() => rota.next().host.hostname).join('');
  t.deepEqual([round(), round()], ['abc', 'cba']);
});

test('waits grow from 1 s by 2 s to 30 s', (t) => {
  t.deepEqual([1, 2, 3, 100].map((failures) => retryDelayMs(failures, rabbitDefaults)), [1000, 3000, 5000, 30_000]);
  t.is(reconnectDelayMs({ ...rabbitDefaults, kombu_reconnect_splay: 4 }, () => 0.5), 3000);
});

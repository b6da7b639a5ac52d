import test from 'ava';
import { isHaulierError } from '../../../src/base/errors.js';
import { parseTransportUrl } from '../../../src/messaging/transport-url.js';
import { rabbitDefaults, resolveSettings } from '../../../src/messaging/options.js';

const guest = { username: 'guest', password: 'guest' };

test('one host', (t) => {
  t.deepEqual(parseTransportUrl('rabbit://nova:secret@control:5673/nova'), { hosts: [{ hostname: 'control', port: 5673, username: 'nova', password: 'secret' }], virtualHost: 'nova', query: {} });
});

test('several hosts with credentials of their own', (t) => {
  const { hosts, virtualHost } = parseTransportUrl('rabbit://u:p@h1:5672,u2:p2@h2,h3/');
  t.deepEqual(hosts, [
    { hostname: 'h1', port: 5672, username: 'u', password: 'p' },
    { hostname: 'h2', port: 5672, username: 'u2', password: 'p2' },
    { hostname: 'h3', port: 5672, ...guest },
  ]);
  t.is(virtualHost, '/');
});

test('virtual hosts', (t) => {
  t.is(parseTransportUrl('rabbit://u:p@h').virtualHost, '/');
  t.is(parseTransportUrl('rabbit://u:p@h//').virtualHost, '/');
  t.is(parseTransportUrl('rabbit://u:p@h/a%2Fb').virtualHost, 'a/b');
  t.is(parseTransportUrl('rabbit://u:p@h/a/b').virtualHost, 'a/b');
});

test('IPv6', (t) => {
  t.deepEqual(parseTransportUrl('rabbit://u:p@[fd00::1]:5671,[::1]/v').hosts, [{ hostname: 'fd00::1', port: 5671, username: 'u', password: 'p' }, { hostname: '::1', port: 5672, ...guest }]);
});

test('percent-encoding, and an @ or : in the password', (t) => {
  t.like(parseTransportUrl('rabbit://us%40er:p%3A%2Fw%2C%25@h/').hosts[0], { username: 'us@er', password: 'p:/w,%' });
  t.like(parseTransportUrl('rabbit://u:p@w:d@h/').hosts[0], { username: 'u', password: 'p@w:d', hostname: 'h' });
});

test('no host at all is the local broker', (t) => {
  t.deepEqual(parseTransportUrl('rabbit://').hosts, [{ hostname: 'localhost', port: 5672, ...guest }]);
  t.deepEqual(parseTransportUrl('rabbit:///v').virtualHost, 'v');
});

test('options of the URL win over the section', (t) => {
  const settings = resolveSettings({ transportUrl: 'rabbit://h/?ssl=1&heartbeat_timeout_threshold=10&ssl_ca_file=%2Fa&unknown=x', rabbit: { ssl: false, heartbeat_timeout_threshold: 30, amqp_durable_queues: true } });
  t.deepEqual(settings.rabbit, { ...rabbitDefaults, ssl: true, heartbeat_timeout_threshold: 10, ssl_ca_file: '/a', amqp_durable_queues: true });
  t.like(settings, { controlExchange: 'nova', callTimeoutMs: 60_000, concurrency: 64 });
});

for (const url of ['', 'control', 'amqp://u:pa55@h/', 'kafka://u:pa55@h/', 'rabbit://u:pa55@h:port/', 'rabbit://u:pa55@h:70000/', 'rabbit://u:pa55@[::1/', 'rabbit://u:pa55%zz@h/']) {
  test(`refused: ${url || '(empty)'}`, (t) => {
    const error = t.throws(() => parseTransportUrl(url));
    t.true(isHaulierError(error, 'CONFIG_INVALID'));
    t.false(error?.message.includes('pa55'));
  });
}

test('combinations that oslo refuses', (t) => {
  const refused = (rabbit: Partial<typeof rabbitDefaults>, url = 'rabbit://h/'): void => {
    t.true(isHaulierError(t.throws(() => resolveSettings({ transportUrl: url, rabbit })), 'CONFIG_INVALID'));
  };
  refused({ rabbit_quorum_queue: true, rabbit_ha_queues: true });
  refused({ rabbit_stream_fanout: true, rabbit_transient_quorum_queue: true });
  refused({ rabbit_stream_fanout: true, rabbit_qos_prefetch_count: 10 });
  refused({ rabbit_login_method: 'RABBIT-CR-DEMO' });
  refused({}, 'rabbit://h/?ssl=perhaps');
  refused({}, 'rabbit://h/?heartbeat_timeout_threshold=soon');
});

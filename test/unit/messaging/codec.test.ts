import test from 'ava';
import { deflateSync, gzipSync } from 'node:zlib';
import type { ConsumeMessage } from 'amqplib';
import { adminContext, contextTimestamp, elevated, publicContext, requestIdOf } from '../../../src/messaging/context.js';
import { bodyOf, decodeEnvelope, encodeEnvelope, EnvelopeError, messageProperties } from '../../../src/messaging/envelope.js';
import { decodeReply, decodeRequest, encodeReply, encodeRequest, hexId } from '../../../src/messaging/message.js';

test('the envelope holds the message as text', (t) => {
  t.deepEqual(JSON.parse(encodeEnvelope({ a: 'ä' }).toString()), { 'oslo.version': '2.0', 'oslo.message': '{"a":"ä"}' });
});

test('a body without envelope is the message', (t) => {
  t.deepEqual(decodeEnvelope(Buffer.from('{"method": "x"}')), { method: 'x' });
  t.deepEqual(decodeEnvelope(Buffer.from('{"oslo.version": "2.0"}')), { 'oslo.version': '2.0' });
});

for (const body of ['', 'x', '[]', 'null', '"text"', '{"oslo.version": "3.0", "oslo.message": "{}"}', '{"oslo.version": "2.1", "oslo.message": "{}"}', '{"oslo.version": 2, "oslo.message": "{}"}', '{"oslo.version": "2.0", "oslo.message": {}}', '{"oslo.version": "2.0", "oslo.message": "[]"}', '{"oslo.version": "2.0", "oslo.message": "{secret"}']) {
  test(`envelope refused: ${body}`, (t) => {
    const error = t.throws(() => decodeEnvelope(Buffer.from(body)), { instanceOf: EnvelopeError });
    t.false(error?.message.includes('secret'));
  });
}

test('expiration is text, whole and only where asked for', (t) => {
  t.is(messageProperties(60_000).expiration, '60000');
  t.is(messageProperties(99.6).expiration, '100');
  t.false('expiration' in messageProperties());
});

test('a hostile key stays a plain key', (t) => {
  const { context } = decodeRequest(JSON.parse('{"method": "x", "_context___proto__": {"is_admin": true}}') as Record<string, unknown>);
  t.is(context['is_admin'], undefined);
  t.deepEqual(Object.keys(context), ['__proto__']);
});

test('what a request may lack', (t) => {
  t.like(decodeRequest({ method: 'x' }), { version: '1.0', namespace: undefined, reply: undefined, args: {}, uniqueId: undefined });
  t.like(decodeRequest({ method: 'x', args: null, namespace: null, _timeout: null, _msg_id: null }), { args: {}, namespace: undefined, reply: undefined });
  t.is(decodeRequest({ method: 'x', _msg_id: 'm', _reply_q: 'q', _timeout: '60' }).reply?.monitorSeconds, 60);
  t.throws(() => decodeRequest({ args: {} }), { instanceOf: TypeError });
});

test('a cast has no reply keys, a call all three', (t) => {
  const request = { method: 'x', args: {}, version: '6.0', uniqueId: 'u', context: { is_admin: true } };
  t.deepEqual(Object.keys(encodeRequest(request)), ['method', 'args', 'version', '_unique_id', '_context_is_admin']);
  t.deepEqual(encodeRequest({ ...request, namespace: 'n', reply: { messageId: 'm', replyQueue: 'q', monitorSeconds: null } }), { method: 'x', args: {}, namespace: 'n', version: '6.0', _msg_id: 'm', _reply_q: 'q', _timeout: null, _unique_id: 'u', _context_is_admin: true });
});

test('replies', (t) => {
  t.deepEqual(encodeReply({ messageId: 'm', uniqueId: 'u', result: undefined, failure: null, ending: true }), { result: null, failure: null, ending: true, _msg_id: 'm', _unique_id: 'u' });
  t.like(decodeReply({ _msg_id: 'm', result: 0 }), { result: 0, failure: null, ending: false });
  t.throws(() => decodeReply({ result: 1 }), { instanceOf: TypeError });
});

test('ids are 32 hex digits of a uuid4', (t) => {
  t.regex(hexId(), /^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
});

test('timestamps have microseconds and no zone', (t) => {
  t.is(contextTimestamp(Date.UTC(2026, 10, 22, 1, 19, 31, 126) + 0.7041), '2026-11-22T01:19:31.126704');
  t.regex(contextTimestamp(), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
});

test('elevated changes only the rights', (t) => {
  const user = { ...adminContext('req-1'), is_admin: false, roles: ['member'], auth_token: 'x', extra: [1] };
  t.deepEqual(elevated(user), { ...user, is_admin: true, roles: ['member', 'admin'] });
  t.deepEqual(elevated(elevated(user), 'yes'), { ...user, is_admin: true, roles: ['member', 'admin'], read_deleted: 'yes' });
  t.deepEqual(user.roles, ['member']);
  t.is(requestIdOf(user), 'req-1');
  t.is(requestIdOf({}), undefined);
  t.false('auth_token' in publicContext(user) || 'service_catalog' in publicContext(user));
});

test('a compressed body is inflated', (t) => {
  const body = (content: Buffer, compression?: string): Buffer => bodyOf({ content, properties: { headers: compression ? { compression } : {} } as ConsumeMessage['properties'] });
  const text = Buffer.from('{}');
  t.deepEqual(body(text), text);
  t.deepEqual(body(deflateSync(text), 'application/x-gzip'), text);
  t.deepEqual(body(gzipSync(text), 'application/x-gzip'), text);
  t.throws(() => body(text, 'application/x-gzip'), { instanceOf: EnvelopeError });
  t.throws(() => body(text, 'application/x-bz2'), { instanceOf: EnvelopeError });
});

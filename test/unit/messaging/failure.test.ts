import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { decodeFailure, encodeFailure, toFailure } from '../../../src/messaging/failure.js';
import { MessagingTimeout, RemoteFailure, type Failure } from '../../../src/messaging/types.js';

const remote = (more: Partial<Failure>): RemoteFailure => new RemoteFailure({ class: 'InstanceNotFound', module: 'nova.exception', message: 'Instance x could not be found.', tb: ['T\n'], args: ['Instance x could not be found.'], kwargs: { instance_id: 'x', code: 404 }, ...more });

test('an error of the table is its Nova class with its code', (t) => {
  const failure = toFailure(new HaulierError('INSTANCE_NOT_FOUND', { instance: 'x' }));
  t.like(failure, { class: 'InstanceNotFound', module: 'nova.exception', message: 'Instance x could not be found.', args: ['Instance x could not be found.'], kwargs: { code: 404 } });
});

test('a builtin gets no code', (t) => {
  t.like(toFailure(new HaulierError('UNSUPPORTED', { what: 'This' })), { class: 'NotImplementedError', module: 'builtins', kwargs: {} });
});

test('a plain error, and things that are no errors', (t) => {
  t.like(toFailure(new TypeError('no')), { class: 'Exception', module: 'builtins', message: 'no', args: ['no'], kwargs: {} });
  t.like(toFailure('text'), { class: 'Exception', message: 'text', tb: [] });
  t.like(toFailure(undefined), { class: 'Exception', message: 'undefined' });
  t.like(toFailure(new MessagingTimeout('x', 'conductor', 60)), { class: 'MessagingTimeout', module: 'oslo_messaging.exceptions' });
});

test('the stack names no folder of this host', (t) => {
  const { tb } = toFailure(new Error('x'));
  t.is(tb[0], 'Traceback (most recent call last):\n');
  t.true(tb.length > 2 && tb.every((line) => line.endsWith('\n')));
  t.false(tb.some((line) => /file:|\/(work|opt|home|usr)\//.test(line)), tb.join(''));
});

test('secrets in a message are masked', (t) => {
  t.false(JSON.stringify(toFailure(new Error('rabbit://nova:sesame@h/ refused'))).includes('sesame'));
});

test('a remote failure goes on as its own class', (t) => {
  const { tb, ...rest } = toFailure(remote({ class: 'InstanceNotFound_Remote', module: 'nova.exception_Remote' }));
  t.deepEqual(rest, { class: 'InstanceNotFound', module: 'nova.exception', message: 'Instance x could not be found.', args: ['Instance x could not be found.'], kwargs: { instance_id: 'x', code: 404 } });
  t.is(tb[0], 'T\n');
});

test('a remote failure of a module that Nova does not rebuild becomes a RemoteError', (t) => {
  t.like(toFailure(remote({ class: 'DBError', module: 'oslo_db.exception', message: 'gone' })), { class: 'RemoteError', module: 'oslo_messaging.rpc.client', message: 'Remote error: DBError gone\nT\n.', kwargs: {} });
});

test('there and back', (t) => {
  const { failure } = remote({});
  t.deepEqual(decodeFailure(encodeFailure(failure)).failure, failure);
  t.is(decodeFailure(encodeFailure(remote({ class: 'Forbidden_Remote' }).failure)).className, 'Forbidden');
});

test('what is no failure is a RemoteError with that text', (t) => {
  for (const text of ['no json', '[]', 'null', '{}', '{"class": 1, "tb": "x", "args": {}, "kwargs": []}']) {
    t.like(decodeFailure(text).failure, { class: 'RemoteError', message: text, tb: [], args: [], kwargs: {} });
  }
});

/** A stream that flows into a process which may close its input before the stream has ended, as tar does. */
import { Readable } from 'node:stream';
import test from 'ava';
import { feed } from '../../../src/container/image/feed.js';
import { startPiped } from '../../../src/container/image/piped-process.js';

test('a process that has read enough and ended well: the stream is read to its own end', async (t) => {
  const process = startPiped(['head', '-c', '5']);
  let ended = false;
  const from = Readable.from((async function* () {
    yield Buffer.from('12345');
    process.stdout.resume();
    await process.ended;
    yield Buffer.from('padding');
    ended = true;
  })());
  await feed(from, process, { afterFailure: 'stop' });
  t.true(ended);
});

test('a process that failed: the rest is not waited for, its exit code is the caller\'s to ask', async (t) => {
  const process = startPiped(['sh', '-c', 'exit 3']);
  process.stdout.resume();
  await process.ended;
  const from = Readable.from((async function* () {
    for (;;) yield Buffer.from('more');
  })());
  await feed(from, process, { afterFailure: 'stop' });
  t.is((await process.ended).code, 3);
  t.true(from.destroyed);
});

test('where the rest is wanted, it is read although the process failed', async (t) => {
  const process = startPiped(['sh', '-c', 'exit 3']);
  process.stdout.resume();
  await process.ended;
  let read = 0;
  await feed((async function* () {
    for (; read < 50; read++) yield Buffer.alloc(100_000);
  })(), process, { afterFailure: 'read on' });
  t.is(read, 50);
});

test('a stream that breaks, or an abort, is the failure', async (t) => {
  const process = startPiped(['cat']);
  process.stdout.resume();
  await t.throwsAsync(feed(Readable.from((async function* () {
    yield Buffer.from('some');
    throw new Error('lost');
  })()), process, { afterFailure: 'stop' }), { message: 'lost' });
  const abort = new AbortController();
  const from = new Readable({ read: () => undefined });
  const fed = feed(from, process, { signal: abort.signal, afterFailure: 'stop' });
  abort.abort(new Error('given up'));
  await t.throwsAsync(fed, { message: 'given up' });
  process.kill();
});

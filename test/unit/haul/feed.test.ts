/** A stream that flows into a process which may close its input before the stream has ended, as tar does. */
import { Readable } from 'node:stream';
import test from 'ava';
import { startPiped } from '../../../src/container/image/piped-process.js';
import { feed } from '../../../src/haul/disk/layer-tar.js';

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
  await feed(from, process);
  t.true(ended);
});

test('a process that failed: the rest is not waited for, its exit code is the caller\'s to ask', async (t) => {
  const process = startPiped(['sh', '-c', 'exit 3']);
  process.stdout.resume();
  await process.ended;
  const from = Readable.from((async function* () {
    for (;;) yield Buffer.from('more');
  })());
  await feed(from, process);
  t.is((await process.ended).code, 3);
  t.true(from.destroyed);
});

test('a stream that breaks, or an abort, is the failure', async (t) => {
  const process = startPiped(['cat']);
  process.stdout.resume();
  await t.throwsAsync(feed(Readable.from((async function* () {
    yield Buffer.from('some');
    throw new Error('lost');
  })()), process), { message: 'lost' });
  const abort = new AbortController();
  const from = new Readable({ read: () => undefined });
  const fed = feed(from, process, abort.signal);
  abort.abort(new Error('given up'));
  await t.throwsAsync(fed, { message: 'given up' });
  process.kill();
});

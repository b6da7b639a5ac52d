/** Work that may be given up. */
import test from 'ava';
import { setImmediate as turn } from 'node:timers/promises';
import { untilAborted } from '../../../src/base/together.js';

function pending(): { readonly promise: Promise<void>; readonly reject: (error: Error) => void } {
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<void>((_, fail) => { reject = fail; });
  return { promise, reject };
}

test('work that fails when nobody waits for it any more is no unhandled rejection, which would end the service', async (t) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  const before = pending();
  await t.throwsAsync(untilAborted(before.promise, AbortSignal.abort(new Error('given up'))), { message: 'given up' });
  const meanwhile = pending();
  const stop = new AbortController();
  const waiting = untilAborted(meanwhile.promise, stop.signal);
  stop.abort(new Error('given up'));
  await t.throwsAsync(waiting, { message: 'given up' });
  for (const { reject } of [before, meanwhile]) reject(new Error('late'));
  await turn();
  await turn();
  t.deepEqual(unhandled, []);
});

/** The parts of suspend and resume that only read text or wait. */
import test from 'ava';
import { together, untilAborted } from '../../../src/base/together.js';
import { breaksOff, errorsOf } from '../../../src/container/checkpoint/criu-log.js';
import { sleepsInVfork } from '../../../src/container/checkpoint/vfork.js';
import { watchdogIn, watchdogProblem } from '../../../src/container/checkpoint/watchdog.js';

test('a log that breaks off is that of a criu that was killed', (t) => {
  t.true(breaksOff('(00.001) Dumping processes (pid: 5 comm: init)\n(00.038) Parasite syscall_ip at 0x401000\n'));
  t.false(breaksOff('(00.1) Error (criu/x.c:1): no\n(00.2) Error (criu/cr-dump.c:2111): Dumping FAILED.\n'));
  t.false(breaksOff('(00.1) Dumping finished successfully\n'));
  t.false(breaksOff('(00.1) Pre-dumping finished successfully\n'));
  t.deepEqual(errorsOf('(00.1) Error (criu/x.c:1): no\n(00.2) Error (criu/cr-dump.c:1): Pre-dumping FAILED.\n'), ['no']);
  t.false(breaksOff('(00.1) Restore finished successfully. Tasks resumed.\n'));
  t.false(breaksOff(''));
  t.false(breaksOff('(00.1) Error (criu/bfd.c:1): bfd: Error flushing image: No space left on device\n'));
  t.true(breaksOff('(00.1) Error (criu/util.c:1534): rlimit: Can\'t setup RLIMIT_NOFILE for self: Operation not permitted\n(00.2) Dumping\n'));
  t.deepEqual(errorsOf('(00.1) Error (criu/x.c:1): no\n(00.2) Error (criu/cr-dump.c:2111): Dumping FAILED.\n'), ['no']);
});

test('a parent in a vfork is known by the call that it sleeps in', (t) => {
  t.true(sleepsInVfork('58 0x0 0x1 0x0 0x0 0x0 0x0 0x7ffc 0x4b06\n', 'x64'));
  t.true(sleepsInVfork('56 0x4111 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x4b06\n', 'x64'));
  t.true(sleepsInVfork('435 0x7ff 0x58\n', 'arm64'));
  t.false(sleepsInVfork('61 0xffffffff\n', 'x64'));
  t.false(sleepsInVfork('running\n', 'x64'));
  t.false(sleepsInVfork('', 'x64'));
});

test('work side by side ends as a whole before its first failure is told', async (t) => {
  t.deepEqual(await together(Promise.resolve(1), Promise.resolve('two')), [1, 'two']);
  let ended = false;
  const slow = new Promise<void>((resolve) => setImmediate(() => { ended = true; resolve(); }));
  await t.throwsAsync(together(Promise.reject(new Error('first')), slow, Promise.reject(new Error('second'))), { message: 'first' });
  t.true(ended);
});

test('waiting ends with the signal', async (t) => {
  const abort = new AbortController();
  const waiting = untilAborted(new Promise(() => undefined), abort.signal);
  abort.abort(new Error('given up'));
  await t.throwsAsync(waiting, { message: 'given up' });
  await t.throwsAsync(untilAborted(Promise.resolve(), abort.signal), { message: 'given up' });
  await t.notThrowsAsync(untilAborted(Promise.resolve(), new AbortController().signal));
});

test('watchdog: read from the environment of a process; journald\'s three minutes are enough for pages to come', (t) => {
  t.is(watchdogIn('PATH=/usr/bin\0WATCHDOG_USEC=180000000\0WATCHDOG_PID=22\0'), 180);
  t.is(watchdogIn('WATCHDOG_USEC=500000'), 0.5);
  for (const none of ['', 'WATCHDOG_USEC=0\0', 'XWATCHDOG_USEC=5000\0', 'WATCHDOG_USEC=5s\0', 'A=WATCHDOG_USEC=5000\0']) t.is(watchdogIn(none), undefined);
  t.is(watchdogProblem(undefined), undefined);
  t.is(watchdogProblem(180), undefined);
  t.is(watchdogProblem(60), undefined);
  t.regex(watchdogProblem(59.5) ?? '', /a watchdog of 59.5 s/);
});

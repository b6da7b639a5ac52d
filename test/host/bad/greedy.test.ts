/** Containers that take all they can get: processes, disk, memory, their console. They come to their own limits; the host, the service and the others go on. */
import { readFile, stat, statfs } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import type { ContainerExit } from '../../../src/container/container-host.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { inside, makeBed, makeSpec, operate, until, type Bed } from '../container/harness.js';
import { boot, countsOn, destroy, destroyWhole, groupValue, pidsOf, residentKiB, start, stop } from './kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; exits: ContainerExit[] }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/bad/greedy: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const exits: ContainerExit[] = [];
  t.context = { bed: await makeBed(), exits };
  t.context.bed.host.onExit((exit) => exits.push(exit));
});
test.afterEach.always(async (t) => {
  for (const view of await t.context.bed?.host.list() ?? []) await destroy(t.context.bed, view.id);
});
test.after.always(async (t) => { await t.context.bed?.end(); });

/** Starts a shell line in a container, and leaves it alone. */
const begin = (bed: Bed, id: string, line: string): Promise<string> => inside(bed, id, 'sh', '-c', `(${line}) </dev/null >/dev/null 2>&1 &`);
const monitorOf = async (bed: Bed, id: string): Promise<number> => Number(await readFile(bed.host.parts.store.paths(id).conmonPidFile, 'utf8'));
const suspend = (bed: Bed, id: string): Promise<string> => operate((operation) => bed.host.suspend(id, operation)).then(() => 'suspended', (error: Error) => `${error.name}: ${error.message}`);
const forked = async (bed: Bed, id: string): Promise<number> => Number(await groupValue(bed, id, 'pids', 'pids.current', 'pids.current'));

real('one that forks without end stays at its limit, and can be looked at, paused, frozen, stopped and deleted', async (t) => {
  const { bed } = t.context;
  const [bad, good] = [await boot(bed), await boot(bed)];
  const bomb = async (): Promise<void> => {
    await until('it is at its limit', async () => { // a shell that cannot fork ends: the bomb may go out
      if ((await forked(bed, bad.id)) < 30) await begin(bed, bad.id, 'b() { b & b & while :; do b; done; }; b').catch(() => undefined);
      return (await forked(bed, bad.id)) >= 60;
    });
  };
  await bomb();
  for (let look = 0; look < 50; look++) t.true((await forked(bed, bad.id)) <= 64 + 16); // the kernel counts a fork first, and takes it back where it refuses
  t.true(Number(/max (\d+)/.exec(await groupValue(bed, bad.id, 'pids', 'pids.events', 'pids.events'))?.[1] ?? 0) > 0, 'the kernel refused forks');
  await countsOn(bed, good.id);
  const another = await boot(bed);
  await destroyWhole(bed, another.id);
  t.true((await bed.host.stats(bad.id)).pids > 0);
  await bed.host.verdict(bad.id);
  await operate((operation) => bed.host.pause(bad.id, operation));
  t.is((await bed.host.view(bad.id)).state, 'paused');
  await operate((operation) => bed.host.unpause(bad.id, operation));
  const outcome = await suspend(bed, bad.id);
  t.log(`suspend: ${outcome.slice(0, 300)}`);
  t.regex(outcome, /^suspended$|^SUSPEND_FAILED: ./);
  if (outcome === 'suspended') await operate((operation) => bed.host.resume(bad.id, operation));
  t.is((await bed.host.view(bad.id)).state, 'running');
  t.true((await forked(bed, bad.id)) > 0);
  await stop(bed, bad.id, { timeoutMs: 3000, retryMs: 1000 });
  t.deepEqual([(await bed.host.view(bad.id)).state, await pidsOf(bed, bad.id)], ['stopped', []]);
  await start(bed, bad.id);
  await bomb();
  await bed.host.stop();
  await bed.host.start(); // the service comes again beside it
  t.is((await bed.host.view(bad.id)).state, 'running');
  await destroyWhole(bed, bad.id);
  await countsOn(bed, good.id);
});

real('one that fills its disk has its own limit, and still stops, starts, freezes, is snapshotted and deleted', async (t) => {
  const { bed } = t.context;
  const [bad, good] = [await boot(bed), await boot(bed)];
  const before = await statfs(bed.options.instancesPath);
  t.regex(await inside(bed, bad.id, 'sh', '-c', 'dd if=/dev/zero of=/ball bs=1M 2>&1; true'), /No space left/);
  const fill = async (): Promise<string> => inside(bed, bad.id, 'sh', '-c', 'while dd if=/dev/zero bs=4k count=1 >> /ball2; do :; done 2>&1 | tail -1; mkdir /d 2>&1; true');
  t.regex(await fill(), /No space left/);
  const after = await statfs(bed.options.instancesPath);
  t.true((before.bfree - after.bfree) * before.bsize < 1.3 * 1024 ** 3);
  await inside(bed, good.id, 'sh', '-c', 'dd if=/dev/zero of=/some bs=1M count=20 2>/dev/null && sync');
  await countsOn(bed, good.id);
  await countsOn(bed, bad.id);
  t.regex(await bed.host.consoleLog(bad.id, undefined), /guest is up/);
  t.deepEqual(await bed.host.verdict(bad.id), { freezable: true, findings: [] });
  t.is(await suspend(bed, bad.id), 'suspended');
  await operate((operation) => bed.host.resume(bad.id, operation));
  await countsOn(bed, bad.id);
  const snapshot = await operate((operation) => bed.host.snapshot(bad.id, operation));
  let bytes = 0;
  for await (const chunk of snapshot.stream) bytes += (chunk as Buffer).length;
  await snapshot.end();
  t.true(bytes > 0);
  await stop(bed, bad.id, { timeoutMs: 10_000, retryMs: 5000 });
  await start(bed, bad.id);
  t.regex(await inside(bed, bad.id, 'sh', '-c', 'dd if=/dev/zero of=/more bs=1M count=1 2>&1; true'), /No space left/);
  await inside(bed, bad.id, 'sh', '-c', 'rm /ball && echo again > /again && sync');
  t.is(await inside(bed, bad.id, 'cat', '/again'), 'again');
  await destroyWhole(bed, bad.id);
  const end = await statfs(bed.options.instancesPath);
  t.true((before.bfree - end.bfree) * before.bsize < 256 * 1024 ** 2, 'its disk is given back');
});

real('one that eats its memory: the process dies in its own group, then its init; the state says so, and nothing else is hit', async (t) => {
  const { bed, exits } = t.context;
  const [bad, good] = [await boot(bed), await boot(bed)];
  const monitor = await monitorOf(bed, bad.id);
  t.regex(await inside(bed, bad.id, 'sh', '-c', 'dd if=/dev/zero of=/dev/null bs=100M count=1 2>&1; echo $?'), /137$/);
  await begin(bed, bad.id, 'x=0123456789abcdef; while :; do x=$x$x; done');
  await until('the eater is gone', async () => !(await inside(bed, bad.id, 'ps')).includes('x=$x$x'));
  t.is((await bed.host.view(bad.id)).state, 'running');
  await countsOn(bed, bad.id);
  t.true((await residentKiB(monitor)) > 0);
  // files in memory belong to nobody who could be killed
  await inside(bed, bad.id, 'sh', '-c', 'for at in /dev/shm /run; do dd if=/dev/zero of=$at/ball bs=1M; done').catch(() => undefined);
  await countsOn(bed, good.id);
  t.is((await bed.host.view(bad.id)).state, 'running');
  await stop(bed, bad.id, { timeoutMs: 2000, retryMs: 1000 });
  await destroyWhole(bed, bad.id);

  const greedy = makeSpec(bed.image, { init: ['/bin/sh', '-c', 'echo eating; x=0123456789abcdef; while :; do x=$x$x; done'] });
  await operate((operation) => bed.host.create(greedy, operation));
  await operate((operation) => bed.host.startContainer(greedy.id, operation));
  const exit = await until('its init dies', () => exits.find(({ id }) => id === greedy.id), 120_000);
  t.like(exit, { state: 'crashed', exitCode: 137, rebootRequested: false });
  t.like(await bed.host.view(greedy.id), { state: 'crashed', exitCode: 137 });
  t.regex(await bed.host.consoleLog(greedy.id, undefined), /eating/);
  await destroyWhole(bed, greedy.id);
  await countsOn(bed, good.id);
});

real('one that floods its console: the log is bounded and answers, nobody\'s memory grows, sessions and stop work', async (t) => {
  const { bed } = t.context;
  const [bad, good] = [await boot(bed), await boot(bed)];
  const monitor = await monitorOf(bed, bad.id);
  const { console } = bed.host.parts.store.paths(bad.id);
  const stuck = await bed.host.openConsole(bad.id); // that nobody reads
  await begin(bed, bad.id, 'while :; do cat /bin/busybox | tr -c "a-z" x; echo line-of-a-flood; done >/dev/console');
  const written = async (): Promise<number> => Number(/^wchar: (\d+)/m.exec(await readFile(`/proc/${monitor}/io`, 'utf8'))?.[1] ?? 0);
  const first = await written();
  await until('megabytes have come', async () => (await written()) - first > 4 * 1024 ** 2, 180_000);
  const [monitorKiB, ownKiB] = [await residentKiB(monitor), await residentKiB(process.pid)];
  const second = await written();
  await until('and many more', async () => {
    t.true((await bed.host.consoleLog(bad.id, 10)).length > 0);
    const sizes = await Promise.all([console, `${console}.1`].map((path) => stat(path).then(({ size }) => size, () => 0)));
    t.true(sizes.every((size) => size <= bed.options.consoleLogBytes), sizes.join());
    return (await written()) - second > 12 * 1024 ** 2;
  }, 240_000);
  t.log({ monitorKiB, ownKiB, monitorNow: await residentKiB(monitor), ownNow: await residentKiB(process.pid) });
  t.true((await residentKiB(monitor)) - monitorKiB < 4 * 1024);
  t.true((await residentKiB(process.pid)) - ownKiB < 150 * 1024);
  await countsOn(bed, bad.id);
  await countsOn(bed, good.id);
  const session = await bed.host.openConsole(bad.id);
  let seen = 0;
  session.output.on('data', (chunk: Buffer) => { seen += chunk.length; });
  await until('a session that reads sees it', () => seen > 100_000);
  t.is(await suspend(bed, bad.id), 'suspended');
  await Promise.all([session.ended, stuck.ended]);
  await operate((operation) => bed.host.resume(bad.id, operation));
  const last = await bed.host.openConsole(bad.id);
  await stop(bed, bad.id, { timeoutMs: 5000, retryMs: 1000 });
  await last.ended;
  t.regex(await bed.host.consoleLog(bad.id, undefined), /x/);
  await destroyWhole(bed, bad.id);
});

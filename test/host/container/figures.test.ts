/**
 * What a guest sees of its machine: the sizes of its disk and its tmpfs, limits of its processes; and, with lxcfs, its own memory,
 * processors, uptime and load, through suspend, a host without lxcfs, and the end of lxcfs.
 */
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { figureFiles } from '../../../src/container/figures/lxcfs.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem } from './checkpoint-kit.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';
import { Lxcfs, lxcfsProblem } from './lxcfs-kit.js';

const problem = hostProblem();
const noFigures = problem ?? await lxcfsProblem();
const frozen = noFigures ?? await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; lxcfs: Lxcfs }>;
const real = problem === undefined ? test.serial : test.skip;
const withLxcfs = noFigures === undefined ? test.serial : test.skip;
const withCriu = frozen === undefined ? test.serial : test.skip;
for (const reason of new Set([problem, noFigures, frozen])) if (reason !== undefined) process.stderr.write(`SKIPPED test/host/container/figures: ${reason}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.lxcfs = await Lxcfs.make();
  t.context.bed = await makeBed({ lxcfs: t.context.lxcfs.path });
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  await t.context.lxcfs?.end();
});

async function boot(bed: Bed): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  return spec;
}

const destroy = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.destroy(id, operation));
const memoryTotal = async (bed: Bed, id: string): Promise<number> => Number(/MemTotal: +(\d+) kB/.exec(await inside(bed, id, 'cat', '/proc/meminfo'))?.[1]);
const own = 64 * 1024;
const inTurn = (_id: string, work: () => Promise<void>): Promise<void> => work();
/** A process that keeps a file open whose length is another one every moment. */
const keepOpen = (bed: Bed, id: string): Promise<string> => inside(bed, id, 'sh', '-c', '(setsid sh -c "exec 7</proc/stat 8</proc/loadavg; while :; do sleep 1; done" </dev/null >/dev/null 2>&1 &)');

real('disk and tmpfs have the sizes of its flavor, processes the limits of any Debian system, and the clock is left alone', async (t) => {
  const { bed } = t.context;
  const { id } = await boot(bed);
  const kib = async (path: string): Promise<number> => Number((await inside(bed, id, 'df', '-Pk', path)).split('\n').at(-1)?.split(/ +/)[1]);
  const root = await kib('/');
  t.true(root > 0.85 * 1024 ** 2 && root <= 1024 ** 2, `${root} KiB of 1 GiB`);
  t.deepEqual([await kib('/run'), await kib('/dev/shm')], [own / 2, own / 2]);
  t.is(await inside(bed, id, 'sh', '-c', 'ulimit -Sn; ulimit -c; ulimit -s; ulimit -f'), '1024\n0\n8192\nunlimited');
  t.true(Number(await inside(bed, id, 'sh', '-c', 'ulimit -Hn')) >= 4096);
  t.is(await inside(bed, id, 'sh', '-c', 'echo "$TZ$LANG$LC_ALL"; ls /etc/localtime /etc/timezone 2>/dev/null | wc -l'), '0');
  t.is(await inside(bed, id, 'cat', '/sys/fs/cgroup/pids.max').catch(() => '64'), '64');
  await destroy(bed, id);
});

withLxcfs('its memory, processors, uptime and load are its own; what lxcfs serves is found at the next start, and renewed when lxcfs is', async (t) => {
  const { bed, lxcfs } = t.context;
  const { id } = await boot(bed); // nobody serves it yet
  t.true((await memoryTotal(bed, id)) > own);
  await lxcfs.start();
  const stopAndStart = async (): Promise<void> => {
    await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
    await operate((operation) => bed.host.startContainer(id, operation));
  };
  await stopAndStart();
  t.is(await memoryTotal(bed, id), own);
  t.is(await inside(bed, id, 'sh', '-c', 'grep -c ^processor /proc/cpuinfo; grep -c "^cpu[0-9]" /proc/stat; wc -l </proc/swaps'), '1\n1\n1');
  const [uptime = 0] = (await inside(bed, id, 'cat', '/proc/uptime')).split(' ').map(Number);
  const [host = 0] = (await run('cat', ['/proc/uptime'])).stdout.split(' ').map(Number);
  t.true(uptime < host, `${uptime} s of ${host} s`);
  t.deepEqual((await bed.host.verdict(id)).findings, []);

  await lxcfs.kill();
  t.regex(await inside(bed, id, 'sh', '-c', 'cat /proc/meminfo 2>&1 || true'), /not connected|No such|Transport/);
  await bed.host.renewFigures(inTurn);
  t.true((await memoryTotal(bed, id)) > own, 'the host\'s: better than none');
  await lxcfs.start();
  await bed.host.renewFigures(inTurn);
  t.is(await memoryTotal(bed, id), own, 'back');
  await lxcfs.kill();
  await lxcfs.start();
  await bed.host.renewFigures(inTurn);
  t.is(await memoryTotal(bed, id), own, 'without a restart');
  for (const file of figureFiles) t.true((await inside(bed, id, 'cat', file)).length > 0, file);
  await destroy(bed, id);
});

withCriu('suspended with such files open it resumes with its own figures, on a host without lxcfs with that one\'s; also after lxcfs was started anew', async (t) => {
  const { bed, lxcfs } = t.context;
  const suspend = (host: LocalContainerHost): Promise<void> => operate((operation) => host.suspend(id, operation));
  const resume = (host: LocalContainerHost): Promise<void> => operate((operation) => host.resume(id, operation));
  await lxcfs.kill();
  await lxcfs.start();
  const { id } = await boot(bed);
  t.is(await memoryTotal(bed, id), own);
  await keepOpen(bed, id);
  const open = async (): Promise<string> => await inside(bed, id, 'sh', '-c', 'ps | grep "[s]h -c exec 7" | sed "s/^ *//; s/ .*//"');
  const holder = await open();
  await suspend(bed.host);
  await resume(bed.host);
  t.is(await memoryTotal(bed, id), own);
  await suspend(bed.host);
  await bed.host.stop();
  const elsewhere = new LocalContainerHost({ ...bed.options, lxcfs: undefined }, log);
  await elsewhere.start();
  try {
    await resume(elsewhere);
    t.true((await memoryTotal(bed, id)) > own);
    await elsewhere.renewFigures(inTurn); // nothing to do
    await suspend(elsewhere);
  } finally {
    await elsewhere.stop();
    await bed.host.start();
  }
  await resume(bed.host);
  t.deepEqual([await memoryTotal(bed, id), await open()], [own, holder], 'whoever had them open goes on');

  await lxcfs.kill();
  await lxcfs.start();
  await t.throwsAsync(suspend(bed.host), { code: 'SUSPEND_FAILED' }, 'what was open is dead');
  t.is((await bed.host.view(id)).state, 'running');
  await inside(bed, id, 'kill', holder);
  await until('nobody has them open', async () => !(await inside(bed, id, 'ps')).includes('sleep 1'));
  await inside(bed, id, 'umount', '/proc/swaps'); // its root may
  await suspend(bed.host); // nobody had looked after it since
  await resume(bed.host);
  t.is(await memoryTotal(bed, id), own);
  await destroy(bed, id);
});

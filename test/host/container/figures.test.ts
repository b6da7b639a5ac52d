/**
 * What a guest sees of its machine: the sizes of its disk and its tmpfs, limits of its processes, its devices, time zone and locale; and, with lxcfs, its own memory,
 * processors, uptime and load, through suspend, snapshots with memory, a host without lxcfs, and the end of lxcfs.
 */
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { figureFiles } from '../../../src/container/figures/lxcfs.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem } from './checkpoint-kit.js';
import { hostProblem, inside, log, makeSpec, operate, until } from './harness.js';
import { Lxcfs, lxcfsProblem } from './lxcfs-kit.js';
import { bootFrom, counted, countsOn, memoryBed, memorySnapshot, type MemoryBed as Bed } from './memory-kit.js';

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
  t.context.bed = await memoryBed('brqhtfig', { lxcfs: t.context.lxcfs.path });
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

real('/dev has the devices of any system, which work for every user, and none of the host; nor can it make one, or set the clock', async (t) => {
  const { bed } = t.context;
  const { id } = await boot(bed);
  const sh = (script: string): Promise<string> => inside(bed, id, 'sh', '-c', script);
  const devices = (await sh('cd /dev; find . -xdev \\( -type c -o -type b \\) -exec stat -c "%n %t:%T %a" {} + | sort')).split('\n');
  t.deepEqual(devices.filter((line) => !line.startsWith('./console')), ['./full 1:7 666', './null 1:3 666', './random 1:8 666', './tty 5:0 666', './urandom 1:9 666', './zero 1:5 666']);
  t.is(devices.length, 7, 'and the console');
  t.is(await sh('cd /dev; for link in fd stdin stdout stderr ptmx; do readlink $link; done'), '/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx');
  t.is(await sh('grep -c " /dev/\\(pts devpts\\|shm tmpfs\\|mqueue mqueue\\) " /proc/mounts; stat -c %a /dev/shm'), '3\n1777');
  const asUser = (script: string): Promise<string> => inside(bed, id, 'su', 'user', '-c', script);
  t.is(await asUser('echo x >/dev/null && head -c 3 /dev/zero | wc -c; head -c 16 /dev/urandom | wc -c; echo y >/dev/shm/mine && cat /dev/shm/mine; exec 3<>/dev/ptmx && echo a terminal'), '3\n16\ny\na terminal');
  t.regex(await sh('(echo x >/dev/full) 2>&1; true'), /No space left/);
  t.regex(await sh('mknod /root/disk b 8 0 2>&1; mknod /dev/mem c 1 1 2>&1; true'), /^(mknod: [^\n]*not permitted\n?){2}$/);
  t.regex(await sh('date -s "2001-01-01 00:00" 2>&1; true'), /not permitted/);
  await destroy(bed, id);
});

real('time zone and locale are the image\'s, whatever the service has', async (t) => {
  const { bed } = t.context;
  const before = { TZ: process.env['TZ'], LANG: process.env['LANG'], LC_ALL: process.env['LC_ALL'] };
  const set = (values: Readonly<Record<string, string | undefined>>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  const spec = makeSpec(bed.image);
  set({ TZ: 'America/Lima', LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' });
  try {
    await operate((operation) => bed.host.create(spec, operation));
    await operate((operation) => bed.host.mount(spec.id, operation));
    await run('sh', ['-c', 'cd "$1"/etc && mkdir -p default && echo Asia/Tokyo >timezone && ln -s /usr/share/zoneinfo/Asia/Tokyo localtime && echo LANG=ja_JP.UTF-8 | tee default/locale >locale.conf', 'sh', join(bed.options.instancesPath, spec.id, 'rootfs')]);
    for (const round of ['at its first start', 'at the next']) {
      await operate((operation) => bed.host.startContainer(spec.id, operation));
      t.is(await inside(bed, spec.id, 'sh', '-c', 'cd /etc; cat timezone default/locale locale.conf; readlink localtime'), 'Asia/Tokyo\nLANG=ja_JP.UTF-8\nLANG=ja_JP.UTF-8\n/usr/share/zoneinfo/Asia/Tokyo', round);
      t.is(await inside(bed, spec.id, 'sh', '-c', 'tr "\\0" "\\n" </proc/1/environ | grep -cE "^(TZ|LANG|LANGUAGE|LC_[A-Z]*)=" || true'), '0', round);
      await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 0 }, operation));
    }
  } finally {
    set(before);
    await destroy(bed, spec.id);
  }
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

withCriu('a snapshot with memory of one that has its own figures: who boots from it has those of its own flavor, on a host without lxcfs the host\'s', async (t) => {
  const { bed, lxcfs } = t.context;
  await lxcfs.kill();
  await lxcfs.start();
  const source = await bootFrom(bed, bed.image);
  t.is(await memoryTotal(bed, source.id), own);
  await keepOpen(bed, source.id);
  await countsOn(bed.host, source.id, 0);
  const { image } = await memorySnapshot(bed, source.id);
  const before = await counted(bed.host, source.id);
  await countsOn(bed.host, source.id, before);
  t.is(await memoryTotal(bed, source.id), own);
  await destroy(bed, source.id);

  const larger = { limits: { ...source.limits, memoryMiB: 96 } };
  const clone = await bootFrom(bed, image, larger);
  await countsOn(bed.host, clone.id, before - 1);
  t.is(await memoryTotal(bed, clone.id), 96 * 1024);
  t.regex(await inside(bed, clone.id, 'ps'), /sh -c exec 7/);
  await operate((operation) => bed.host.suspend(clone.id, operation));
  await operate((operation) => bed.host.resume(clone.id, operation));
  t.is(await memoryTotal(bed, clone.id), 96 * 1024, 'from a checkpoint of its own');
  await lxcfs.kill();
  await lxcfs.start();
  await bed.host.renewFigures((_id, work) => work());
  t.is(await memoryTotal(bed, clone.id), 96 * 1024, 'and after lxcfs was started anew');
  await destroy(bed, clone.id);

  await bed.host.stop();
  const elsewhere = new LocalContainerHost({ ...bed.options, lxcfs: undefined }, log);
  await elsewhere.start();
  try {
    const other = await bootFrom(bed, image, larger, elsewhere);
    await countsOn(elsewhere, other.id, before - 1);
    t.true((await memoryTotal(bed, other.id)) > 96 * 1024);
    await operate((operation) => elsewhere.destroy(other.id, operation));
  } finally {
    await elsewhere.stop();
    await bed.host.start();
  }
});

/** Resizing, keeping, bringing back and taking over containers, on real disks; and a kill -9 at each step of it. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, readCgroupLayout } from '../../../src/container/cgroup.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec, LimitSpec } from '../../../src/container/spec.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/moves: ${problem}\n`);

const gib = 1024 ** 3;
const mib = 1024 ** 2;

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  const { host } = t.context.bed;
  await host.start();
  for (const view of await host.list()) await operate((operation) => host.destroy(view.id, operation));
  for (const id of await host.moves.kept()) await host.moves.drop(id);
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const stop = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
const start = async (bed: Bed, id: string): Promise<void> => {
  await operate((operation) => bed.host.startContainer(id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(id, undefined)).includes('guest is up'));
};

/** A stopped container with a file of known content. */
async function written(bed: Bed): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await start(bed, spec.id);
  await inside(bed, spec.id, 'sh', '-c', 'echo before > /root/file && chown 1000:1000 /root/file && dd if=/dev/urandom of=/root/blob bs=1M count=20 2>/dev/null && sync');
  await stop(bed, spec.id);
  return spec;
}
const larger = (spec: ContainerSpec, change: Partial<LimitSpec> = {}): LimitSpec => ({ ...spec.limits, vcpus: 2, memoryMiB: 128, pids: 100, rootGiB: 3, ...change });
/** Folders of instances_path that belong to a container. */
const folders = async (bed: Bed, id: string): Promise<string[]> => (await readdir(bed.options.instancesPath)).filter((name) => name.startsWith(id)).map((name) => name.slice(36)).sort();

/** The first word of a limit as the kernel has it, in whichever version of the control groups. */
async function limit(bed: Bed, id: string, ...names: readonly string[]): Promise<string | undefined> {
  const files = cgroupFolders(await readCgroupLayout(), join(bed.options.cgroupParent, id)).flatMap((folder) => names.map((name) => join(folder, name)));
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.find(Boolean)?.trim().split(' ')[0];
}

real('resized: the disk has grown with all that is on it, the limits count, and nothing was taken from what is set aside', async (t) => {
  const { bed } = t.context;
  const spec = await written(bed);
  const checksum = async (): Promise<string> => inside(bed, spec.id, 'sha256sum', '/root/blob');
  await operate((operation) => bed.host.moves.resize(spec.id, larger(spec), operation));
  t.deepEqual(await folders(bed, spec.id), ['', '_resize']);
  t.is(await bed.host.moves.diskBytes(spec.id), 3 * gib);
  t.true((await stat(join(bed.options.instancesPath, spec.id, 'disk'))).blocks * 512 < 300 * mib, 'holes stay holes');
  await start(bed, spec.id);
  const now = await checksum();
  t.is(await inside(bed, spec.id, 'sh', '-c', 'cat /root/file; stat -c %u:%g /root/file'), 'before\n1000:1000');
  const { blocks, bsize } = await statfs(`/proc/${(await bed.host.view(spec.id)).pid}/root`);
  t.true(blocks * bsize > 2.8 * gib, `${blocks * bsize} bytes for the guest`);
  t.is((await bed.host.stats(spec.id)).memoryLimitBytes, 128 * mib);
  t.deepEqual([await limit(bed, spec.id, 'pids.max'), await limit(bed, spec.id, 'cpu.cfs_quota_us', 'cpu.max')], ['100', '200000']);
  await inside(bed, spec.id, 'sh', '-c', 'echo after > /root/file; rm /root/blob; dd if=/dev/zero of=/root/large bs=1M count=1500 2>/dev/null');
  t.true(await operate((operation) => bed.host.moves.restore(spec.id, operation)), 'running or not');
  t.deepEqual(await folders(bed, spec.id), ['']);
  t.is(await bed.host.moves.diskBytes(spec.id), gib);
  await start(bed, spec.id);
  t.is(await inside(bed, spec.id, 'cat', '/root/file'), 'before');
  t.is(await checksum(), now);
  t.is((await bed.host.stats(spec.id)).memoryLimitBytes, 64 * mib);
  t.false(await operate((operation) => bed.host.moves.restore(spec.id, operation)), 'a second time nothing is set aside');
  t.is((await bed.host.view(spec.id)).state, 'running');
});

real('confirmed: what was set aside is gone; a disk is not shrunk, and one that runs is not touched', async (t) => {
  const { bed } = t.context;
  const spec = await written(bed);
  await operate((operation) => bed.host.moves.resize(spec.id, larger(spec), operation));
  t.deepEqual(await bed.host.moves.kept(), [spec.id]);
  t.like(await bed.host.moves.keptSpec(spec.id), { limits: { rootGiB: 1 } });
  await bed.host.moves.drop(spec.id);
  t.deepEqual(await folders(bed, spec.id), ['']);
  await t.throwsAsync(operate((operation) => bed.host.moves.resize(spec.id, larger(spec, { rootGiB: 2 }), operation)), { code: 'DISK_SHRINK' });
  t.deepEqual([await folders(bed, spec.id), await bed.host.moves.diskBytes(spec.id)], [[''], 3 * gib]);
  await operate((operation) => bed.host.moves.resize(spec.id, larger(spec, { vcpus: 1, memoryMiB: 48, pids: 40 }), operation));
  await bed.host.moves.drop(spec.id);
  await start(bed, spec.id);
  t.deepEqual([await limit(bed, spec.id, 'pids.max'), await limit(bed, spec.id, 'cpu.cfs_quota_us', 'cpu.max'), (await bed.host.stats(spec.id)).memoryLimitBytes], ['40', '100000', 48 * mib], 'less of all but the disk');
  t.is((await inside(bed, spec.id, 'df', '-Pk', '/dev/shm')).split('\n').at(-1)?.split(/ +/)[1], String(24 * 1024));
  await stop(bed, spec.id);
  await operate((operation) => bed.host.moves.resize(spec.id, larger(spec, { rootGiB: 0 }), operation));
  t.is(await bed.host.moves.diskBytes(spec.id), 3 * gib, '0 is as it is');
  await bed.host.moves.drop(spec.id);
  await start(bed, spec.id);
  await t.throwsAsync(operate((it) => bed.host.moves.resize(spec.id, larger(spec), it)), { code: 'INSTANCE_STATE' });
  await t.throwsAsync(operate((it) => bed.host.moves.keep(spec.id, it)), { code: 'INSTANCE_STATE' });
  t.is((await bed.host.view(spec.id)).state, 'running');
});

real('a failure afterwards is taken back', async (t) => {
  const { bed } = t.context;
  const spec = await written(bed);
  await t.throwsAsync(operate(async (it) => {
    await bed.host.moves.resize(spec.id, larger(spec), it);
    throw new Error('the rest failed');
  }), { message: 'the rest failed' });
  await t.throwsAsync(operate(async (it) => {
    await bed.host.moves.keep(spec.id, it);
    t.is((await bed.host.view(spec.id)).state, 'missing');
    t.false(existsSync(join(bed.options.runPath, 'containers', spec.id)));
    throw new Error('the rest failed');
  }), { message: 'the rest failed' });
  t.deepEqual([await folders(bed, spec.id), await bed.host.moves.diskBytes(spec.id)], [[''], gib]);
  await start(bed, spec.id);
  t.is(await inside(bed, spec.id, 'cat', '/root/file'), 'before');
});

real('a container of another host on a shared instances_path is taken over with ids of this host, and left by the other one', async (t) => {
  const { bed } = t.context;
  const second = await makeBed({ instancesPath: bed.options.instancesPath, subidBase: 200_000_000 });
  try {
    const spec = await written(bed);
    const mark = (await bed.host.moves.mark(spec.id)) ?? '';
    t.true(await second.host.moves.sees(mark));
    await bed.host.moves.unmark(mark);
    t.false(await second.host.moves.sees(mark));
    for (const path of ['/etc/passwd', `${bed.options.instancesPath}/../../../etc/tmpfiles`, `${spec.id}/spec.json`, 'tmpabcdef']) t.false(await second.host.moves.sees(path), path);
    await operate((it) => second.host.moves.adopt({ ...spec, limits: larger(spec) }, it));
    await start(second, spec.id);
    t.is(await inside(second, spec.id, 'sh', '-c', 'cat /root/file; stat -c %u:%g /root/file'), 'before\n1000:1000');
    t.regex(await readFile(`/proc/${(await second.host.view(spec.id)).pid}/uid_map`, 'utf8'), /^\s+0\s+2000\d+\s+65536/);
    await operate((it) => second.host.moves.abandon(spec.id, it));
    t.true(existsSync(join(bed.options.instancesPath, spec.id, 'disk')));
    t.false((await readFile('/proc/self/mountinfo', 'utf8')).includes(spec.id));
    await t.throwsAsync(operate((it) => second.host.moves.adopt(makeSpec(bed.image), it)), { code: 'INSTANCE_NOT_FOUND' });
  } finally {
    await second.host.stop();
    await run('rm', ['-rf', '--one-file-system', '--', second.options.runPath]);
  }
});

for (const [point, aside] of [['move.copied', false], ['move.kept', true], ['move.renamed', true]] as const) {
  real(`kill -9 at ${point}: restored as before`, async (t) => {
    const { bed } = t.context;
    const spec = await written(bed);
    await bed.host.stop();
    const child = spawn(process.execPath, [join(fileURLToPath(new URL('.', import.meta.url)), 'moves-child.js'), JSON.stringify(bed.options), spec.id, JSON.stringify(larger(spec))], {
      env: { ...process.env, HAULIER_FAULT: `kill:${point}` }, stdio: ['ignore', 'inherit', 'inherit'],
    });
    t.is(await new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal))), 'SIGKILL');
    const next = new LocalContainerHost(bed.options, log);
    try {
      await next.start();
      t.is(await operate((it) => next.moves.restore(spec.id, it)), aside);
      t.deepEqual([await folders(bed, spec.id), await next.moves.diskBytes(spec.id)], [[''], gib]);
    } finally {
      await next.stop();
      await bed.host.start();
    }
    await start(bed, spec.id);
    t.is(await inside(bed, spec.id, 'cat', '/root/file'), 'before');
  });
}

/** Dumps that fail leave the container running as before; restores that fail leave it suspended. criu itself is made to fail by a wrapper. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { atLeast } from '../../../src/container/version.js';
import { counted, criuProblem, goesOn, leftOvers, withCriu, wrapper } from './checkpoint-kit.js';
import { inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; small: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/suspend-failure: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  // a file system of its own, small enough to be filled
  const small = await mkdtemp('/var/lib/nova/small-');
  await run('truncate', ['-s', '160M', `${small}.img`]);
  await run('mkfs.ext4', ['-q', '-m', '0', `${small}.img`]);
  await run('mount', ['-o', 'loop', `${small}.img`, small]);
  await mkdir(join(small, 'instances'));
  t.context = { bed: await makeBed({ instancesPath: join(small, 'instances') }), small };
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  const { bed, small } = t.context;
  for (const view of await bed.host.list()) await operate((operation) => bed.host.destroy(view.id, operation));
  await bed.end().catch(() => undefined);
  await run('umount', [small]);
  await rm(`${small}.img`);
  await rm(small, { recursive: true });
  await run('ip', ['link', 'del', 'brqfail']).catch(() => undefined);
});

async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge: 'brqfail', createBridge: true }, 0)], ...change });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await run('ip', ['addr', 'replace', '10.90.0.1/24', 'dev', 'brqfail']);
  await until('it counts', async () => (await counted(bed.host, spec.id)) > 0);
  return spec;
}

const destroy = (bed: Bed, spec: ContainerSpec): Promise<void> => operate((operation) => bed.host.destroy(spec.id, operation));
const suspend = (host: LocalContainerHost, spec: ContainerSpec): Promise<void> => operate((operation) => host.suspend(spec.id, operation));
const resume = (host: LocalContainerHost, spec: ContainerSpec): Promise<void> => operate((operation) => host.resume(spec.id, operation));

real('something that criu cannot save: the verdict says so, the dump fails, it runs on', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  const { pid } = await bed.host.view(spec.id);
  t.deepEqual(await bed.host.verdict(spec.id), { freezable: true, findings: [] });
  await inside(bed, spec.id, 'sh', '-c', 'unshare -i sleep 5000 </dev/null >/dev/null 2>&1 & true');
  const verdict = await until('the verdict changes', async () => {
    const found = await bed.host.verdict(spec.id);
    return found.findings.some(({ code }) => code === 'nested-namespaces') ? found : undefined;
  });
  t.false(verdict.freezable);
  t.regex(verdict.findings.map(({ text }) => text).join(), /\(sleep\) has an IPC namespace of its own/);
  const error = await t.throwsAsync(suspend(bed.host, spec), { name: 'SUSPEND_FAILED' });
  t.log(error?.message);
  t.regex(error?.message ?? '', /nested ipc/);
  await goesOn(t, bed, bed.host, spec, pid);
  await inside(bed, spec.id, 'sh', '-c', 'kill $(pidof sleep | tr " " "\\n" | sort -n | head -1); true');
  await destroy(bed, spec);
});

real('criu is not there, or fails at the restore', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  const { pid } = await bed.host.view(spec.id);
  await withCriu(bed, '/run/no/such/criu', async (host) => {
    await t.throwsAsync(suspend(host, spec), { name: 'SUSPEND_FAILED', message: /no\/such\/criu/ });
    await goesOn(t, bed, host, spec, pid);
  });
  if (atLeast(release(), '6.16')) {
    await withCriu(bed, await wrapper('exit 1', '[ "$1" != --version ] || { echo "Version: 4.1.1"; exit 0; }'), async (host) => {
      const verdict = await host.verdict(spec.id);
      t.false(verdict.freezable);
      t.regex(verdict.findings[0]?.text ?? '', /criu 4\.1\.1 is too old/);
      await t.throwsAsync(suspend(host, spec), { name: 'SUSPEND_FAILED', message: /criu 4\.1\.1 is too old: on kernel .* install criu 4\.2/ });
      t.deepEqual(host.tally.rows.map(({ name, result, count }) => [name, result, count]), [['suspend', 'done', 0], ['suspend', 'failed', 1], ['resume', 'done', 0], ['resume', 'failed', 0]]);
      await goesOn(t, bed, host, spec, pid);
    });
  } else t.log('SKIPPED: a criu too old for the kernel: this kernel is older than 6.16');
  await suspend(bed.host, spec);
  await withCriu(bed, '/run/no/such/criu', (host) => t.throwsAsync(resume(host, spec), { name: 'RESUME_FAILED', message: /no\/such\/criu/ }).then(() => undefined));
  for (const seconds of ['0', '0.01', '0.02', '0.03']) {
    const criu = await wrapper(`$real "$@" &\nsleep ${seconds}\nkill -9 $!\nwait $!`);
    let outcome = '';
    await withCriu(bed, criu, async (host) => {
      outcome = await resume(host, spec).then(() => 'resumed', (error: Error) => error.name);
    });
    t.log(`killed after ${seconds} s: ${outcome}`);
    if (outcome === 'resumed') break;
    t.is((await bed.host.view(spec.id)).state, 'suspended');
    t.deepEqual(await leftOvers(bed, spec), []);
  }
  await resume(bed.host, spec);
  t.is((await bed.host.view(spec.id)).state, 'running');
  await destroy(bed, spec);
});

real('the disk fills up: before the dump, and in the middle of it', async (t) => {
  const { bed, small } = t.context;
  const spec = await boot(bed, { limits: { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 256, swapMiB: 0, pids: 64, rootGiB: 1 } });
  const { pid } = await bed.host.view(spec.id);
  await inside(bed, spec.id, 'sh', '-c', 'dd if=/dev/urandom of=/dev/shm/ball bs=1M count=20 2>/dev/null; tail -c 30000000 /dev/urandom >/dev/null 2>&1 & sleep 0.1; true').catch(() => undefined);
  const filler = join(small, 'filler');
  const fill = (left: number): string => `[ -s ${filler} ] || { free=$(df --output=avail -k ${small} | tail -1); head -c $(( (free - ${left}) * 1024 )) /dev/zero > ${filler}; }`;
  for (const kib of [0, 64, 400, 2048, 8192, 16384]) {
    await withCriu(bed, await wrapper(`${fill(kib)}; exec $real "$@"`), async (host) => {
      const error = await t.throwsAsync(suspend(host, spec));
      t.log(`${kib} KiB left: ${error?.message.slice(0, 160)}`);
      t.regex(error?.message ?? '', /No space left|not be written|Short write|Failed to suspend/i);
      await rm(filler, { force: true });
      await goesOn(t, bed, host, spec, pid);
    });
  }
  await run('sh', ['-c', fill(2048)]);
  const early = await t.throwsAsync(suspend(bed.host, spec), { name: 'DISK_FULL' });
  t.log(early?.message);
  await rm(filler, { force: true });
  await goesOn(t, bed, bed.host, spec, pid);
  await suspend(bed.host, spec);
  await resume(bed.host, spec);
  await destroy(bed, spec);
});

real('processes fork all the time, and one is given up in the middle', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  for (let index = 0; index < 4; index++) await inside(bed, spec.id, 'sh', '-c', 'sh -c "while :; do true | true; /bin/true; done" </dev/null >/dev/null 2>&1 & true');
  for (let round = 0; round < 5; round++) {
    await suspend(bed.host, spec);
    await resume(bed.host, spec);
  }
  const { pid } = await bed.host.view(spec.id);
  for (const delay of [20, 60, 120, 200, 300]) {
    const outcome = await operate(async (operation) => {
      void sleep(delay).then(() => operation.abort(new Error('given up')));
      return await bed.host.suspend(spec.id, operation).then(() => 'suspended', (error: Error) => error.message);
    });
    t.log(`given up after ${delay} ms: ${outcome}`);
    if (outcome === 'suspended') {
      await resume(bed.host, spec);
      break;
    }
    await goesOn(t, bed, bed.host, spec, pid);
  }
  await destroy(bed, spec);
});

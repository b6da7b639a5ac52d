/**
 * Unmodified Debian systems boot, shut down cleanly and leave no failed unit. `HAULIER_TEST_IMAGES` names a folder with tarballs of
 * their trees (`systemd.tar`: debootstrap --variant=minbase --include=systemd-sysv,dbus; `sysvinit.tar`: --include=sysvinit-core).
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import type { ImageSource } from '../../../src/container/spec.js';
import { programOf } from '../../../src/container/shutdown.js';
import { hostProblem, inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const folder = process.env['HAULIER_TEST_IMAGES'] ?? '';
const problem = hostProblem() ?? (existsSync(join(folder, 'systemd.tar')) ? undefined : 'HAULIER_TEST_IMAGES has no systemd.tar');
const test = anyTest as TestFn<{ bed: Bed }>;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/debian: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

async function image(file: string): Promise<ImageSource> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return { id: '00000000-0000-4000-8000-' + hash.digest('hex').slice(0, 12), size: (await stat(file)).size, checksum: undefined, diskFormat: 'raw', containerFormat: 'bare', open: async () => createReadStream(file) };
}

const kinds = [{ name: 'systemd', program: 'systemd', exit: 130 }, { name: 'sysvinit', program: 'init', exit: 130 }];
for (const kind of kinds) {
  const file = join(folder, `${kind.name}.tar`);
  const real = problem === undefined && existsSync(file) ? test.serial : test.skip;
  real(`Debian with ${kind.name}`, async (t) => {
    const { bed } = t.context;
    const source = await image(file);
    await operate((operation) => bed.host.ensureImage(source, operation));
    const spec = makeSpec(source, {
      vifs: [makeVif({ type: 'bridge', bridge: 'brqht4', createBridge: true }, 0)],
      limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 1000, rootGiB: 2 },
    });
    await operate((operation) => bed.host.create(spec, operation));
    const began = performance.now();
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    t.log(`started in ${Math.round(performance.now() - began)} ms`);
    t.is(await programOf((await bed.host.view(spec.id)).pid ?? 0), kind.program);
    if (kind.name === 'systemd') {
      const state = await until('booted', async () => /^(running|degraded)$/.exec(await inside(bed, spec.id, 'sh', '-c', 'systemctl is-system-running 2>&1; true')), 30_000);
      t.log(`${state[0]} after ${Math.round(performance.now() - began)} ms`);
      t.is(await inside(bed, spec.id, 'systemctl', '--failed', '--no-legend'), '');
      t.is(await inside(bed, spec.id, 'sh', '-c', 'systemd-run -q --wait true; echo $?'), '0');
      t.regex(await inside(bed, spec.id, 'systemctl', 'show', '-p', 'DefaultMemoryPressureWatch'), /=(off|no)$/);
    } else await until('booted', () => inside(bed, spec.id, 'runlevel').then((text) => /[2-5]$/.test(text), () => false), 30_000);
    const stop = performance.now();
    await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 30_000, retryMs: 10_000 }, operation));
    t.log(`stopped in ${Math.round(performance.now() - stop)} ms`);
    t.log(`console: ${(await bed.host.consoleLog(spec.id, 400)).slice(-600)}`);
    t.like(await bed.host.view(spec.id), { state: 'stopped', exitCode: kind.exit });
    await operate((operation) => bed.host.destroy(spec.id, operation));
  });
}

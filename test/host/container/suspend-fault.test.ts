/** The service dies by kill -9 in the middle of a suspend or a resume: the next one finds the container running or suspended, whole either way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { checkpointFaultPoints } from '../../../src/container/checkpoint/steps.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { log, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/suspend-fault: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.end();
  await run('ip', ['link', 'del', 'brqsf']).catch(() => undefined);
});

async function boot(bed: Bed): Promise<ContainerSpec> {
  await bed.host.start(); // a failed test may have stopped it
  const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge: 'brqsf', createBridge: true }, 0)] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('it counts', async () => (await counted(bed.host, spec.id)) > 0);
  return spec;
}

async function counted(host: LocalContainerHost, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await host.view(id)).pid}/root/run/count`, 'utf8').catch(() => '0'));
}

/** It is suspended or runs; a suspended one is resumed; it counts on; it can be suspended and resumed once more. */
async function whole(t: { deepEqual(a: unknown, b: unknown, message?: string): void }, host: LocalContainerHost, bed: Bed, spec: ContainerSpec, before: number): Promise<string> {
  const { state } = await host.view(spec.id);
  const folder = join(bed.options.instancesPath, spec.id, 'checkpoint');
  if (state === 'suspended') {
    t.deepEqual(await leftOvers(bed, spec), [], 'suspended');
    await operate((operation) => host.resume(spec.id, operation));
  }
  await until(`it counts on (${state})`, async () => (await counted(host, spec.id)) > before);
  await until('the images are gone', () => !existsSync(folder));
  await operate((operation) => host.suspend(spec.id, operation));
  await operate((operation) => host.resume(spec.id, operation));
  await until('and on', async () => (await counted(host, spec.id)) > before);
  return state;
}

const suspendedFrom = checkpointFaultPoints.indexOf('container.suspend.kill');
const runningFrom = checkpointFaultPoints.indexOf('container.resume.restored');

checkpointFaultPoints.forEach((point, index) => {
  // of a lazy resume (lazy-resume.test.ts), and of one from an image
  if (point === 'container.resume.pages' || point === 'container.resume.identity') return;
  real(`killed at ${point}`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    const action = point.split('.')[1] ?? '';
    if (action === 'resume') await operate((operation) => bed.host.suspend(spec.id, operation));
    const before = action === 'suspend' ? await counted(bed.host, spec.id) : 1;
    await bed.host.stop();
    const end = await run(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), action], { env: { ...process.env, HAULIER_FAULT: `kill:${point}` } }).then(() => 'went through', (error: Error) => error.message);
    t.regex(end, /signal SIGKILL/);
    const next = new LocalContainerHost(bed.options, log);
    await next.start();
    const state = await whole(t, next, bed, spec, before);
    const expected = action === 'suspend' ? (index < suspendedFrom ? 'running' : 'suspended') : index < runningFrom ? 'suspended' : 'running';
    t.is(state, expected);
    await operate((operation) => next.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
    await next.stop();
    await bed.host.start();
  });
});

for (const action of ['suspend', 'resume'] as const) {
  real(`killed at any moment of a ${action}`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    const states: string[] = [];
    for (let delay = 150; delay <= 900; delay += 50) {
      if (action === 'resume') await operate((operation) => bed.host.suspend(spec.id, operation));
      const before = action === 'suspend' ? await counted(bed.host, spec.id) : 1;
      await bed.host.stop();
      const service = spawn(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), action], { stdio: 'inherit' });
      await sleep(delay);
      service.kill('SIGKILL');
      if (service.exitCode === null && service.signalCode === null) await once(service, 'exit');
      await bed.host.start();
      try {
        states.push(`${delay}: ${await whole(t, bed.host, bed, spec, before)}`);
      } catch (error) {
        t.log(states.join(', '));
        throw new Error(`killed after ${delay} ms: ${String(error)}: ${JSON.stringify(await bed.host.view(spec.id))}`, { cause: error });
      }
    }
    t.log(states.join(', '));
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  });
}

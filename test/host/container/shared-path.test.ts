/** Two hosts with one instances_path: a service that starts touches nothing of the other's, and a container changes hosts without a copy. */
import { mkdtemp, readFile, rm, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed; options: ContainerHostOptions; b: LocalContainerHost }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/shared-path: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed({ host: 'a' });
  const runPath = await mkdtemp('/run/ct-b-');
  await chmod(runPath, 0o711);
  const options = { ...bed.options, host: 'b', runPath, subidBase: 500_000_000, cgroupParent: join(bed.options.cgroupParent, 'b') };
  t.context = { bed, options, b: new LocalContainerHost(options, log) };
});
test.after.always(async (t) => {
  const { bed, b, options } = t.context;
  if (!bed) return;
  await b.start();
  for (const view of await b.list()) await operate((operation) => b.destroy(view.id, operation));
  await b.stop();
  await bed.host.start();
  await bed.end();
  await rm(options.runPath, { recursive: true, force: true });
});

const halt = { timeoutMs: 0, retryMs: 100 };
const shell = (bed: Bed, id: string, script: string): Promise<string> => inside(bed, id, 'sh', '-c', script);

async function boot(bed: Bed, spec: ContainerSpec): Promise<void> {
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', () => shell(bed, spec.id, 'cat /run/count').then(Boolean, () => false));
}

/** The service of a host ends, and starts again. */
async function again(host: LocalContainerHost, options: ContainerHostOptions): Promise<LocalContainerHost> {
  await host.stop();
  const next = new LocalContainerHost(options, log);
  await next.start();
  return next;
}

real('the other host\'s start disturbs nothing, whatever state a container is in', async (t) => {
  const { bed, b, options } = t.context;
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await boot(bed, spec);
  const { store } = bed.host.parts;
  const state = (): Promise<string> => readFile(store.paths(spec.id).state, 'utf8');
  const count = async (): Promise<number> => Number(await shell(bed, spec.id, 'cat /run/count'));
  const before = await count();
  let there = b;
  await there.start();
  for (const phase of ['starting', 'suspending', 'resuming', 'ready'] as const) {
    await store.update(spec.id, { phase });
    const text = await state();
    there = await again(there, options);
    t.is(await state(), text, phase);
    t.is((await there.view(spec.id)).state, 'missing');
    t.deepEqual(await there.list(), []);
  }
  t.context.b = there;
  t.is((await bed.host.view(spec.id)).state, 'running');
  await until('it counts on', async () => (await count()) > before);
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

real('a move to the other host, its revert, and one more after the first host is dead', async (t) => {
  const { bed, options } = t.context;
  const there = t.context.b = await again(t.context.b, options);
  const atB: Bed = { ...bed, host: there, options };
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await boot(bed, spec);
  await shell(bed, spec.id, 'echo first >/root/word');
  // resize_instance at a, finish_resize at b
  await operate((operation) => bed.host.stopContainer(spec.id, halt, operation));
  await operate((operation) => bed.host.moves.resize(spec.id, spec.limits, operation));
  await operate((operation) => bed.host.moves.abandon(spec.id, operation));
  await operate((operation) => there.moves.adopt(spec, operation));
  await boot(atB, spec);
  t.is(await shell(atB, spec.id, 'cat /root/word'), 'first');
  t.is((await bed.host.view(spec.id)).state, 'missing');
  t.deepEqual([await bed.host.moves.kept(), await there.moves.kept()], [[spec.id], []]);
  // a starts anew while b has it
  const a = await again(bed.host, bed.options);
  const atA: Bed = { ...bed, host: a };
  t.deepEqual(await a.list(), []);
  t.is((await there.view(spec.id)).state, 'running');
  // revert
  await operate((operation) => there.destroy(spec.id, operation));
  t.true(await operate((operation) => a.moves.restore(spec.id, operation)));
  await boot(atA, spec);
  t.is(await shell(atA, spec.id, 'cat /root/word; echo second >/root/word; sync'), 'first');
  // as if a were dead: b takes the disk where it is; a comes back and leaves it
  await operate((operation) => a.stopContainer(spec.id, halt, operation));
  await operate((operation) => there.moves.adopt(spec, operation));
  await boot(atB, spec);
  const back = await again(a, bed.options);
  await back.moves.drop(spec.id);
  t.is((await there.view(spec.id)).state, 'running');
  t.is(await shell(atB, spec.id, 'cat /root/word'), 'second');
  t.deepEqual(await there.removeUnusedImages(0), [], 'the image is in use, wherever it was unpacked');
  t.deepEqual(await back.removeUnusedImages(0), []);
  await operate((operation) => there.destroy(spec.id, operation));
  t.context.bed = { ...bed, host: back };
});

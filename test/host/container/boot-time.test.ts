/** How long a boot from a cached image takes, and what of it. A figure for people; the bound is loose, for a busy machine. */
import anyTest, { type TestFn } from 'ava';
import { hostProblem, makeBed, makeSpec, makeVif, operate, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/boot-time: ${problem}\n`);
const real = problem === undefined ? test.serial : test.skip;
const runs = 15;
const boundMs = 1000;

real('boot time', async (t) => {
  const bed = await makeBed();
  const median = (values: readonly number[]): number => Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0);
  const took = { create: [] as number[], start: [] as number[], stop: [] as number[], destroy: [] as number[] };
  for (let index = 0; index < runs; index++) {
    const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge: 'brqht5', createBridge: true }, 0)] });
    const time = async (name: keyof typeof took, work: () => Promise<unknown>): Promise<void> => {
      const began = performance.now();
      await work();
      took[name].push(performance.now() - began);
    };
    await time('create', () => operate((operation) => bed.host.create(spec, operation)));
    await time('start', () => operate((operation) => bed.host.startContainer(spec.id, operation)));
    await time('stop', () => operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 0 }, operation)));
    await time('destroy', () => operate((operation) => bed.host.destroy(spec.id, operation)));
  }
  for (const [name, values] of Object.entries(took)) t.log(`${name}: median ${median(values)} ms, best ${Math.round(Math.min(...values))} ms`);
  t.true(median(took.create) + median(took.start) < boundMs);
  await bed.end();
});

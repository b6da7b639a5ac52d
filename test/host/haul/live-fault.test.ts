/**
 * kill -9 of either service at each named step of a haul. Each time the container runs on exactly one side afterwards, the side that
 * the protocol says, its counter has not gone back, nothing is left on the other, and the one TCP connection of the client outside
 * lives through all of them.
 */
import { rmSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { destinationSteps, sourceSteps, type HaulStep } from '../../../src/haul/live/steps.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem();
interface World { a: TestHost; b: TestHost; image: ImageSource; spec: ContainerSpec; client: NumberClient; end(): Promise<void> }
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live-fault: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority);
  const image = await numbersImage();
  Object.assign(t.context, hosts, { image });
  await hosts.a.start();
  await hosts.b.start();
  for (const host of [hosts.a, hosts.b]) await host.takeImage(image);
  const spec = await bootNumbers(hosts.a, image);
  Object.assign(t.context, { spec, client: await NumberClient.open('10.99.0.50', 7000) });
  await t.context.client.more(50);
});
test.after.always(async (t) => {
  t.context.client?.close();
  await t.context.end?.();
});

/** Where it runs; undefined while that is not exactly one. */
async function place({ a, b, spec }: World): Promise<TestHost | undefined> {
  const states = await Promise.all([a, b].map(async (host) => (await host.view(spec.id)).state));
  return states[0] === 'running' && states[1] === 'missing' ? a : states[1] === 'running' && states[0] === 'missing' ? b : undefined;
}

const decidedAtSource: HaulStep = 'haul.source.committed';
const decidedAtDestination: HaulStep = 'haul.destination.restored';
const steps: readonly HaulStep[] = [...sourceSteps, ...destinationSteps];

for (const step of steps) {
  real(`killed at ${step}`, async (t) => {
    const { spec, client, a, b } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    const own: readonly HaulStep[] = step.startsWith('haul.source.') ? sourceSteps : destinationSteps;
    const victim = own === sourceSteps ? from : to;
    await victim.kill();
    await victim.start(`kill:${step}`);
    const before = await until('it counts', () => counted(from, spec.id));
    const result = haul(spec.id, from, to).then(() => 'went through', (error: Error) => error.message);
    await victim.gone();
    await victim.start();
    const now = await until('it runs on one side', () => place(t.context), 60_000);
    const goesOn = own.indexOf(step) >= own.indexOf(own === sourceSteps ? decidedAtSource : decidedAtDestination);
    // restored, but not yet committed: the next start may find it running or not, and decides; mute as it was, both are right
    if (step !== decidedAtDestination) t.is(now.name, (goesOn ? to : from).name, await result);
    await client.more(50);
    t.true((await counted(now, spec.id)) >= before);
    const other = now === a ? b : a;
    await until('nothing is left', async () => (await other.traces(spec)).length === 0, 40_000).catch(() => undefined);
    t.deepEqual(await other.traces(spec), []);
    const records = (await now.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace));
    await until('the records go', async () => (await now.traces(spec)).every((trace) => !/record|_in-|nft/.test(trace)), 40_000).catch(() => undefined);
    t.deepEqual((await now.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)), [], records.join());
    t.log(await result);
  });
}

/** A running container is hauled between two hosts, there and back, while a client outside keeps one TCP connection. */
import anyTest, { type TestFn } from 'ava';
import { rmSync } from 'node:fs';
import type { ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority);
  const image = await numbersImage();
  t.context = { ...hosts, image };
  await hosts.a.start();
  await hosts.b.start();
  await hosts.a.takeImage(image);
});
test.after.always(async (t) => { await t.context.end?.(); });

real('there and back five times: no reset, no number lost or repeated, nothing left behind', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(t.context.a, t.context.image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(50);
  let count = await until('it counts', () => counted(a, spec.id));
  for (let turn = 0; turn < 10; turn++) {
    const [from, to] = turn % 2 === 0 ? [a, b] : [b, a];
    client.longestSilenceMs = 0;
    const began = performance.now();
    await haul(spec.id, from, to);
    const ms = Math.round(performance.now() - began);
    await client.more(50);
    t.log(`${from.name} -> ${to.name}: ${ms} ms in all, silence ${Math.round(client.longestSilenceMs)} ms`);
    t.is((await to.view(spec.id)).state, 'running');
    t.is((await from.view(spec.id)).state, 'missing');
    t.deepEqual(await from.traces(spec), []);
    const now = await until('it counts on', () => counted(to, spec.id));
    t.true(now >= count);
    count = now;
  }
  client.close();
  await a.tell({ do: 'destroy', id: spec.id });
  t.deepEqual([...(await a.traces(spec)), ...(await b.traces(spec))], []);
});

/** A running container is hauled between two hosts, there and back, while a client outside keeps one TCP connection. */
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { busyboxImage, imageOf, makeSpec, makeVif, until } from '../container/harness.js';
import { makeHosts, NumberClient, portAt, type TestHost } from './hosts.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live: ${problem}\n`);
type T = ExecutionContext<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

/** Says numbers to whoever connects, and counts on its disk too. */
const inittab = `::sysinit:/etc/init.d/rcS
::respawn:/bin/counter
::respawn:/bin/nc -ll -p 7000 -e /bin/numbers
`;
const numbers = `#!/bin/sh
n=0
while :; do n=$((n + 1)); echo $n; [ $((n % 20)) != 0 ] || echo $n >/root/said; usleep 3000; done
`;

export async function numbersImage(): Promise<ImageSource> {
  const folder = await mkdtemp(join(tmpdir(), 'numbers-'));
  const base = await busyboxImage();
  await writeFile(join(folder, 'base.tar'), (await base.open(AbortSignal.timeout(60_000))) as unknown as AsyncIterable<Buffer>);
  await run('mkdir', [join(folder, 'tree')]);
  await run('tar', ['-C', join(folder, 'tree'), '-xf', join(folder, 'base.tar')]);
  await writeFile(join(folder, 'tree/etc/inittab'), inittab);
  await writeFile(join(folder, 'tree/bin/numbers'), numbers, { mode: 0o755 });
  return await imageOf(join(folder, 'tree'), join(folder, 'image.tar'));
}

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

async function boot(t: T): Promise<ContainerSpec> {
  const { a, image } = t.context;
  const spec = makeSpec(image, { vifs: [portAt(makeVif({ type: 'bridge', bridge: 'x', createBridge: false }, 0), 50)] });
  await a.tell({ do: 'create', id: spec.id, spec });
  await a.tell({ do: 'start', id: spec.id });
  return spec;
}

async function haul(id: string, from: TestHost, to: TestHost): Promise<void> {
  const token = (await to.tell({ do: 'expect', id, peer: from.peer })) as string;
  await from.tell({ do: 'haul', id, peer: to.peer, token });
}

const counted = async (host: TestHost, id: string): Promise<number> => Number((await host.inside('cat', `/proc/${(await host.view(id)).pid}/root/run/count`).catch(() => ({ stdout: '0' }))).stdout);

real('there and back five times: no reset, no number lost or repeated, nothing left behind', async (t) => {
  const { a, b } = t.context;
  const spec = await boot(t);
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

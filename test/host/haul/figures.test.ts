/** A container that has figures of its own is hauled to a host without lxcfs, and back. */
import { rmSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { Lxcfs, lxcfsProblem } from '../container/lxcfs-kit.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem() ?? await lxcfsProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/figures: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  const lxcfs = await Lxcfs.make();
  await lxcfs.start();
  const hosts = await makeHosts(authority, {}, { lxcfs: lxcfs.path }); // they see what is mounted now
  t.context = { ...hosts, end: async () => { await hosts.end(); await lxcfs.end(); } };
  for (const host of [hosts.a, hosts.b]) await host.start();
});
test.after.always(async (t) => { await t.context.end?.(); });

const memoryTotal = async (host: TestHost, id: string): Promise<number> => Number(/MemTotal: +(\d+) kB/.exec(await host.guest(id, 'cat', '/proc/meminfo'))?.[1]);

real('its connection stays, who has such a file open goes on, and its figures are the other host\'s until it comes back', async (t) => {
  const { a, b } = t.context;
  const image = await numbersImage();
  await a.takeImage(image);
  const spec = await bootNumbers(a, image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(20);
  const own = spec.limits.memoryMiB * 1024;
  t.is(await memoryTotal(a, spec.id), own);
  await a.guest(spec.id, 'sh', '-c', '(setsid sh -c "exec 7</proc/stat 8</proc/loadavg; while :; do sleep 1; done" </dev/null >/dev/null 2>&1 &)');
  await haul(spec.id, a, b);
  await client.more(20);
  t.true((await memoryTotal(b, spec.id)) > own);
  const count = await until('it counts', () => counted(b, spec.id));
  await haul(spec.id, b, a);
  await client.more(20);
  t.is(await memoryTotal(a, spec.id), own);
  await until('it counts on', async () => (await counted(a, spec.id)) > count);
  t.regex(await a.guest(spec.id, 'ps'), /sh -c exec 7/);
  client.close();
  await a.tell({ do: 'destroy', id: spec.id });
});

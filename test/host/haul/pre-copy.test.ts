/**
 * Pre-copy between two hosts: memory goes ahead in criu's pre-dumps while the container runs. Needs a kernel that tracks dirty memory;
 * `test/run vm` runs this file in a virtual machine that has one.
 */
import { rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import { trackingProblem } from '../../../src/container/checkpoint/lazy.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { askMemory, bootMemory, memoryImage } from './memory-guest.js';
import { counted, haul, NumberClient } from './numbers.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const problem = (await criuProblem()) ?? (await trackingProblem({ criu: '/usr/sbin/criu' }));
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/pre-copy: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  await writeFile(setting, '1');
  const hosts = await makeHosts(authority, { policy: { mode: 'auto', permitPostCopy: true } });
  const image = await memoryImage();
  Object.assign(t.context, hosts, { image });
  for (const host of [hosts.a, hosts.b]) {
    await host.start();
    await host.takeImage(image);
  }
});
test.after.always(async (t) => {
  await t.context.end?.();
  if (problem === undefined) await writeFile(setting, before);
});

real('there and back while it writes: whole, no reset, no number lost or repeated, only the difference while it stands still', async (t) => {
  const { a, b, image } = t.context;
  const spec = await bootMemory(a, image, 62, 48);
  t.is(await askMemory(62, 'write 1'), 'writing');
  const client = await NumberClient.open('10.99.0.62', 7000);
  t.teardown(() => client.close());
  await client.more(20);
  let count = await until('it counts', () => counted(a, spec.id));
  for (const [from, to] of [[a, b], [b, a]] as const) {
    const { result, progress } = await haul(spec.id, from, to);
    const rounds = result.rounds.filter(({ what }) => what === 'memory');
    t.log(`${result.totalMs} ms in all, ${result.frozenMs} ms frozen; ${result.reason}; rounds of ${rounds.map(({ bytes }) => `${Math.round(bytes / 1024)} KiB`).join(', ')}`);
    t.is(result.mode, 'pre-copy');
    t.true(result.reason.startsWith('the source tracks dirty memory; '));
    t.true(progress.some(({ stage }) => stage === 'pre-dumping'));
    t.true(rounds.length >= 3, 'two ahead and the final one at least');
    t.true(rounds[0]!.bytes > 48 * 1024 ** 2);
    for (const { bytes } of rounds.slice(1)) t.true(bytes < rounds[0]!.bytes / 2, 'what was not written to is not sent again');
    await client.more(20);
    t.is(await askMemory(62, 'sum'), 'whole');
    t.is((await to.view(spec.id)).state, 'running');
    t.deepEqual(await from.traces(spec), []);
    const now = await until('it counts on', () => counted(to, spec.id));
    t.true(now >= count);
    count = now;
  }
  client.close();
  await a.tell({ do: 'destroy', id: spec.id });
  t.deepEqual([...(await a.traces(spec)), ...(await b.traces(spec))], []);
});

real('forced after a round, where post-copy is permitted: what was written since comes when it runs there', async (t) => {
  const { a, b, image } = t.context;
  const spec = await bootMemory(a, image, 62, 48);
  await askMemory(62, 'write 2');
  const { result } = await haul(spec.id, a, b, { forceAt: 'pre-dumping' });
  t.log(result.reason);
  t.true(['pre-copy', 'stop-and-copy', 'post-copy'].includes(result.mode));
  t.regex(result.reason, /forced after \d rounds/);
  t.is(await askMemory(62, 'sum'), 'whole');
  await b.tell({ do: 'destroy', id: spec.id });
});

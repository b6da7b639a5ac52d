/** Compression of a haul's bytes between two hosts with a slow wire between them: only what gets smaller, and only where it is wanted. */
import { rmSync } from 'node:fs';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import type { Compression } from '../../../src/haul/wire/packing.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { makeHosts, type TestHost } from './hosts.js';
import { askMemory, bootMemory, memoryImage } from './memory-guest.js';
import { haul } from './numbers.js';

const problem = await criuProblem();
interface World { a: TestHost; b: TestHost; image: ImageSource; spec: ContainerSpec; end(): Promise<void> }
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/compression: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));
const [last, mib] = [63, 32];

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority, { policy: { mode: 'stop-and-copy', permitPostCopy: false }, compression: 'auto' });
  const image = await memoryImage();
  Object.assign(t.context, hosts, { image });
  for (const host of [hosts.a, hosts.b]) {
    await host.inside('tc', 'qdisc', 'add', 'dev', 'move0', 'root', 'tbf', 'rate', '40mbit', 'burst', '64k', 'latency', '100ms');
    await host.start();
    await host.takeImage(image);
  }
  t.context.spec = await bootMemory(hosts.a, image, last, mib, ' words');
});
test.after.always(async (t) => {
  await t.context.end?.();
});

/** Hauls it over. @returns bytes that went over the wire for each of its memory's */
async function share(t: ExecutionContext<World>, compression: Compression): Promise<number> {
  const { a, b, spec } = t.context;
  const [from, to] = (await a.view(spec.id)).state === 'running' ? [a, b] : [b, a];
  await from.kill();
  await from.start('', { compression });
  const sent = async (): Promise<number> => Number((await from.inside('cat', '/sys/class/net/move0/statistics/tx_bytes')).stdout);
  const before = await sent();
  const { result } = await haul(spec.id, from, to);
  const bytes = (await sent()) - before;
  t.log(`${compression}: ${bytes >> 20} MiB over the wire for ${result.memoryBytes >> 20} MiB of memory, frozen ${result.frozenMs} ms`);
  t.true(result.memoryBytes > mib * 1024 ** 2);
  t.is(await askMemory(last, 'sum'), 'whole');
  return bytes / result.memoryBytes;
}

real('memory that gets smaller: less goes over a slow wire', async (t) => {
  t.true((await share(t, 'auto')) < 0.6);
});

real('not where it is not wanted', async (t) => {
  t.true((await share(t, 'off')) >= 1);
});

real('noise: no more goes over than without, but what the wire itself needs', async (t) => {
  await askMemory(last, `fill ${2 * mib}`);
  const by = await share(t, 'auto');
  t.true(by > 0.6 && by < 1.15, String(by));
});

/**
 * Hauls between two hosts with one instances_path: the disk is handed over where it is, mounted on one side at a time. There and back,
 * given up, and with kill -9 of either service: the container runs on exactly one side, the side that the protocol says, and the one TCP
 * connection of the client outside lives through all of them.
 */
import { chmod, mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { readCgroupLayout } from '../../../src/container/cgroup.js';
import { canStayFrozen } from '../../../src/container/checkpoint/cgroup-image.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { sourceSteps } from '../../../src/haul/live/steps.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { counted, haul } from './numbers.js';
import { authority, closeWorld, killedAt, openWorld, place, type World } from './world.js';

const problem = (await criuProblem()) ?? (canStayFrozen(await readCgroupLayout()) ? undefined : 'no freezer of cgroup v1');
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/shared: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const folder = await mkdtemp('/var/lib/nova/hl-shared-');
  await chmod(folder, 0o755);
  await openWorld(t.context, await makeHosts(authority, {}, {}, folder), ['a']); // the other finds the image where it is
});
test.after.always((t) => closeWorld(t.context));

const shared = true;

/** What a host without the container still has of it; the folder and the processes are the other's. */
const traces = async (host: TestHost, spec: ContainerSpec): Promise<string[]> => (await host.traces(spec)).filter((trace) => !/: (folder|process|record) /.test(trace));

/** It runs there alone, whole, and nothing of the way is left. */
async function settled(world: World, before: number): Promise<{ readonly now: TestHost; readonly left: readonly string[] }> {
  const { spec, client, a, b } = world;
  const now = await until('it runs on one side', () => place(world), 60_000);
  await client.more(50);
  await until('it counts on', async () => (await counted(now, spec.id)) >= before);
  if (Number(await now.guest(spec.id, 'cat', '/root/said')) > client.last + 40) throw new Error('its disk is ahead of its memory');
  await now.guest(spec.id, 'sh', '-c', 'echo written >/root/file && sync && cat /root/file');
  const other = now === a ? b : a;
  const remains = async (): Promise<string[]> => [
    ...(await traces(other, spec)), ...(await now.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)),
    ...(await readdir(join(a.options.instancesPath, spec.id))).filter((name) => name.startsWith('haul')),
  ];
  await until('nothing is left', async () => (await remains()).length === 0, 40_000).catch(() => undefined);
  return { now, left: await remains() };
}

real('there and back: no reset, no number lost, nothing sent but messages', async (t) => {
  const { a, b, spec } = t.context;
  for (const [from, to] of [[a, b], [b, a], [a, b], [b, a]] as const) {
    const before = await counted(from, spec.id);
    const { result, frozen } = await haul(spec.id, from, to, { shared });
    t.is(frozen, 1);
    t.is(result.diskBytes, 0);
    t.true(result.memoryBytes > 100_000);
    const { now, left } = await settled(t.context, before);
    t.is(now.name, to.name);
    t.deepEqual(left, []);
    t.log(`${from.name} -> ${to.name}: ${result.totalMs} ms in all, ${result.frozenMs} ms frozen`);
  }
  await a.tell({ do: 'pause', id: spec.id });
  await haul(spec.id, a, b, { shared });
  t.is((await b.view(spec.id)).state, 'paused');
  await b.tell({ do: 'unpause', id: spec.id });
  t.is((await settled(t.context, 0)).now.name, b.name);
});

real('given up, it goes on where it was', async (t) => {
  const { a, b, spec } = t.context;
  const [from, to] = (await until('it runs', () => place(t.context))) === a ? [a, b] : [b, a];
  const vifs = spec.vifs.map((vif) => ({ ...vif, plug: { type: 'bridge' as const, bridge: 'brq-none', createBridge: false } }));
  for (const [how, reason] of [[{ abortAt: 'copying' }, /somebody aborts it/], [{ abortAt: 'frozen' }, /somebody aborts it/], [{ vifs }, /brq-none/]] as const) {
    const before = await counted(from, spec.id);
    await t.throwsAsync(haul(spec.id, from, to, { shared, ...how }), { message: reason });
    const { now, left } = await settled(t.context, before);
    t.is(now.name, from.name);
    t.deepEqual(left, []);
  }
  // not told that the folder is shared
  await t.throwsAsync(haul(spec.id, from, to), { message: /here already/ });
  t.is((await settled(t.context, 0)).now.name, from.name);
});

const atSource: readonly string[] = sourceSteps.flatMap((step) => (step === 'haul.source.difference' ? ['container.suspend.dumped', 'container.suspend.kill'] : [step]));
/** Those at which its folder or its disk changes hands, and their neighbours. */
const steps = ['container.suspend.dumped', 'container.suspend.kill', 'haul.source.memory', 'haul.source.offered', 'haul.source.committed', 'haul.source.kill',
  'haul.destination.restoring', 'haul.destination.mount', 'haul.destination.restored', 'haul.destination.committed'];

for (const step of steps) {
  real(`killed at ${step}`, async (t) => {
    const { before, right, result } = await killedAt(t.context, step, { atSource, how: { shared } }, (from) => until('it counts', () => counted(from, t.context.spec.id)));
    const { now, left } = await settled(t.context, before);
    // restored, but not yet committed: the next start may find it running or not, and decides
    if (step !== 'haul.destination.restored') t.is(now.name, right.name, await result);
    t.deepEqual(left, []);
    t.log(await result);
  });
}

/** A container that criu refuses is stopped at one host and started at the other: where it is permitted, and never on both or on none, whichever service dies. */
import anyTest, { type TestFn } from 'ava';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { destinationSteps, restartSteps, sourceSteps, type HaulStep } from '../../../src/haul/live/steps.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { haul, NumberClient } from './numbers.js';
import { authority, closeWorld, openWorld, place, type World } from './world.js';

const problem = await criuProblem();
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/restart: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  await openWorld(t.context, await makeHosts(authority));
});
test.after.always((t) => closeWorld(t.context));

const restart = { timeoutMs: 20_000, retryMs: 5000 };

const inGuest = (host: TestHost, { id }: ContainerSpec, script: string): Promise<string> => host.guest(id, 'sh', '-c', script);

/** criu refuses a mount whose other parts the container does not see. Beside it: a word on its disk, and one in its memory. */
async function refusedByCriu(host: TestHost, spec: ContainerSpec, word: string): Promise<void> {
  await inGuest(host, spec, `echo ${word} >/root/word; : >/root/ends; grep -q " /run/b " /proc/mounts || { mkdir -p /run/a /run/b; mount -t tmpfs none /run/a; mkdir /run/a/c; mount --bind /run/a/c /run/b; umount -l /run/a; }; echo ${word} >/run/word; sync`);
}

const look = 'cat /root/word; cat /root/ends; cat /run/word 2>/dev/null || echo forgotten';

async function talks(): Promise<void> {
  const client = await NumberClient.open('10.99.0.50', 7000);
  await client.more(20).finally(() => client.close());
}

real('without permission it stays as it is; with it, it is shut down here and booted there', async (t) => {
  const { a, b, spec } = t.context;
  await refusedByCriu(a, spec, 'one');
  await t.throwsAsync(haul(spec.id, a, b), { message: /dump|mount/i });
  await until('it runs here only', async () => (await place(t.context)) === a);
  t.is(await inGuest(a, spec, look), 'one\none', 'neither stopped nor started');
  t.false(await b.tell({ do: 'coming', id: spec.id }));
  const under = haul(spec.id, a, b, { restart });
  await until('it comes', () => b.tell({ do: 'coming', id: spec.id }));
  const { result, frozen } = await under;
  t.false(await b.tell({ do: 'coming', id: spec.id }));
  t.is(result.mode, 'restart');
  t.regex(result.reason, /cannot be frozen: .*\/run\/b/);
  t.is(frozen, 1);
  t.is(result.memoryBytes, 0);
  t.true(result.rounds.some(({ round }) => round === 0) && result.frozenMs > 0);
  t.is((await place(t.context))?.name, b.name);
  t.is(await inGuest(b, spec, look), 'one\nclean\nforgotten');
  await talks();
  t.deepEqual(await a.traces(spec), []);
  // permitted, and not needed any more: with its memory
  await inGuest(b, spec, 'echo two >/run/word');
  const back = await haul(spec.id, b, a, { restart });
  t.is(back.result.mode, 'stop-and-copy');
  t.is(await inGuest(a, spec, look), 'one\nclean\ntwo');
  t.deepEqual(await b.traces(spec), []);
});

real('given up, it goes on where it was; once it was stopped, it is started again', async (t) => {
  const { a, b, spec } = t.context;
  await refusedByCriu(a, spec, 'three');
  await t.throwsAsync(haul(spec.id, a, b, { restart, abortAt: 'copying' }), { message: /somebody aborts it/ });
  t.is(await inGuest(a, spec, look), 'three\nthree');
  await t.throwsAsync(haul(spec.id, a, b, { restart, abortAt: 'frozen' }), { message: /somebody aborts it/ });
  await until('it runs again', async () => (await place(t.context)) === a);
  t.is(await inGuest(a, spec, look), 'three\nclean\nforgotten');
  await talks();
  await until('nothing is left', async () => (await b.traces(spec)).length === 0, 40_000).catch(() => undefined);
  t.deepEqual(await b.traces(spec), []);
  // the destination cannot start it
  await refusedByCriu(a, spec, 'four');
  const vifs = spec.vifs.map((vif) => ({ ...vif, plug: { type: 'bridge' as const, bridge: 'brq-none', createBridge: false } }));
  await t.throwsAsync(haul(spec.id, a, b, { restart, vifs }), { message: /brq-none/ });
  await until('it runs here only', async () => (await place(t.context)) === a);
  t.is(await inGuest(a, spec, look), 'four\nclean\nforgotten');
  await talks();
  t.deepEqual(await b.traces(spec), []);
  t.deepEqual((await a.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)), []);
});

for (const step of ['container.start.record', 'container.start.run']) {
  real(`given up, and the service dies at ${step} while it starts it again: its next start does`, async (t) => {
    const { a, b, spec } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    await refusedByCriu(from, spec, 'five');
    await from.kill();
    await from.start(`kill:${step}`);
    const result = haul(spec.id, from, to, { restart, abortAt: 'frozen' }).then(() => 'went through', (error: Error) => error.message);
    await from.gone();
    await from.start();
    t.is((await until('it runs on one side', () => place(t.context), 60_000)).name, from.name, await result);
    t.is(await inGuest(from, spec, look), 'five\nclean\nforgotten');
    await talks();
    await until('nothing is left', async () => (await to.traces(spec)).length === 0, 40_000).catch(() => undefined);
    t.deepEqual(await to.traces(spec), []);
    t.deepEqual((await from.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)), []);
  });
}

const decidedAtSource: HaulStep = 'haul.source.committed';
const decidedAtDestination: HaulStep = 'haul.destination.restored';
/** Of the others see live-fault.test.ts; the first one is in the middle of the guest's shutdown. */
const only: readonly string[] = ['container.stop.ask', 'haul.source.stopped', 'haul.source.offered', 'haul.source.committed',
  'haul.destination.restore', 'haul.destination.restored', 'haul.destination.committed'];
const atSource: readonly string[] = sourceSteps.flatMap((step) => (step === 'haul.source.freeze' ? [restartSteps[0], 'container.stop.ask', restartSteps[1]] : [step]));

for (const step of [...atSource, ...destinationSteps].filter((name) => only.includes(name))) {
  real(`killed at ${step}`, async (t) => {
    const { spec, a, b } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    const own: readonly string[] = atSource.includes(step) ? atSource : destinationSteps;
    const victim = own === atSource ? from : to;
    await refusedByCriu(from, spec, step);
    await victim.kill();
    await victim.start(`kill:${step}`);
    const result = haul(spec.id, from, to, { restart }).then(() => 'went through', (error: Error) => error.message);
    await victim.gone();
    await victim.start();
    const now = await until('it runs on one side', () => place(t.context), 60_000);
    const goesOn = own.indexOf(step) >= own.indexOf(own === atSource ? decidedAtSource : decidedAtDestination);
    // started, but not yet committed: the next start finds it running or not, and decides
    if (step !== decidedAtDestination) t.is(now.name, (goesOn ? to : from).name, await result);
    t.regex(await inGuest(now, spec, look), new RegExp(`^${step}\n(clean\nforgotten|${step})$`));
    await talks();
    const other = now === a ? b : a;
    await until('nothing is left', async () => (await other.traces(spec)).length === 0, 40_000).catch(() => undefined);
    t.deepEqual(await other.traces(spec), []);
    await until('the records go', async () => (await now.traces(spec)).every((trace) => !/record|_in-|nft/.test(trace)), 40_000).catch(() => undefined);
    t.deepEqual((await now.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)), []);
    t.log(await result);
  });
}

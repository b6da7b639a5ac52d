/**
 * The way between the hosts breaks, or criu is killed, or the destination's disk is full, in the middle of a haul. Each time the
 * container runs on exactly one side afterwards, its counter has not gone back, its client's connection lives, and nothing is left.
 */
import { readFile } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import type { HaulStep } from '../../../src/haul/live/steps.js';
import { criuProblem, killedInDump, killedInDumpWithHelper, killedInRestore, wrapper } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { counted, haul } from './numbers.js';
import { authority, closeWorld, openWorld, place, type World } from './world.js';

const problem = await criuProblem();
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live-outage: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  await openWorld(t.context, await makeHosts(authority));
});
test.after.always((t) => closeWorld(t.context));

const stopped = async (pid: number): Promise<boolean> => /^State:\tT/m.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''));
const settleMs = 150_000; // a connection that says nothing is given up after 20 s; then it is asked for in growing pauses

/** What shall be true in the end. @param expected where it must run; undefined: on either side */
async function whole(t: { context: World; is(a: unknown, b: unknown): void; deepEqual(a: unknown, b: unknown): void; true(a: boolean): void }, before: number, expected: TestHost | undefined): Promise<void> {
  const { a, b, spec, client } = t.context;
  const now = await until('it runs on one side', () => place(t.context), settleMs);
  if (expected) t.is(now.name, expected.name);
  await client.more(50);
  t.true((await counted(now, spec.id)) >= before);
  const other = now === a ? b : a;
  await until('nothing is left', async () => (await other.traces(spec)).length === 0, settleMs).catch(() => undefined);
  t.deepEqual(await other.traces(spec), []);
  const records = async (): Promise<string[]> => (await now.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace));
  await until('the records go', async () => (await records()).length === 0, settleMs).catch(() => undefined);
  t.deepEqual(await records(), []);
}

interface Case { readonly how: 'down' | 'blackhole'; readonly step: HaulStep; readonly outcome: 'stays' | 'goes' }
const cases: readonly Case[] = [
  { how: 'blackhole', step: 'haul.source.copy', outcome: 'stays' },
  { how: 'down', step: 'haul.source.dump', outcome: 'stays' },
  { how: 'blackhole', step: 'haul.source.offered', outcome: 'stays' },
  { how: 'down', step: 'haul.destination.restoring', outcome: 'goes' },
  { how: 'blackhole', step: 'haul.destination.committed', outcome: 'goes' },
];

for (const { how, step, outcome } of cases) {
  real(`${how} at ${step}`, async (t) => {
    const { spec, a, b } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    const victim = step.startsWith('haul.source.') ? from : to;
    await victim.kill();
    await victim.start(`stop:${step}:1`);
    const before = await until('it counts', () => counted(from, spec.id));
    const pid = await victim.servicePid();
    const result = haul(spec.id, from, to).then(() => 'went through', (error: Error) => error.message);
    await until('it is at the step', () => stopped(pid), 30_000);
    await to.cutOff(how);
    process.kill(pid, 'SIGCONT');
    // each side comes to its own end of it while the way is cut
    if (step === 'haul.source.offered') await until('the destination gives it up', async () => (await to.traces(spec)).length === 0, settleMs);
    else if (outcome === 'stays') t.not(await result, 'went through');
    else await until('it runs there', async () => (await to.view(spec.id)).state === 'running', settleMs);
    if (outcome === 'stays' && step !== 'haul.source.offered') await until('it goes on', async () => (await from.view(spec.id)).state === 'running' && (await counted(from, spec.id)) > before, settleMs);
    await to.reconnect();
    await whole(t, before, outcome === 'stays' ? from : to);
    t.log(await result);
  });
}

for (const [what, script, side] of [['dump', killedInDump, 'source'], ['dump, where a helper stays', killedInDumpWithHelper, 'source'], ['restore', killedInRestore, 'destination']] as const) {
  real(`criu is killed in the middle of the ${what}, for certain: the haul is given up, and that is said`, async (t) => {
    const { spec, a, b } = t.context;
    const from = await until('it runs on one side', () => place(t.context));
    const to = from === a ? b : a;
    const victim = side === 'source' ? from : to;
    await victim.kill();
    await victim.start('', {}, await wrapper(script));
    const before = await until('it counts', () => counted(from, spec.id));
    const { pid } = await from.view(spec.id);
    await t.throwsAsync(haul(spec.id, from, to), { message: /criu was killed in the middle of its work/ });
    await whole(t, before, from);
    t.is((await from.view(spec.id)).pid, pid);
    await victim.kill();
    await victim.start();
    await haul(spec.id, from, to);
    await whole(t, before, to);
  });
}

real('the disk of the destination is full', async (t) => {
  const { spec, a, b } = t.context;
  const from = await until('it runs on one side', () => place(t.context));
  const to = from === a ? b : a;
  const before = await until('it counts', () => counted(from, spec.id));
  const { instancesPath } = to.options;
  await to.inside('mkdir', '-p', `${instancesPath}/_small`);
  await to.kill();
  // a file system with room for a few files and no more, with what the host has in it
  await to.inside('sh', '-c', `mount -t tmpfs -o size=6m,mode=755 tmpfs ${instancesPath}/_small && cp -a ${instancesPath}/_hauls ${instancesPath}/_small/ 2>/dev/null; mkdir ${instancesPath}/_small/_base; mount --bind ${instancesPath}/_base ${instancesPath}/_small/_base; mount --rbind ${instancesPath}/_small ${instancesPath}`);
  await to.start();
  const [pid] = [(await from.view(spec.id)).pid];
  await from.inside('dd', 'if=/dev/urandom', `of=/proc/${pid}/root/root/large`, 'bs=1M', 'count=20');
  const words = await haul(spec.id, from, to).then(() => 'went through', (error: Error) => error.message);
  t.regex(words, /space|full|input\/output|read-only/i);
  t.is((await from.view(spec.id)).state, 'running');
  await t.context.client.more(50);
  t.true((await counted(from, spec.id)) >= before);
  await until('nothing is left', async () => (await to.traces(spec)).length === 0, 30_000).catch(() => undefined);
  t.deepEqual(await to.traces(spec), []);
  await to.kill();
  await to.inside('sh', '-c', `umount -R ${instancesPath}; umount -R ${instancesPath}/_small; rmdir ${instancesPath}/_small`);
  await to.start();
  await from.inside('rm', `/proc/${pid}/root/root/large`);
  await haul(spec.id, from, to);
  await whole(t, before, to);
});

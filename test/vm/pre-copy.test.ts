/** Pre-copy between two hosts: memory goes ahead in criu's pre-dumps while the container runs. Needs a kernel that tracks dirty memory: `devstack/cloud vm` has one. */
import { existsSync, rmSync } from 'node:fs';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { lazyDumpProblem, lazyProblem, trackingProblem } from '../../src/container/checkpoint/lazy.js';
import { checkpointPaths } from '../../src/container/checkpoint/paths.js';
import type { ContainerSpec, ImageSource } from '../../src/container/spec.js';
import { aheadFolder } from '../../src/haul/memory/ahead.js';
import type { HaulPolicy } from '../../src/haul/memory/mode.js';
import { maxMemoryRounds, whyStop } from '../../src/haul/memory/stop-rule.js';
import type { HaulResult } from '../../src/haul/progress.js';
import { criuProblem, wrapper } from '../host/container/checkpoint-kit.js';
import { until } from '../host/container/harness.js';
import { makeHosts, type TestHost } from '../host/haul/hosts.js';
import { askMemory, bootMemory, memoryImage } from '../host/haul/memory-guest.js';
import { counted, haul, NumberClient } from '../host/haul/numbers.js';
import { Authority } from '../lib/certificates.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const criu = { criu: '/usr/sbin/criu' };
const problem = (await criuProblem()) ?? (await trackingProblem(criu));
interface World { a: TestHost; b: TestHost; criu: string; image: ImageSource; spec: ContainerSpec; client: NumberClient; end(): Promise<void> }
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/vm/pre-copy: ${problem}\n`);
const allowed = await writeFile(setting, '1').then(() => undefined, (error: Error) => `${setting} cannot be set: ${error.message}`);
const noPostCopy = problem ?? allowed ?? (await lazyProblem(criu)) ?? (await lazyDumpProblem(criu));
const realForced = noPostCopy === undefined ? test.serial : test.skip;
if (noPostCopy !== undefined) process.stderr.write(`SKIPPED test/vm/pre-copy, forced: ${noPostCopy}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));
const [last, mib] = [62, 16];
const pageSize = 4096;
const limitMs = 180_000;
/** Post-copy needs both hosts' permission: the first has not given it at first, so `auto` does not take it. */
const policy: HaulPolicy = { mode: 'auto', permitPostCopy: false, preCopyFromMiB: mib };
const permitting: HaulPolicy = { ...policy, permitPostCopy: true };

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority, { policy });
  const image = await memoryImage(true);
  Object.assign(t.context, hosts, { image });
  // a file `small` beside it: what criu writes in the second round does not get larger than that; it has looked at the pages by then, and calls them clean
  // a file `busy`: the next round begins as one does that meets a process in a disk wait
  const small = await wrapper(`folder=\${0%/*}
grep -qa -e --pre-dump /proc/$PPID/cmdline || exec $real "$@"
if [ -e $folder/busy ]; then
  rm $folder/busy
  echo '(00.010000) Error (criu/seize.c:1): Unseizable non-zombie 7 found, state D, err -1, ppid 1' >$HAULIER_CHECKPOINT/work/dump.log
  exit 1
fi
if [ -e $folder/small ] && grep -qa /ahead-2 /proc/$PPID/cmdline; then trap '' XFSZ; ulimit -f 1024; fi
exec $real "$@"`);
  t.context.criu = small;
  for (const host of [hosts.a, hosts.b]) {
    await host.start('', host === hosts.b ? { policy: permitting } : {}, t.context.criu);
    await host.takeImage(image);
  }
  const spec = await bootMemory(hosts.a, image, last, mib);
  await askMemory(last, 'write 6 12');
  await askMemory(last, 'files 0.5');
  t.log(`ready after ${Math.round(process.uptime())} s`);
  Object.assign(t.context, { spec, client: await NumberClient.open(`10.99.0.${last}`, 7000) });
  await t.context.client.more(20);
});
test.after.always(async (t) => {
  t.context.client?.close();
  await t.context.end?.();
  if (t.context.criu) await rm(dirname(t.context.criu), { recursive: true, force: true });
  if (allowed === undefined) await writeFile(setting, before);
});

const memoryRounds = ({ rounds }: HaulResult): readonly number[] => rounds.filter(({ what }) => what === 'memory').map(({ bytes }) => bytes);
const told = (result: HaulResult): string => `${result.totalMs} ms in all, ${result.frozenMs} ms frozen; ${result.mode}: ${result.reason}; rounds of ${memoryRounds(result).map((bytes) => Math.round(bytes / 1024)).join(', ')} KiB`;

/** Where it runs; undefined while that is not exactly one host. */
async function place({ a, b, spec }: World): Promise<TestHost | undefined> {
  const states = await Promise.all([a, b].map(async (host) => (await host.view(spec.id)).state));
  return states[0] === 'running' && states[1] === 'missing' ? a : states[1] === 'running' && states[0] === 'missing' ? b : undefined;
}

/** The two hosts, by where it runs. */
async function ends(context: World): Promise<readonly [from: TestHost, to: TestHost]> {
  const from = await until('it runs on one side', () => place(context), limitMs);
  return [from, from === context.a ? context.b : context.a];
}

/** It runs at one host with its memory and its connection, has counted on, and nothing of it is at the other. */
async function runsAt(t: ExecutionContext<World>, host: TestHost, count: number): Promise<void> {
  const { spec, client } = t.context;
  const [here, other] = await ends(t.context);
  t.is(here.name, host.name);
  await client.more(20);
  t.is(await askMemory(last, 'sum'), 'whole');
  await until('nothing is left at the other host', async () => (await other.traces(spec)).length === 0, limitMs).catch(() => undefined);
  t.deepEqual(await other.traces(spec), []);
  t.true((await until('it counts on', () => counted(here, spec.id), limitMs)) >= count);
  t.deepEqual((await here.traces(spec)).filter((trace) => /record|_in-|nft/.test(trace)), []);
}

/** How many files it has written. */
const filesKept = async (): Promise<number> => parseInt(await askMemory(last, 'files 0.5'), 10);

const roundAt = (host: TestHost, id: string, round: number): string => aheadFolder(checkpointPaths({ folder: join(host.options.instancesPath, id) }), round);

interface Came { bytes: number; pageBytes: number }

/** Looks at the rounds that have come to a host for as long as `work` takes. @returns sizes of their images, of the whole ones by their ends */
async function watchRounds<T>(host: TestHost, id: string, work: Promise<T>): Promise<{ readonly done: T; readonly came: readonly Came[] }> {
  let over = false;
  const came: Came[] = [];
  const look = async (): Promise<void> => {
    for (let round = 1; round <= maxMemoryRounds; round++) {
      const folder = roundAt(host, id, round);
      const images = (await readdir(folder, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isFile()); // not the link to the round before
      const sizes = await Promise.all(images.map(async ({ name }) => [name, (await stat(join(folder, name)).catch(() => ({ size: 0 }))).size] as const));
      const sum = (of: typeof sizes): number => of.reduce((bytes, [, size]) => bytes + size, 0);
      const [known = { bytes: 0, pageBytes: 0 }, now] = [came[round - 1], { bytes: sum(sizes), pageBytes: sum(sizes.filter(([name]) => name.startsWith('pages-'))) }];
      if (now.bytes >= known.bytes && now.bytes > 0) came[round - 1] = now; // they go at the end
    }
  };
  const watching = (async () => { for (; !over; await sleep(100)) await look(); })();
  const done = await work.finally(() => { over = true; });
  await watching;
  return { done, came };
}

real('auto, while it writes: whole, no reset, no number lost or repeated, only the difference while it stands still', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  const count = await until('it counts', () => counted(from, id), limitMs);
  const files = await filesKept();
  const { done: { result, progress }, came } = await watchRounds(to, id, haul(id, from, to));
  t.log(told(result));
  t.is(result.mode, 'pre-copy');
  t.true(progress.some(({ stage, round }) => stage === 'pre-dumping' && round === 2));
  const [first = 0, ...later] = memoryRounds(result);
  t.true(first > mib * 1024 ** 2);
  t.true(later.length >= 2, 'one more ahead and the final one at least');
  for (const bytes of later) t.true(bytes < first / 2, 'what was not written to is not sent again');
  t.deepEqual(came.map(({ bytes }) => bytes), [first, ...later.slice(0, -1)], 'the figures of the rounds are what has come');
  const pages = came.map(({ pageBytes }) => pageBytes / pageSize);
  t.is(result.reason, `the kernel tracks dirty memory; ${whyStop(pages)}`);
  for (let made = 1; made < pages.length; made++) t.is(whyStop(pages.slice(0, made)), undefined, `after ${made} rounds`);
  const kinds = result.rounds.map(({ what }) => what);
  t.true(kinds.lastIndexOf('disk', kinds.lastIndexOf('memory') - 2) > kinds.indexOf('memory'), 'its disk goes along between the rounds');
  await runsAt(t, to, count);
  t.true((await filesKept()) > files, 'it has written files meanwhile');
});

real('forced in a round, where post-copy is not permitted: no more rounds, the rest comes while it stands still', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  const count = await counted(from, id);
  const { result } = await haul(id, from, to, { mode: 'pre-copy', forceAt: 'pre-dumping', atRound: 1 });
  t.log(told(result));
  t.deepEqual([result.mode, result.reason], ['pre-copy', 'asked for; forced after 1 rounds']);
  t.is(memoryRounds(result).length, 2);
  t.true(memoryRounds(result)[1]! < memoryRounds(result)[0]! / 2, 'only what was written since');
  await runsAt(t, to, count);
});

real('aborted in a round: it goes on at the source, which keeps no pages that have gone ahead', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  const count = await counted(from, id);
  const ended = haul(id, from, to, { abortAt: 'pre-dumping', atRound: 3 }).then(() => 'went through', (error: Error) => error.message);
  await until('the second round', () => existsSync(roundAt(from, id, 2)), limitMs);
  const first = await readdir(roundAt(from, id, 1)).catch(() => []);
  for (const name of first.filter((entry) => entry.startsWith('pages-'))) t.is((await stat(join(roundAt(from, id, 1), name)).catch(() => ({ size: 0 }))).size, 0);
  t.not(await ended, 'went through');
  t.log(await ended);
  await runsAt(t, from, count);
  t.false(existsSync(roundAt(from, id, 1)));
});

real('the source is killed in a round: it goes on there', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  const count = await counted(from, id);
  const result = haul(id, from, to).then(() => 'went through', (error: Error) => error.message);
  await until('the second round', () => existsSync(roundAt(from, id, 2)), limitMs);
  await from.kill();
  await from.start('', { policy: permitting }, t.context.criu); // from now on both permit post-copy
  t.log(await result);
  await runsAt(t, from, count);
  t.false(existsSync(roundAt(from, id, 1)));
});

real('a round whose images cannot be written: stop-and-copy, with all of the memory', async (t) => {
  const [from, to] = await ends(t.context);
  const count = await counted(from, t.context.spec.id);
  await writeFile(join(dirname(t.context.criu), 'small'), '');
  const { result } = await haul(t.context.spec.id, from, to, { mode: 'pre-copy' });
  await rm(join(dirname(t.context.criu), 'small'));
  t.log(told(result));
  t.is(result.mode, 'stop-and-copy');
  t.regex(result.reason, /round 2 of copying ahead failed/);
  t.true(memoryRounds(result).at(-1)! > mib * 1024 ** 2, 'all of it again');
  await runsAt(t, to, count);
  await askMemory(last, 'write 0');
});

real('paused, and one of its processes waits for a disk at first: it is copied ahead and stays paused', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  await from.tell({ do: 'pause', id });
  const busy = join(dirname(t.context.criu), 'busy');
  await writeFile(busy, '');
  const { result } = await haul(id, from, to, { mode: 'pre-copy' });
  t.log(told(result));
  t.false(existsSync(busy), 'its first round was tried once more');
  t.is((await to.view(id)).state, 'paused');
  t.is(result.mode, 'pre-copy');
  t.regex(result.reason, /only \d+ pages were left/);
  await to.tell({ do: 'unpause', id });
  await runsAt(t, to, 0);
});

realForced('forced in a round, where post-copy is permitted: what was written since comes when it runs there', async (t) => {
  const [from, to] = await ends(t.context);
  const { id } = t.context.spec;
  const count = await counted(from, id);
  const { result, progress } = await haul(id, from, to, { mode: 'pre-copy', forceAt: 'pre-dumping', atRound: 1 });
  t.log(told(result));
  t.deepEqual([result.mode, result.reason], ['post-copy', 'asked for; forced after 1 rounds']);
  t.true(progress.some(({ stage }) => stage === 'paging'));
  t.true(memoryRounds(result).at(-1)! < memoryRounds(result)[0]! / 2, 'only what was written since');
  await runsAt(t, to, count);
});

/**
 * What fails in a post-copy. Before the destination has committed, the container goes on at the source, whole. After it, when its memory
 * is still coming, it is lost: then it is ended and said to have crashed, and nothing is left at the source.
 */
import { rmSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import { lazyDumpProblem, lazyProblem } from '../../../src/container/checkpoint/lazy.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { askMemory, bootMemory, memoryImage } from './memory-guest.js';
import { haul } from './numbers.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const allowed = await writeFile(setting, '1').then(() => undefined, (error: Error) => `${setting} cannot be set: ${error.message}`);
const criu = { criu: '/usr/sbin/criu' };
const problem = (await criuProblem()) ?? allowed ?? (await lazyProblem(criu)) ?? (await lazyDumpProblem(criu));
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; spec: ContainerSpec | undefined; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/post-copy-fault: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));
const mib = 200;

test.before(async (t) => {
  if (problem !== undefined) return;
  // slow enough that the memory cannot be there before the fault
  const hosts = await makeHosts(authority, { policy: { mode: 'post-copy', permitPostCopy: false }, bandwidthMiB: 20 });
  const image = await memoryImage();
  Object.assign(t.context, hosts, { image });
  for (const host of [hosts.a, hosts.b]) {
    await host.start();
    await host.takeImage(image);
  }
});
test.afterEach.always(async (t) => {
  const { a, b, spec } = t.context;
  if (!spec) return;
  for (const host of [a, b]) {
    await host.kill();
    await host.start();
    await host.tell({ do: 'destroy', id: spec.id }).catch(() => undefined);
  }
});
test.after.always(async (t) => {
  await t.context.end?.();
  if (allowed === undefined) await writeFile(setting, before);
});

/** Pids of criu with that in its command line. */
async function criuPids(words: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const line = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');
    if (line.includes(words) && (await readFile(`/proc/${name}/comm`, 'utf8').catch(() => '')).startsWith('criu')) found.push(Number(name));
  }
  return found;
}

const crashed = async (host: TestHost, id: string): Promise<boolean> => (await host.view(id)).state === 'crashed';

/** The end of a container that has lost its memory at \`to\`. */
async function lost(t: { context: { a: TestHost }; deepEqual(a: unknown, b: unknown): unknown; is(a: unknown, b: unknown): unknown }, from: TestHost, to: TestHost, spec: ContainerSpec): Promise<void> {
  await until('it is said to have crashed', () => crashed(to, spec.id), 60_000);
  await until('nothing is left at the source', async () => (await from.traces(spec)).length === 0, 60_000).catch(() => undefined);
  t.deepEqual(await from.traces(spec), []);
  await until('the record goes', async () => !(await to.traces(spec)).some((trace) => /record|nft/.test(trace)), 60_000);
  await to.tell({ do: 'start', id: spec.id });
  t.is((await to.view(spec.id)).state, 'running');
}

for (const [name, side, step] of [
  ['the source is killed while its memory is coming', 'source', 'haul.source.pages'],
  ['the destination is killed while its memory is coming', 'destination', 'haul.destination.pages'],
] as const) {
  real(`${name}: it has crashed at the destination`, async (t) => {
    const { a, b, image } = t.context;
    const spec = await bootMemory(a, image, 61, mib);
    t.context.spec = spec;
    const victim = side === 'source' ? a : b;
    await victim.kill();
    await victim.start(`kill:${step}`);
    const result = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
    await victim.gone();
    await victim.start();
    await lost(t, a, b, spec);
    t.log(await result);
  });
}

for (const [name, words] of [['page daemon at the destination', ' lazy-pages '], ['criu at the source', 'dump --rpc']] as const) {
  real(`the ${name} is killed while its memory is coming: it has crashed at the destination`, async (t) => {
    const { a, b, image } = t.context;
    const spec = await bootMemory(a, image, 61, mib);
    t.context.spec = spec;
    const result = haul(spec.id, a, b).then(({ result: { mode } }) => `went through by ${mode}`, (error: Error) => error.message);
    await until('it runs there', async () => (await b.view(spec.id)).state === 'running', 60_000);
    const pids = await criuPids(words);
    t.true(pids.length > 0);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await lost(t, a, b, spec);
    t.is(await result, 'went through by post-copy');
  });
}

for (const [side, step] of [['source', 'haul.source.memory'], ['source', 'haul.source.offered'], ['source', 'haul.source.restore'], ['destination', 'haul.destination.restore'], ['destination', 'haul.destination.restored']] as const) {
  real(`the ${side} is killed at ${step}: it goes on at the source, whole`, async (t) => {
    const { a, b, image } = t.context;
    const spec = await bootMemory(a, image, 61, mib);
    t.context.spec = spec;
    const victim = side === 'source' ? a : b;
    await victim.kill();
    await victim.start(`kill:${step}`);
    const result = haul(spec.id, a, b).catch((error: Error) => error.message);
    await victim.gone();
    await victim.start();
    await until('it goes on at the source', async () => (await a.view(spec.id)).state === 'running' && (await b.view(spec.id)).state === 'missing', 60_000);
    t.is(await askMemory(61, 'sum'), 'whole');
    await until('nothing is left', async () => (await b.traces(spec)).length === 0, 60_000).catch(() => undefined);
    t.deepEqual(await b.traces(spec), []);
    t.log(await result);
  });
}

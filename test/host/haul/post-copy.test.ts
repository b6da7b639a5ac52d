/** Post-copy between two hosts: it runs at the destination before its memory is there, and all of it comes. */
import { readFile, writeFile } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { lazyDumpProblem, lazyProblem } from '../../../src/container/checkpoint/lazy.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { askMemory, bootMemory, memoryImage } from './memory-guest.js';
import { counted, haul, NumberClient } from './numbers.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const allowed = await writeFile(setting, '1').then(() => undefined, (error: Error) => `${setting} cannot be set: ${error.message}`);
const criu = { criu: '/usr/sbin/criu' };
const problem = (await criuProblem()) ?? allowed ?? (await lazyProblem(criu)) ?? (await lazyDumpProblem(criu));
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/post-copy: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority, { policy: { mode: 'auto', permitPostCopy: true } });
  const image = await memoryImage();
  t.context = { ...hosts, image };
  for (const host of [hosts.a, hosts.b]) {
    await host.start();
    await host.takeImage(image);
  }
});
test.after.always(async (t) => {
  await t.context.end?.();
  if (allowed === undefined) await writeFile(setting, before);
});

real('where the other host does not permit it, nor this one: all memory first, and the reason is said', async (t) => {
  const { a, b, image } = t.context;
  const spec = await bootMemory(a, image, 60, 16);
  for (const [refusing, from, to, where] of [[b, a, b, 'at the destination, it is not permitted'], [b, b, a, 'it is not permitted here']] as const) {
    await refusing.kill();
    await refusing.start('', { policy: { mode: 'auto', permitPostCopy: false } });
    const { result } = await haul(spec.id, from, to, { mode: 'post-copy' });
    t.is(result.mode, 'stop-and-copy');
    t.is(result.reason, `no post-copy: ${where} (haul_permit_post_copy)`);
    t.is(await askMemory(60, 'sum'), 'whole');
  }
  await b.kill();
  await b.start();
  const { result } = await haul(spec.id, a, b);
  t.is(result.mode, 'post-copy', 'auto, where it is permitted and there is nothing better');
  await until('its memory is there', async () => (await askMemory(60, 'sum')) === 'whole');
  await b.tell({ do: 'destroy', id: spec.id });
});

real('a service with a short watchdog: all memory first, and the reason is said', async (t) => {
  const { a, b, image } = t.context;
  const spec = await bootMemory(a, image, 60, 16);
  await a.guest(spec.id, 'sh', '-c', 'WATCHDOG_USEC=20000000 tail -f /dev/null </dev/null >/dev/null 2>&1 & echo $! >/run/watched');
  const first = await haul(spec.id, a, b, { mode: 'post-copy' });
  t.is(first.result.mode, 'stop-and-copy');
  t.is(first.result.reason, 'no post-copy: at the source, a service has a watchdog of 20 s, below 60 s: it would be killed if its pages came late');
  t.is(await askMemory(60, 'sum'), 'whole');
  await b.guest(spec.id, 'sh', '-c', 'pid=$(cat /run/watched); kill $pid; while [ -e /proc/$pid ]; do sleep 0.01; done; WATCHDOG_USEC=180000000 tail -f /dev/null </dev/null >/dev/null 2>&1 &');
  const second = await haul(spec.id, b, a, { mode: 'post-copy' });
  t.is(second.result.mode, 'post-copy', 'three minutes are enough');
  t.is(await askMemory(60, 'sum'), 'whole');
  await a.tell({ do: 'destroy', id: spec.id });
});

for (const mib of [16, 128, 1024]) {
  real(`${mib} MiB, there and back, each as soon as it can: whole, no reset, no number lost or repeated, nothing left behind`, async (t) => {
    const { a, b, image } = t.context;
    const spec = await bootMemory(a, image, 60, mib);
    const client = await NumberClient.open('10.99.0.60', 7000);
    t.teardown(() => client.close());
    await client.more(50);
    let count = await until('it counts', () => counted(a, spec.id));
    for (let turn = 0; turn < 4; turn++) {
      const [from, to] = turn % 2 === 0 ? [a, b] : [b, a];
      client.longestSilenceMs = 0;
      const { result, progress } = await haul(spec.id, from, to, { mode: 'post-copy' });
      await client.more(50);
      t.log(`${from.name} -> ${to.name}: ${result.totalMs} ms in all, ${result.frozenMs} ms frozen, silence ${Math.round(client.longestSilenceMs)} ms, ${result.memoryBytes >> 20} MiB`);
      t.deepEqual([result.mode, result.reason], ['post-copy', 'asked for']);
      t.true(progress.some(({ stage }) => stage === 'paging'));
      t.true(result.memoryBytes > mib * 1024 ** 2);
      t.is((await to.view(spec.id)).state, 'running');
      t.is(await askMemory(60, 'sum'), 'whole');
      t.deepEqual(await from.traces(spec), []);
      const now = await until('it counts on', () => counted(to, spec.id));
      t.true(now >= count);
      count = now;
    }
    client.close();
    await a.tell({ do: 'destroy', id: spec.id });
    t.deepEqual([...(await a.traces(spec)), ...(await b.traces(spec))], []);
  });
}

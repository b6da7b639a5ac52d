/** A running container is hauled between two hosts, there and back, while a client outside keeps one TCP connection. */
import anyTest, { type TestFn } from 'ava';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { InstanceStore } from '../../../src/container/state.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { imageOf, until } from '../container/harness.js';
import { makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/live: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

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

real('there and back five times: no reset, no number lost or repeated, nothing left behind', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(t.context.a, t.context.image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(50);
  let count = await until('it counts', () => counted(a, spec.id));
  for (let turn = 0; turn < 10; turn++) {
    const [from, to] = turn % 2 === 0 ? [a, b] : [b, a];
    client.longestSilenceMs = 0;
    const { result } = await haul(spec.id, from, to);
    await client.more(50);
    t.log(`${from.name} -> ${to.name}: ${result.totalMs} ms in all, ${result.frozenMs} ms frozen, silence ${Math.round(client.longestSilenceMs)} ms`);
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

real('templates that the destination lacks come along; what the guest has of them goes on', async (t) => {
  const { a, b, image } = t.context;
  const folder = await mkdtemp(join(tmpdir(), 'live-template-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await run('sh', ['-c', 'cd "$0" && mkdir -p tree/opt/app tree/usr && echo one >tree/opt/app/one && echo two >tree/opt/app/two && touch tree/usr/.wh.sbin', folder]);
  const template = { ...(await imageOf(join(folder, 'tree'), join(folder, 'layer.tar'))), layer: true };
  await a.takeImage(template);
  const spec = await bootNumbers(a, image, { templates: [template.id] });
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  // a process holds a file of the template open, and the guest has changed another
  await a.guest(spec.id, 'sh', '-c', 'echo changed >/opt/app/two; (exec 3</opt/app/one; while :; do cat <&3 >>/root/read; sleep 1; done) >/dev/null 2>&1 &');
  const look = 'cat /opt/app/*; cat /root/read; ls /usr';
  await until('it has read', async () => (await a.guest(spec.id, 'sh', '-c', look)).includes('one\nchanged\none'));
  const before = await a.guest(spec.id, 'sh', '-c', look);
  for (const [from, to] of [[a, b], [b, a]] as const) {
    await haul(spec.id, from, to);
    await client.more(50);
    t.is(await to.guest(spec.id, 'sh', '-c', look), before);
    t.deepEqual(await from.traces(spec), []);
  }
  client.close();
  await a.tell({ do: 'destroy', id: spec.id });
});

real('a haul tells how far it is, ends with true figures, and the other side is told of what came', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it counts', () => counted(a, spec.id));
  await a.inside('dd', 'if=/dev/urandom', `of=/proc/${(await a.view(spec.id)).pid}/root/root/large`, 'bs=1M', 'count=20');
  const { result, progress, frozen } = await haul(spec.id, a, b);
  t.is(frozen, 1);
  t.deepEqual([...new Set(progress.map(({ stage }) => stage))], ['connecting', 'preparing', 'copying', 'frozen', 'restoring', 'settling']);
  for (const { disk, memory } of progress) {
    for (const { total, processed, remaining } of [disk, memory]) t.true(total === processed + remaining && remaining >= 0);
  }
  progress.slice(1).forEach(({ disk, memory }, index) => {
    t.true(disk.processed >= progress[index]!.disk.processed && memory.processed >= progress[index]!.memory.processed);
  });
  t.true(progress.some(({ stage, disk }) => stage === 'copying' && disk.total > 20 * 1024 ** 2 && disk.processed < disk.total), 'what must go is known before it has gone');
  t.true(progress.some(({ stage, memory }) => stage === 'copying' && memory.total > 0 && memory.processed === 0));
  const last = progress.at(-1)!;
  t.deepEqual(last.memory, { total: result.memoryBytes, processed: result.memoryBytes, remaining: 0 });
  t.deepEqual(last.disk, { total: result.diskBytes, processed: result.diskBytes, remaining: 0 });
  t.true(result.diskBytes > 20 * 1024 ** 2 && result.memoryBytes > 100_000);
  t.is(result.mode, 'stop-and-copy');
  t.is(result.rounds.filter(({ what }) => what === 'disk').reduce((sum, { bytes }) => sum + bytes, 0), result.diskBytes);
  t.true(result.frozenMs > 0 && result.totalMs >= result.frozenMs);
  t.is(await b.tell({ do: 'ended', id: spec.id }), `arrived ${spec.id}`);
  await b.tell({ do: 'destroy', id: spec.id });
});

real('an abort in any stage before it is offered leaves it running where it was, and nothing at the other side', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  for (const stage of ['preparing', 'copying', 'frozen'] as const) {
    const count = await until('it counts', () => counted(a, spec.id));
    await t.throwsAsync(haul(spec.id, a, b, { abortAt: stage }), { message: /somebody aborts it/ }, stage);
    await until('it counts on', async () => (await counted(a, spec.id)) > count);
    t.is((await a.view(spec.id)).state, 'running');
    await until('nothing is left there', async () => (await b.traces(spec)).length === 0, 20_000).catch(() => undefined);
    t.deepEqual(await b.traces(spec), []);
    await client.more(20);
  }
  const { result } = await haul(spec.id, a, b, { forceAt: 'copying' });
  t.is(result.rounds.filter(({ what, round }) => what === 'disk' && round > 0).length, 1);
  await client.more(20);
  client.close();
  await b.tell({ do: 'destroy', id: spec.id });
});

real('a quiesced guest is not hauled, also one that was quiesced when the haul had begun: its thaw hook would not run', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it counts', () => counted(a, spec.id));
  await a.guest(spec.id, 'sh', '-c', "mkdir -p /etc/qemu; printf '#!/bin/sh\\necho $1 >>/hooks\\n' >/etc/qemu/fsfreeze-hook; chmod 755 /etc/qemu/fsfreeze-hook");
  await a.tell({ do: 'quiesce', id: spec.id });
  await t.throwsAsync(haul(spec.id, a, b), { message: /in state quiesced: cannot haul/ });
  await a.tell({ do: 'unquiesce', id: spec.id });
  t.is(await a.guest(spec.id, 'cat', '/hooks'), 'freeze\nthaw');

  await a.kill();
  await a.start('stop:haul.source.copy:1');
  const pid = await a.servicePid();
  const late = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
  await until('it copies', async () => /^State:\tT/m.test(await readFile(`/proc/${pid}/status`, 'utf8')));
  const { run } = new InstanceStore(a.options.instancesPath, a.options.runPath).paths(spec.id);
  await writeFile(join(run, 'quiesced'), ''); // as `quiesce` does first of all
  process.kill(pid, 'SIGCONT');
  t.regex(await late, /in state quiesced: cannot haul/);
  await a.tell({ do: 'unquiesce', id: spec.id });
  t.is(await a.guest(spec.id, 'cat', '/hooks'), 'freeze\nthaw\nthaw');
  await haul(spec.id, a, b);
  await until('it counts', () => counted(b, spec.id));
  t.deepEqual(await a.traces(spec), []);
  await b.tell({ do: 'destroy', id: spec.id });
});

real('a disk at the destination that does not take the last difference: it goes on at the source, nothing is left there', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(50); // so that its disk is being written to
  const count = await until('it counts', () => counted(a, spec.id));
  const broken = join(b.options.runPath, 'broken-sync');
  await b.inside('cp', '/usr/bin/sync', `${broken}.real`);
  await writeFile(broken, `#!/bin/sh\ncase $* in */layer) echo 'sync: error syncing: Input/output error' >&2; exit 1; esac\nexec ${broken}.real "$@"\n`, { mode: 0o755 });
  await b.inside('mount', '--bind', broken, '/usr/bin/sync');
  try {
    await t.throwsAsync(haul(spec.id, a, b), { message: /Input\/output error/ });
  } finally {
    await b.inside('umount', '/usr/bin/sync');
  }
  await until('it counts on', async () => (await counted(a, spec.id)) > count);
  t.is((await a.view(spec.id)).state, 'running');
  t.deepEqual(await b.traces(spec), []);
  await client.more(20);
  await haul(spec.id, a, b);
  await client.more(20);
  client.close();
  await b.tell({ do: 'destroy', id: spec.id });
});

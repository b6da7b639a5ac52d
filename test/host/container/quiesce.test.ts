/** Quiesced guests: the hook, the freeze, and that none stays so. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/quiesce: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => t.context.bed?.end());

async function boot(bed: Bed): Promise<string> {
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('it counts', async () => (await counted(bed, spec.id)) > 0);
  return spec.id;
}

async function counted(bed: Bed, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await bed.host.view(id)).pid}/root/run/count`, 'utf8').catch(() => ''));
}

const giveHook = (bed: Bed, id: string, script: string): Promise<string> => inside(bed, id, 'sh', '-c', `mkdir -p /etc/qemu; printf '#!/bin/sh\n${script}\n' > /etc/qemu/fsfreeze-hook; chmod 755 /etc/qemu/fsfreeze-hook`);
const hookSaid = (bed: Bed, id: string): Promise<string> => inside(bed, id, 'sh', '-c', 'cat /said 2>/dev/null || true');
const quiesce = (host: LocalContainerHost, id: string, frozen = true): Promise<void> => operate((operation) => host.quiesce(id, frozen, operation));

async function goesOn(bed: Bed, id: string): Promise<void> {
  await until('it runs', async () => (await bed.host.view(id)).state === 'running');
  const before = await counted(bed, id);
  await until('it counts on', async () => (await counted(bed, id)) > before);
}

real('hook, flush, freeze; and back; each once more changes nothing', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  await quiesce(bed.host, id); // without a hook
  t.is((await bed.host.view(id)).state, 'paused');
  const before = await counted(bed, id);
  await quiesce(bed.host, id);
  t.is(await counted(bed, id), before);
  await bed.host.unquiesce(id);
  await bed.host.unquiesce(id);
  await goesOn(bed, id);
  await giveHook(bed, id, 'echo $1 >> /said');
  await quiesce(bed.host, id);
  await bed.host.unquiesce(id);
  await goesOn(bed, id);
  t.is(await hookSaid(bed, id), 'freeze\nthaw');
  await quiesce(bed.host, id, false);
  await goesOn(bed, id);
  t.is(await hookSaid(bed, id), 'freeze\nthaw\nfreeze');
  const snapshot = await operate((operation) => bed.host.snapshot(id, operation));
  await snapshot.end();
  await bed.host.unquiesce(id);
  t.is(await hookSaid(bed, id), 'freeze\nthaw\nfreeze\nthaw');
});

real('a hook that fails: it is told, thawed, and the guest goes on; one that does not run is refused', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  await giveHook(bed, id, 'echo $1 >> /said; [ $1 = thaw ] || { echo database is busy >&2; exit 3; }');
  await t.throwsAsync(quiesce(bed.host, id), { code: 'QUIESCE_FAILED', message: /database is busy/ });
  await goesOn(bed, id);
  t.is(await hookSaid(bed, id), 'freeze\nthaw');
  await operate((operation) => bed.host.pause(id, operation));
  await t.throwsAsync(quiesce(bed.host, id), { code: 'INSTANCE_STATE' });
  t.is((await bed.host.view(id)).state, 'paused');
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
  await t.throwsAsync(quiesce(bed.host, id), { code: 'INSTANCE_STATE' });
});

real('nobody unquiesces: the time ends it, a stop of the service ends it, a kill -9 and the next start end it', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  await giveHook(bed, id, 'echo $1 >> /said');
  await bed.host.stop();
  const short = new LocalContainerHost({ ...bed.options, quiesceSeconds: 1 }, log);
  await short.start();
  await quiesce(short, id);
  t.is((await short.view(id)).state, 'paused');
  await until('its time is over', async () => (await short.view(id)).state === 'running');
  await until('the hook knows', async () => (await hookSaid(bed, id)) === 'freeze\nthaw');
  await short.stop();

  await bed.host.start();
  await quiesce(bed.host, id);
  await bed.host.stop();
  await bed.host.start();
  await goesOn(bed, id);

  await bed.host.stop();
  const spec = await bed.host.parts.store.readSpec(id);
  const service = spawn(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), 'quiesce-and-die'], { stdio: 'inherit' });
  const [, signal] = (await once(service, 'exit')) as [number | null, string | null];
  t.is(signal, 'SIGKILL');
  await bed.host.start();
  await goesOn(bed, id);
  t.is(await hookSaid(bed, id), 'freeze\nthaw\nfreeze\nthaw\nfreeze\nthaw');
});

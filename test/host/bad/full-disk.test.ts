/** instances_path on a file system that is full: what cannot be done says so and leaves all as it was, stop and delete work, and it goes on when there is space. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ContainerExit } from '../../../src/container/container-host.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { busyboxImage, inside, makeBed, makeSpec, operate, until, type Bed } from '../container/harness.js';
import { atOnce, boot, countsOn, destroy, destroyWhole, start, stop } from './kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; small: string; exits: ContainerExit[] }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/bad/full-disk: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const small = await mkdtemp('/var/lib/nova/full-');
  await run('truncate', ['-s', '300M', `${small}.img`]);
  await run('mkfs.ext4', ['-q', '-m', '0', `${small}.img`]);
  await run('mount', ['-o', 'loop', `${small}.img`, small]);
  await mkdir(join(small, 'instances'));
  const exits: ContainerExit[] = [];
  t.context = { bed: await makeBed({ instancesPath: join(small, 'instances') }), small, exits };
  t.context.bed.host.onExit((exit) => exits.push(exit));
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  const { bed, small } = t.context;
  await free(small);
  for (const view of await bed.host.list()) await destroy(bed, view.id);
  await bed.end().catch(() => undefined);
  await run('umount', [small]);
  await rm(`${small}.img`);
  await rm(small, { recursive: true });
});

/** Takes every block that is left. */
async function fill(small: string): Promise<void> {
  for (const size of ['1M', '4k']) await run('dd', ['if=/dev/zero', `of=${small}/filler-${size}`, `bs=${size}`, 'conv=fsync'], { okCodes: [0, 1] });
  for (let n = 0; (await statfs(small)).bavail > 0 && n < 200; n++) await writeFile(join(small, `filler-${n}`), Buffer.alloc(4096)).catch(() => undefined);
}

async function free(small: string): Promise<void> {
  for (const name of await readdir(small)) if (name.startsWith('filler')) await rm(join(small, name));
  await run('sync', ['--file-system', small]);
}

const outcome = (work: Promise<unknown>): Promise<string> => work.then(() => 'done', (error: Error) => `${error.name}: ${error.message}`);
const unfinished = async (folder: string): Promise<string[]> => (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.tmp'));

real('nothing can be made, changed or frozen, which is said; what runs goes on; delete works; then there is space', async (t) => {
  const { bed, small, exits } = t.context;
  const paths = (id: string): ReturnType<typeof bed.host.parts.store.paths> => bed.host.parts.store.paths(id);
  const [running, stopped, doomed, dying] = [await boot(bed), await boot(bed), await boot(bed), await boot(bed)];
  await stop(bed, stopped.id);
  await run('sync', ['--file-system', small]);
  const before = await readFile(paths(running.id).state, 'utf8');
  await fill(small);

  const fresh = makeSpec(bed.image);
  const image = { ...await busyboxImage(), id: '11111111-2222-4333-8444-555555555555' };
  for (const [what, work] of [
    ['boot', () => operate((operation) => bed.host.create(fresh, operation))],
    ['image', () => operate((operation) => bed.host.ensureImage(image, operation))],
    ['start', () => operate((operation) => bed.host.startContainer(stopped.id, operation))],
    ['suspend', () => operate((operation) => bed.host.suspend(running.id, operation))],
    ['snapshot', () => operate(async (operation) => { const made = await bed.host.snapshot(running.id, operation); await made.end(); })],
    ['pause', () => operate((operation) => bed.host.pause(doomed.id, operation))],
    ['ports', () => bed.host.updateVifs(running.id, [])],
    ['stop of a reboot', () => stop(bed, running.id)],
  ] as const) {
    const said = await outcome(work());
    t.log(`${what}: ${said.slice(0, 200)}`);
    t.regex(said, what === 'snapshot' ? /^done|^DISK_FULL: No space left on \// : /^DISK_FULL: No space left on \//, what);
  }
  t.is((await bed.host.view(fresh.id)).state, 'missing');
  t.is((await bed.host.view(doomed.id)).state, 'running', 'it is not left paused');
  t.is(await readFile(paths(running.id).state, 'utf8'), before);
  t.like(JSON.parse(await readFile(paths(stopped.id).state, 'utf8')), { phase: 'ready', wanted: 'stopped' });
  await countsOn(bed, running.id);
  t.regex(await bed.host.consoleLog(running.id, undefined), /guest is up/);

  // what the guest writes has no place either: its disk is sparse
  t.log(await inside(bed, running.id, 'sh', '-c', 'dd if=/dev/zero of=/big bs=1M count=24 2>&1; sync; touch /more 2>&1; grep " / " /proc/mounts').catch((error: Error) => error.message));

  // one that ends by itself now is told of when it can be recorded
  process.kill((await bed.host.view(dying.id)).pid ?? 0, 'SIGKILL');
  await until('it is seen to have ended', async () => (await bed.host.view(dying.id)).state === 'crashed');
  await stop(bed, running.id, { ...atOnce, evenUnrecorded: true });
  t.is((await bed.host.view(running.id)).state, 'stopped');
  await destroyWhole(bed, doomed.id);
  t.deepEqual(await unfinished(join(small, 'instances')), []);

  await fill(small); // the one that was deleted gave some back
  await bed.host.stop();
  await bed.host.start(); // a service that starts on a full disk
  t.is((await bed.host.view(stopped.id)).state, 'stopped');
  const second = await boot(bed).catch((error: Error) => error.name);
  t.is(second, 'DISK_FULL');

  await free(small);
  t.deepEqual((await until('the end is told', () => exits.find(({ id }) => id === dying.id), 30_000)), { id: dying.id, state: 'crashed', exitCode: 137, rebootRequested: false });
  for (const { id } of [running, stopped, dying]) {
    await stop(bed, id); // as Nova does with one that ended by itself: its disk went read-only
    await start(bed, id);
    await inside(bed, id, 'sh', '-c', 'echo fine > /fine && sync');
  }
  await operate((operation) => bed.host.suspend(running.id, operation));
  await operate((operation) => bed.host.resume(running.id, operation));
  await countsOn(bed, running.id);
  for (const { id } of [running, stopped, dying]) await destroyWhole(bed, id);
  t.deepEqual((await readdir(join(small, 'instances'))).filter((name) => !name.startsWith('_')), []);
  t.false(existsSync(join(small, 'instances', fresh.id)));
});

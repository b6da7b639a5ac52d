/** Commands that hang, as on a device that does not answer: they are ended and named, the container is in a state that can go on, others are not held up, nothing stays. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { findCommand, hurryCommands, run } from '../../../src/base/run.js';
import { controllerFolder, readCgroupLayout } from '../../../src/container/cgroup.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { inside, makeBed, makeSpec, operate, pidsWithArgument, until, type Bed } from '../container/harness.js';
import { boot, countsOn, destroy, destroyWhole, start, stop } from './kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; fakes: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/bad/stuck: ${problem}\n`);

/** Seconds that the stand-ins sleep: by it they are known. */
const forever = '86399';
const path = process.env['PATH'];
const limitSeconds = 3;
const hurry = async <T>(work: () => Promise<T>): Promise<T> => {
  hurryCommands(limitSeconds * 1000);
  try {
    return await work();
  } finally {
    hurryCommands(Infinity);
  }
};

const names = ['runc', 'mount', 'umount', 'mkfs.ext4', 'sync'];
const reals = new Map(names.map((name) => [name, findCommand(name)]));

/** Stand-ins that hang while `<name>.hangs` is there, if its text is among their arguments, and are the real ones otherwise. */
async function standIn(folder: string, name: string, hang = `exec sleep ${forever}`): Promise<void> {
  const script = `#!/bin/bash\nreal=${reals.get(name)}\nwords=$(cat ${folder}/${name}.hangs 2>/dev/null) && case " $* " in *"$words"*) ${hang};; esac\nexec $real "$@"\n`;
  await writeFile(join(folder, name), script);
  await chmod(join(folder, name), 0o755);
}

test.before(async (t) => {
  if (problem !== undefined) return;
  const fakes = await mkdtemp('/run/fakes-');
  for (const name of names) await standIn(fakes, name);
  t.context = { bed: await makeBed({ runc: join(fakes, 'runc') }), fakes };
  process.env['PATH'] = `${fakes}:${path}`;
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await run('find', [t.context.fakes, '-name', '*.hangs', '-delete']);
  for (const view of await t.context.bed.host.list()) await destroy(t.context.bed, view.id);
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  process.env['PATH'] = path;
  await t.context.bed.end();
  await rm(t.context.fakes, { recursive: true });
});

/** While the command hangs, the work ends with an error that names it, or well; meanwhile another container lives, and afterwards nothing of the command is left. */
async function whileStuck(t: ExecutionContext<{ bed: Bed; fakes: string }>, other: string, name: string, words: string, work: () => Promise<unknown>, said: RegExp): Promise<void> {
  const flag = join(t.context.fakes, `${name}.hangs`);
  await writeFile(flag, words);
  const ends = hurry(work).then(() => 'done', (error: Error) => `${error.name}: ${error.message}`);
  const others = (async () => {
    await until(`${name} hangs`, async () => (await pidsWithArgument(forever)).length > 0, 30_000);
    await countsOn(t.context.bed, other);
  })();
  const [outcome] = await Promise.all([ends, others]);
  t.log(`${name} ${words}: ${outcome.slice(0, 300)}`);
  t.regex(outcome, said);
  await rm(flag);
  await until('nothing of it is left', async () => (await pidsWithArgument(forever)).length === 0, 20_000);
}

const view = async (bed: Bed, id: string): Promise<string> => (await bed.host.view(id)).state;

real('the runtime hangs: in create, in start, while it stops, while it is deleted', async (t) => {
  const { bed } = t.context;
  const other = await boot(bed);
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  const begin = (): Promise<void> => operate((operation) => bed.host.startContainer(spec.id, operation));
  await whileStuck(t, other.id, 'runc', 'create', begin, /^COMMAND_TIMEOUT: .*conmon, which has .*runc create the container .* did not finish within 3 s/);
  t.is(await view(bed, spec.id), 'stopped');
  await whileStuck(t, other.id, 'runc', `start ${spec.id}`, begin, /^RUNTIME_FAILED: .*failed to start the container: .*runc .* start [^ ]+ did not finish within 3 s/);
  t.is(await view(bed, spec.id), 'stopped');
  await start(bed, spec.id);
  await operate((operation) => bed.host.pause(spec.id, operation));
  await operate((operation) => bed.host.unpause(spec.id, operation));
  await whileStuck(t, other.id, 'runc', spec.id, () => stop(bed, spec.id, { timeoutMs: 3000, retryMs: 1000 }), /^done$/);
  t.is(await view(bed, spec.id), 'stopped');
  await start(bed, spec.id);
  await whileStuck(t, other.id, 'runc', spec.id, () => destroy(bed, spec.id), /^done$/);
  await destroyWhole(bed, spec.id);
  await destroyWhole(bed, other.id);
});

real('storage hangs: mkfs in a boot, mount in a start, umount in a stop, sync in a suspend', async (t) => {
  const { bed } = t.context;
  const other = await boot(bed);
  const fresh = makeSpec(bed.image);
  await whileStuck(t, other.id, 'mkfs.ext4', '-q', () => operate((operation) => bed.host.create(fresh, operation)), /^COMMAND_TIMEOUT: mkfs.ext4 .* did not finish within 3 s/);
  t.is(await view(bed, fresh.id), 'missing');
  await operate((operation) => bed.host.create(fresh, operation));
  await whileStuck(t, other.id, 'mount', 'overlay', () => operate((operation) => bed.host.startContainer(fresh.id, operation)), /^COMMAND_TIMEOUT: mount .*overlay.* did not finish within 3 s/);
  t.is(await view(bed, fresh.id), 'stopped');
  await start(bed, fresh.id);
  await whileStuck(t, other.id, 'sync', '--file-system', () => operate((operation) => bed.host.suspend(fresh.id, operation)), /^SUSPEND_FAILED: .*its disk cannot be written out: sync .* did not finish within 3 s/);
  t.is(await view(bed, fresh.id), 'running');
  await countsOn(bed, fresh.id);
  await operate((operation) => bed.host.suspend(fresh.id, operation));
  await operate((operation) => bed.host.resume(fresh.id, operation));
  await whileStuck(t, other.id, 'umount', '', () => stop(bed, fresh.id), /^done$|^COMMAND_TIMEOUT: umount .* did not finish within 3 s/);
  t.is(await view(bed, fresh.id), 'stopped');
  await stop(bed, fresh.id);
  await start(bed, fresh.id);
  await inside(bed, fresh.id, 'true');
  await destroyWhole(bed, fresh.id);
  await destroyWhole(bed, other.id);
});

real('a command that cannot even be killed holds up its own container for a time, and nobody else', async (t) => {
  const { bed, fakes } = t.context;
  const layout = await readCgroupLayout();
  const freezer = layout.v1.get('freezer');
  if (freezer === undefined) return t.log('SKIPPED: without the v1 freezer a process cannot be kept from dying'), t.pass();
  const group = join(controllerFolder(layout, 'freezer', bed.options.cgroupParent) ?? '', 'stuck');
  await mkdir(group, { recursive: true });
  await standIn(fakes, 'mount', `echo $$ >${group}/cgroup.procs; echo FROZEN >${group}/freezer.state; exec sleep ${forever}`);
  const other = await boot(bed);
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await writeFile(join(fakes, 'mount.hangs'), 'overlay');
  try {
    await t.throwsAsync(hurry(() => operate((operation) => bed.host.startContainer(spec.id, operation))), { name: 'COMMAND_TIMEOUT', message: /^mount .* did not finish within 3 s/ });
    t.not((await readFile(join(group, 'cgroup.procs'), 'utf8')).trim(), '', 'it is still there');
    await countsOn(bed, other.id);
    await rm(join(fakes, 'mount.hangs'));
    await start(bed, spec.id);
  } finally {
    await writeFile(join(group, 'freezer.state'), 'THAWED');
    await until('it is gone', async () => (await readFile(join(group, 'cgroup.procs'), 'utf8')).trim() === '');
    while (existsSync(group)) await run('rmdir', [group]).catch(() => sleep(100));
  }
  await destroyWhole(bed, spec.id);
  await destroyWhole(bed, other.id);
});

real('a command whose child has its pipes is not waited for', async (t) => {
  await t.throwsAsync(run('sh', ['-c', 'echo said >&2; sleep 86398 & wait'], { timeoutMs: 3000 }), { name: 'COMMAND_TIMEOUT', message: /^sh .* did not finish within 3 s: said$/ });
  for (const pid of await pidsWithArgument('86398')) process.kill(pid, 'SIGKILL');
});

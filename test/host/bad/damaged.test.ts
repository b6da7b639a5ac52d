/** instances_path and run_path damaged by hand: the service starts, names the file, manages what is whole, lets run what runs, and deletes what is damaged. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import anyTest, { type TestFn } from 'ava';
import { createLog } from '../../../src/base/log.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { InstancePaths } from '../../../src/container/state.js';
import { hostProblem, makeBed, makeSpec, operate, type Bed } from '../container/harness.js';
import { boot, countsOn, destroy, destroyWhole, start, stop } from './kit.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/bad/damaged: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await destroy(t.context.bed, view.id);
});
test.after.always(async (t) => { await t.context.bed?.end(); });

/** A new life of the service on the same folders, and what it logs. */
async function anew(bed: Bed): Promise<{ readonly bed: Bed; readonly said: () => string }> {
  await bed.host.stop();
  const out = new PassThrough();
  let text = '';
  out.on('data', (chunk: Buffer) => { text += chunk.toString(); });
  const host = new LocalContainerHost(bed.options, createLog({ level: 'info', out }));
  await host.start();
  return { bed: { ...bed, host }, said: () => text };
}

/** A file, and what is done to it. `lost`: it cannot be managed until the file is restored, only deleted. */
interface Damage {
  readonly what: string;
  readonly file: (paths: InstancePaths) => string;
  readonly hurt: (file: string) => Promise<unknown>;
  readonly lost: boolean;
}

const put = (text: string) => (file: string): Promise<void> => writeFile(file, text);
const change = (fields: object) => async (file: string): Promise<void> => writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')) as object, ...fields }));
const asFolder = async (file: string): Promise<void> => { await rm(file, { force: true }); await mkdir(join(file, 'inside'), { recursive: true }); };
const dangling = async (file: string): Promise<void> => { await rm(file, { force: true }); await symlink('/no/such/file', file); };
const gone = (file: string): Promise<void> => rm(file);
const state = (paths: InstancePaths): string => paths.state;
const spec = (paths: InstancePaths): string => paths.spec;

const damages: readonly Damage[] = [
  { what: 'state.json is empty', file: state, hurt: (file) => truncate(file), lost: true },
  { what: 'state.json is cut off', file: state, hurt: (file) => truncate(file, 40), lost: true },
  { what: 'state.json is of other types', file: state, hurt: change({ phase: 7, idBase: 'many' }), lost: true },
  { what: 'state.json has an unknown phase', file: state, hurt: change({ phase: 'sleeping' }), lost: true },
  { what: 'state.json is gone', file: state, hurt: gone, lost: true },
  { what: 'state.json is a folder', file: state, hurt: asFolder, lost: true },
  { what: 'state.json is a dangling link', file: state, hurt: dangling, lost: true },
  { what: 'spec.json is garbage', file: spec, hurt: put('\0\0\0\x7fELF'), lost: true },
  { what: 'spec.json is a list', file: spec, hurt: put('[1, 2]'), lost: true },
  { what: 'spec.json has ports that are none', file: spec, hurt: change({ vifs: [7, null], limits: {} }), lost: true },
  { what: 'spec.json is gone', file: spec, hurt: gone, lost: true },
  { what: 'spec.json is a loop of links', file: spec, hurt: async (file) => { await rm(file); await symlink(file, file); }, lost: true },
  { what: 'running.json is empty', file: (paths) => paths.running, hurt: (file) => truncate(file), lost: false },
  { what: 'running.json is gone', file: (paths) => paths.running, hurt: gone, lost: false },
  { what: 'running.json is a folder', file: (paths) => paths.running, hurt: asFolder, lost: false },
  { what: 'the pid files are garbage', file: (paths) => paths.pidFile, hurt: async (file) => { await writeFile(file, 'x'); await writeFile(join(file, '../conmon.pid'), '-1'); }, lost: false },
  { what: 'its folder may be read by nobody', file: (paths) => paths.folder, hurt: async (folder) => { await chmod(folder, 0); await chmod(join(folder, 'state.json'), 0); }, lost: false },
  { what: 'config.json is garbage', file: (paths) => paths.config, hurt: put('{'), lost: false },
  { what: 'the console\'s log is a folder', file: (paths) => `${paths.console}.1`, hurt: asFolder, lost: false },
  { what: 'there are foreign files', file: (paths) => paths.folder, hurt: async (folder) => { await mkdir(join(folder, 'notes/deep'), { recursive: true }); await writeFile(join(folder, 'notes/deep/mine'), 'x'); await writeFile(join(folder, 'snapshot'), 'x'); await writeFile(join(folder, 'exits'), 'x'); }, lost: false },
];

real('whatever is damaged of one, running: it is named, nothing that runs is killed, the others are managed, delete leaves nothing', async (t) => {
  const first = t.context.bed;
  const good = await boot(first);
  const hurt = [];
  for (const damage of damages) {
    const { id } = await boot(first);
    hurt.push({ ...damage, id, pid: (await first.host.view(id)).pid, path: damage.file(first.host.parts.store.paths(id)) });
  }
  await first.host.stop();
  for (const { hurt: act, path } of hurt) await act(path);
  const { bed, said } = await anew(first);
  try {
    const log = said();
    for (const { what, id, pid, path, lost } of hurt) {
      t.like(await bed.host.view(id), { state: 'running', pid }, what);
      t.true(existsSync(`/proc/${pid}`), what);
      const lines = log.split('\n').filter((line) => line.includes(path));
      if (lost) t.true(lines.some((line) => line.includes('can only be deleted')), `${what} is said: ${log.slice(-500)}`);
      if (!lost) t.false(lines.some((line) => line.includes('can only be deleted')), what);
    }
    t.is((await bed.host.list()).length, damages.length + 1);
    await countsOn(bed, good.id);
    await stop(bed, good.id);
    await start(bed, good.id);
    const another = await boot(bed);
    // nobody gets the ids of one whose record is damaged
    const bases = await Promise.all([...hurt.filter(({ pid }) => pid !== undefined).map(({ pid }) => pid), (await bed.host.view(another.id)).pid].map(async (pid) => (await readFile(`/proc/${pid}/uid_map`, 'utf8')).trim().split(/\s+/)[1]));
    t.is(new Set(bases).size, bases.length);
    for (const { what, id, lost, path } of hurt) {
      const error = await stop(bed, id).then(() => undefined, (failure: Error) => failure);
      if (lost) t.regex(`${error?.name}: ${error?.message}`, /^(STATE_DAMAGED: State file .* is damaged|INSTANCE_NOT_FOUND: )/, what);
      else {
        t.is(error, undefined, `${what}: ${error?.message}`);
        t.is((await bed.host.view(id)).state, 'stopped', what);
        if (!what.includes('running.json')) await start(bed, id).catch((failure: Error) => t.fail(`${what}: ${failure.message}`));
      }
      t.true(path.startsWith('/'));
      await destroyWhole(bed, id);
    }
  } finally {
    await bed.host.stop();
  }
});

real('stopped ones: a damaged disk, a lost base, files where folders were; said at the start, and deleted', async (t) => {
  const first = t.context.bed;
  const make = async (): Promise<InstancePaths & { readonly id: string }> => {
    const made = makeSpec(first.image);
    await operate((operation) => first.host.create(made, operation));
    return { ...first.host.parts.store.paths(made.id), id: made.id };
  };
  const [emptyDisk, noDisk, noBase, inLayer, fileForFolder] = [await make(), await make(), await make(), await make(), await make()];
  await truncate(join(emptyDisk.folder, 'disk'), 1024);
  await rm(join(noDisk.folder, 'disk'));
  await rm(join(noBase.folder, 'base'));
  await symlink('/no/such/tree', join(noBase.folder, 'base'));
  await writeFile(join(inLayer.folder, 'layer', 'foreign'), 'x');
  await rename(join(fileForFolder.folder, 'rootfs'), join(fileForFolder.folder, 'aside'));
  await writeFile(join(fileForFolder.folder, 'rootfs'), 'x');
  const { bed } = await anew(first);
  try {
    for (const { id } of [emptyDisk, noDisk, noBase, fileForFolder]) {
      t.is((await bed.host.view(id)).state, 'stopped');
      const error = await t.throwsAsync(operate((operation) => bed.host.startContainer(id, operation)));
      t.log(error.message.slice(0, 250));
      t.true(error.message.includes(id) || error.message.startsWith('Image '), 'the message names the file, or the image');
      t.is((await bed.host.view(id)).state, 'stopped');
      await destroyWhole(bed, id);
    }
    await start(bed, inLayer.id);
    await stop(bed, inLayer.id);
    t.true(existsSync(join(inLayer.folder, 'layer', 'foreign')));
    await destroyWhole(bed, inLayer.id);
  } finally {
    await bed.host.stop();
  }
});

real('foreign things beside the containers, in the cache and in run_path hinder nobody and stay', async (t) => {
  const first = t.context.bed;
  const good = await boot(first);
  await first.host.stop();
  const { instancesPath, runPath } = first.options;
  const id = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee';
  const foreign = ['notes.txt', `${id}.bak`, 'lost+found/x', '_base/readme', '_base/empty/x', `_base/${id}/image.json`, '.hidden'].map((name) => join(instancesPath, name));
  foreign.push(...[`exits/${id}`, 'exits/x', 'containers/x', 'notes'].map((name) => join(runPath, name)));
  for (const file of foreign) {
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, '{"id": 7}');
  }
  await writeFile(join(instancesPath, id), 'a file named as a container');
  await symlink('/no/such', join(instancesPath, 'bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee'));
  await mkdir(join(instancesPath, 'cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee')); // empty: of one that was never made
  const { bed, said } = await anew(first);
  try {
    t.is((await bed.host.view(good.id)).state, 'running');
    t.deepEqual((await bed.host.list()).map((view) => view.id).sort(), [good.id, 'cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee'].sort());
    t.regex(said(), /cccccccc-bbbb[^ ]*\/state.json is gone, or was never written/);
    await destroyWhole(bed, 'cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee');
    await stop(bed, good.id);
    await start(bed, good.id);
    await destroyWhole(bed, good.id);
    const again = await boot(bed);
    await destroyWhole(bed, again.id);
    for (const file of foreign) t.true(existsSync(file), file);
    t.true((await readdir(instancesPath)).includes(id));
  } finally {
    await bed.host.stop();
    for (const file of [...foreign, join(instancesPath, id), join(instancesPath, 'bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee')]) await rm(file, { force: true });
  }
});

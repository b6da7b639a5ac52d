/** The shape of a container allows a checkpoint and a restore: by plain runc and conmon, the way a haul will do it. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { cgroupFolders, delegateCgroups } from '../../../src/container/cgroup.js';
import { removeRuntime } from '../../../src/container/cleanup.js';
import { writeHookFiles } from '../../../src/container/network/hook-files.js';
import { cgroupsPath } from '../../../src/container/parts.js';
import { identify, waitGone } from '../../../src/container/process.js';
import { startMonitor } from '../../../src/container/runtime/conmon.js';
import { openImages } from '../../../src/container/runtime/image-folder.js';
import { monitorOptions } from '../../../src/container/start.js';
import { hostProblem, inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = hostProblem() ?? (await run('criu', ['check']).then(() => undefined, (error: Error) => `criu cannot work here: ${error.message}`));
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/checkpoint: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const criuOptions = ['--tcp-established', '--file-locks', '--ext-unix-sk', '--manage-cgroups-mode=soft'];

/** The last words of criu, for a failure. */
const lastWords = async (images: string, name: string): Promise<string> => (await readFile(join(images, name), 'utf8').catch(() => 'no log')).split('\n').slice(-12).join('\n');

real('checkpoint and restore: it counts on, keeps its address, its console and its exit code', async (t) => {
  const { bed } = t.context;
  const { parts } = bed.host;
  const vif = makeVif({ type: 'bridge', bridge: 'brqht3', createBridge: true }, 0, { routes: [{ destination: '0.0.0.0/0', gateway: '10.90.0.1' }] });
  const spec = makeSpec(bed.image, { vifs: [vif] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await run('ip', ['addr', 'replace', '10.90.0.1/24', 'dev', 'brqht3']);
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  const pid = (await bed.host.view(spec.id)).pid ?? 0;
  const before = Number(await until('it counts', () => readFile(`/proc/${pid}/root/run/count`, 'utf8').catch(() => '')));
  const process_ = identify(pid)!;
  const idBase = (await parts.store.readState(spec.id))!.idBase;
  const paths = parts.store.paths(spec.id);

  const images = join(bed.options.runPath, 'images');
  await mkdir(images, { mode: 0o700 });
  const groups = (await Promise.all(cgroupFolders(parts.cgroups, cgroupsPath(parts, spec.id)).map((folder) => readdir(folder, { withFileTypes: true })))).flat().filter((entry) => entry.isDirectory());
  t.deepEqual(groups, []);
  await parts.store.update(spec.id, { wanted: 'stopped' });
  await parts.runc.pause(spec.id);
  const runc = ['--root', parts.runc.root];
  let began = performance.now();
  await run(bed.options.runc, [...runc, 'checkpoint', ...criuOptions, '--image-path', images, spec.id], { env: parts.runc.environment });
  t.log(`checkpoint ${Math.round(performance.now() - began)} ms`);
  t.true(await waitGone(process_, 5000));
  await removeRuntime(parts, spec.id, { inFlight: false });
  await parts.plugger.unplugAll(spec.id, spec.vifs);

  await parts.plugger.plug(spec.id, vif, false);
  await writeHookFiles(paths.network, spec.vifs, 1500);
  await openImages(images, idBase);
  await rm(join(parts.exitFolder, spec.id), { force: true });
  for (const folder of cgroupFolders(parts.cgroups, cgroupsPath(parts, spec.id))) await mkdir(folder, { recursive: true });
  await delegateCgroups(parts.cgroups, cgroupsPath(parts, spec.id), idBase);
  began = performance.now();
  const restored = await startMonitor(bed.options.conmon, parts.runc, { ...monitorOptions(parts, spec), restore: { imagePath: images, runtimeOptions: [...criuOptions, '--work-path', images], timeoutMs: 60_000 } }).catch(async (error: unknown) => {
    t.log(await lastWords(images, 'restore.log'), await readFile(paths.conmonLog, 'utf8'));
    throw error;
  });
  t.log(`restore ${Math.round(performance.now() - began)} ms`);
  await parts.store.writeRunning(spec.id, identify(restored)!, new Date().toISOString());
  await parts.store.update(spec.id, { wanted: 'running' });
  await bed.host.watch(spec.id);

  t.like(await bed.host.view(spec.id), { state: 'running', pid: restored });
  await until('it counts on', async () => Number(await readFile(`/proc/${restored}/root/run/count`, 'utf8')) > before);
  await until('its address answers', () => run('ping', ['-c1', '-W1', '10.90.0.5']).then(() => true, () => false));
  t.regex(await inside(bed, spec.id, 'ip', 'route'), /default via 10\.90\.0\.1 dev eth0/);
  await inside(bed, spec.id, 'sh', '-c', 'echo after the restore > /dev/console');
  await until('its console goes on', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('after the restore'));
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 10_000, retryMs: 5000 }, operation));
  t.like(await bed.host.view(spec.id), { state: 'stopped', exitCode: 130 });
  await sleep(10);
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

/**
 * What a suspend and a resume cost beside bare `runc checkpoint` and `runc restore` of the same container in the same run.
 * `node dist/test/bench/freeze.js [MIB]...` in a Haulier host; prints one line of JSON a size, medians in milliseconds.
 *
 * Bare is what a person at a terminal would do, tuned: freeze, `runc checkpoint`; tree, ports and groups in place, `runc restore`
 * under conmon. It syncs nothing; what that costs is told apart. Lazy: from the restore's start (the call of conmon) until the
 * processes run, and from the begin of the resume; where the host does not allow it, missing.
 * The spread tells how much else ran on the machine: only the ratios of one run mean something.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runtimeCriuOptions } from '../../src/container/checkpoint/criu-options.js';
import { makeGroups } from '../../src/container/checkpoint/cgroup-groups.js';
import { checkpointPaths, makeCheckpointFolders, ownImages, removeCheckpoint, syncImages } from '../../src/container/checkpoint/images.js';
import { parseDumpStats, parseRestoreStats, readStatsFile } from '../../src/container/checkpoint/stats.js';
import { freeze } from '../../src/container/checkpoint/freezer.js';
import { chooseNetworkLock } from '../../src/container/checkpoint/network-lock.js';
import { lazyProblem } from '../../src/container/checkpoint/lazy.js';
import { removeRuntime } from '../../src/container/cleanup.js';
import { LocalContainerHost } from '../../src/container/local-container-host.js';
import { cgroupsPath } from '../../src/container/parts.js';
import { identify, waitGone } from '../../src/container/process.js';
import { startMonitor } from '../../src/container/runtime/conmon.js';
import { monitorOptions } from '../../src/container/start.js';
import { inside, log, makeBed, makeSpec, operate, until, type Bed } from '../host/container/harness.js';
import { toolsImage } from '../host/container/tools-image.js';

const rounds = Number(process.env['HAULIER_BENCH_ROUNDS'] ?? 5);
const sizes = process.argv.slice(2).map(Number);

const median = (values: readonly number[]): number => Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN);

async function timed(into: number[], work: () => Promise<unknown>): Promise<void> {
  const began = performance.now();
  await work();
  into.push(performance.now() - began);
}

interface Lazy { readonly resume: number[]; readonly run: number[]; readonly whole: number[] }

/** Suspends, and resumes lazily with another service on the same container. */
async function lazyRound(bed: Bed, id: string, into: Lazy): Promise<void> {
  await operate((operation) => bed.host.suspend(id, operation));
  await bed.host.stop();
  const host = new LocalContainerHost({ ...bed.options, lazyResume: 'auto' }, log);
  await host.start();
  const began = performance.now();
  const between = await operate(async (operation) => {
    await host.resume(id, operation);
    return operation.ageMs - (operation.steps['container.resume.restore'] ?? NaN);
  });
  into.resume.push(performance.now() - began);
  into.run.push(between);
  await until('its memory is in', () => !existsSync(checkpointPaths(host.parts.store.paths(id)).folder), 60_000);
  into.whole.push(performance.now() - began);
  await host.stop();
  await bed.host.start();
}

interface Bare { readonly dump: number[]; readonly sync: number[]; readonly restore: number[]; readonly frozen: number[]; readonly restoreTime: number[] }

/** One bare round: freeze, runc checkpoint, images synced (apart), runc restore under conmon. */
async function bareRound(bed: Bed, id: string, into: Bare): Promise<void> {
  const { parts } = bed.host;
  const { store } = parts;
  const paths = checkpointPaths(store.paths(id));
  const state = await store.readState(id);
  const spec = await store.readSpec(id);
  const running = await store.running(id);
  if (!state || !spec || !running) throw new Error('it does not run');
  await until('the images of the last resume are gone', () => !existsSync(paths.folder), 60_000);
  await store.update(id, { phase: 'suspending' }); // so that its end is not taken for one of its own
  await makeCheckpointFolders(paths);
  const process_ = identify(running.pid);
  await timed(into.dump, async () => {
    await freeze(parts, id);
    await chooseNetworkLock(parts, id, true);
    await parts.runc.checkpoint(id, [...runtimeCriuOptions, '--image-path', paths.images, '--work-path', paths.work]);
    if (process_) await waitGone(process_, 10_000);
  });
  await timed(into.sync, () => syncImages(paths));
  into.frozen.push(((await readStatsFile(join(paths.work, 'stats-dump'), parseDumpStats))?.frozenTime ?? NaN) / 1000);
  await removeRuntime(parts, id, { inFlight: false });
  await ownImages(paths, state.idBase);
  await rm(join(parts.exitFolder, id), { force: true });
  await makeGroups(parts.cgroups, cgroupsPath(parts, id), state.idBase, {});
  let pid = 0;
  await timed(into.restore, async () => {
    pid = await startMonitor(parts.options.conmon, parts.runc, { ...monitorOptions(parts, spec), restore: { imagePath: paths.images, runtimeOptions: [...runtimeCriuOptions, `--work-path=${paths.work}`], timeoutMs: 120_000 } });
  });
  into.restoreTime.push(((await readStatsFile(join(paths.work, 'stats-restore'), parseRestoreStats))?.restoreTime ?? NaN) / 1000);
  const restored = identify(pid);
  if (restored) await store.writeRunning(id, restored, new Date().toISOString());
  await store.update(id, { phase: 'ready', wanted: 'running' });
  await removeCheckpoint(paths);
}

async function measure(bed: Bed, image: Parameters<typeof makeSpec>[0], mib: number): Promise<void> {
  const spec = makeSpec(image, { limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: mib * 2 + 256, swapMiB: 0, pids: 100, rootGiB: 1 } });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('it is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  await inside(bed, spec.id, 'sh', '-c', `(python3 -c 'import os, time
x = [os.urandom(1 << 20) for i in range(${mib})]
open("/run/ready", "w").close()
while True: time.sleep(1)') </dev/null >/dev/null 2>&1 & true`);
  await until('its memory is filled', () => inside(bed, spec.id, 'sh', '-c', '[ -e /run/ready ] && echo yes; true'), 60_000);
  const bare: Bare = { dump: [], sync: [], restore: [], frozen: [], restoreTime: [] };
  const suspend: number[] = [];
  const resume: number[] = [];
  const lazy: Lazy = { resume: [], run: [], whole: [] };
  const canBeLazy = (await lazyProblem(bed.options)) === undefined;
  for (let round = 0; round < rounds; round++) {
    await bareRound(bed, spec.id, bare);
    await timed(suspend, () => operate((operation) => bed.host.suspend(spec.id, operation)));
    await timed(resume, () => operate((operation) => bed.host.resume(spec.id, operation)));
    if (canBeLazy && mib >= 64) await lazyRound(bed, spec.id, lazy);
  }
  await operate((operation) => bed.host.destroy(spec.id, operation));
  const [dump, sync, restore, ours, back] = [bare.dump, bare.sync, bare.restore, suspend, resume].map(median) as [number, number, number, number, number];
  process.stdout.write(`${JSON.stringify({
    mib, rounds, bare: { checkpoint: dump, sync, restore, frozen: median(bare.frozen), restoreTime: median(bare.restoreTime) }, haulier: { suspend: ours, resume: back },
    ratio: { suspend: Number((ours / dump).toFixed(2)), suspendWithSync: Number((ours / (dump + sync)).toFixed(2)), resume: Number((back / restore).toFixed(2)) },
    ...(lazy.run.length > 0 ? { lazy: { resume: median(lazy.resume), run: median(lazy.run), memoryIsIn: median(lazy.whole), spread: lazy.run.map(Math.round) } } : {}),
    spread: { checkpoint: bare.dump.map(Math.round), suspend: suspend.map(Math.round), restore: bare.restore.map(Math.round), resume: resume.map(Math.round) },
  })}\n`);
}

const bed = await makeBed();
try {
  const image = await toolsImage(false);
  await operate((operation) => bed.host.ensureImage(image, operation));
  for (const mib of sizes.length > 0 ? sizes : [16, 128, 1024]) await measure(bed, image, mib);
} finally {
  await bed.end();
}
process.exit(0);

/**
 * A crash dump: core files of all processes of a container, made from criu's images while it goes on.
 *
 *   freeze -> criu writes the images -> thaw -> a core file of each process from the images -> images removed
 *
 * Kept in `<crash_dump_path>/<uuid>/<time>/core.<pid>.<name>` with `dump.json`, root's only. criu works in the container's checkpoint
 * folder, as for a suspend, but never writes the record that makes whole images of it: whoever finds them after a crash throws them away.
 */
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { criuDump, requireSpace } from '../checkpoint/criu-dump.js';
import { goOn, letGo, patienceAfter } from '../checkpoint/dump.js';
import { freeze } from '../checkpoint/freezer.js';
import { checkpointPaths, makeCheckpointFolders, removeCheckpoint } from '../checkpoint/images.js';
import { chooseNetworkLock } from '../checkpoint/network-lock.js';
import type { CrashDumpOptions } from '../container-host.js';
import { asDiskFull } from '../../base/disk-full.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec } from '../spec.js';
import { beginStep, cleanupStep } from '../steps.js';
import { readProcesses } from './criu-images.js';
import { writeCore } from './elf-core.js';

const temporaryPrefix = '.tmp-';

/**
 * Makes one. @returns its folder
 * @throws INSTANCE_NOT_FOUND, INSTANCE_NOT_RUNNING, INSTANCE_STATE, CRASH_DUMP_UNSUPPORTED, CRASH_DUMP_FAILED, DISK_FULL; the
 * container goes on as before in any case
 */
export async function dumpContainer(parts: HostParts, id: string, operation: Operation): Promise<string> {
  const { store } = parts;
  const { path } = parts.options.crashDumps;
  const [spec, state] = await Promise.all([store.readSpec(id), store.readState(id)]);
  if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (path === undefined) throw new HaulierError('CRASH_DUMP_UNSUPPORTED', { reason: 'the operator has switched it off' });
  if (process.arch !== 'x64') throw new HaulierError('CRASH_DUMP_UNSUPPORTED', { reason: `no core files are made on ${process.arch}` });
  if (!(await store.running(id))) throw new HaulierError('INSTANCE_NOT_RUNNING', { instance: id });
  if (state.phase !== 'ready') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase, action: 'dump' });

  beginStep(operation, 'container.crashdump.record');
  await store.update(id, { phase: 'dumping' });
  const images = checkpointPaths(store.paths(id));
  let frozenMs: number;
  try {
    frozenMs = await takeImages(parts, spec, state.wanted === 'paused', operation);
  } catch (error) {
    await goOn(parts, spec, patienceAfter(error));
    throw isHaulierError(error, 'SUSPEND_FAILED') ? new HaulierError('CRASH_DUMP_FAILED', { reason: String(error.details['reason']) }, { cause: error }) : error;
  }
  try {
    await letGo(parts, spec);
    cleanupStep(operation, 'container.crashdump.thawed');
    return await keepCores(parts, spec, join(path, id), frozenMs, operation);
  } finally {
    await removeCheckpoint(images);
  }
}

/** @returns for how long it stood still, milliseconds */
async function takeImages(parts: HostParts, spec: ContainerSpec, paused: boolean, operation: Operation): Promise<number> {
  const { id } = spec;
  const { path = '' } = parts.options.crashDumps;
  const images = checkpointPaths(parts.store.paths(id));
  beginStep(operation, 'container.crashdump.prepare');
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
  await makeCheckpointFolders(images);
  await requireSpace(parts, id, images.folder);
  await requireSpace(parts, id, path);
  beginStep(operation, 'container.crashdump.freeze');
  const began = performance.now();
  if (!paused) await freeze(parts, id, operation.signal);
  beginStep(operation, 'container.crashdump.dump');
  await chooseNetworkLock(parts, id, false);
  await criuDump(parts, id, images, operation.signal);
  beginStep(operation, 'container.crashdump.dumped');
  return performance.now() - began;
}

/** Core files out of the images, whole or not there. */
async function keepCores(parts: HostParts, spec: ContainerSpec, folder: string, frozenMs: number, operation: Operation): Promise<string> {
  const { images } = checkpointPaths(parts.store.paths(spec.id));
  const at = new Date().toISOString();
  const name = at.replaceAll(':', '');
  const temporary = join(folder, `${temporaryPrefix}${name}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    for (const left of await readdir(folder)) if (left.startsWith(temporaryPrefix)) await rm(join(folder, left), { recursive: true, force: true });
    await mkdir(temporary, { mode: 0o700 });
    const processes = await readProcesses(images);
    const cores = [];
    for (const process of processes) {
      operation.throwIfAborted();
      const comm = process.threads[0]?.comm ?? '';
      const core = `core.${process.pid}.${comm.replace(/[^\w.+-]/g, '_')}`;
      await writeCore(images, process, join(temporary, core));
      cores.push({ pid: process.pid, ppid: process.ppid, uid: process.uid, gid: process.gid, name: comm, threads: process.threads.length, core });
    }
    await writeJsonAtomic(join(temporary, 'dump.json'), { version: 1, at, instance: spec.id, name: spec.name, hostname: spec.hostname, frozenMs: Math.round(frozenMs), processes: cores });
    cleanupStep(operation, 'container.crashdump.written');
    const kept = join(folder, name);
    await rename(temporary, kept);
    await syncDirectory(folder);
    operation.log.info({ folder: kept, processes: cores.length, frozenMs: Math.round(frozenMs) }, 'crash dump made');
    cleanupStep(operation, 'container.crashdump.kept');
    await rotate(parts.options.crashDumps, kept);
    return kept;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const told = asDiskFull(error, folder);
    throw isHaulierError(told) || operation.signal.aborted ? told : new HaulierError('CRASH_DUMP_FAILED', { reason: `criu's images: ${messageOf(error)}` }, { cause: error });
  }
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Removes what is too old or too much; never `newest`. */
async function rotate({ path = '', keep, maxBytes }: CrashDumpOptions, newest: string): Promise<void> {
  const dumps: { readonly folder: string; readonly name: string; readonly bytes: number }[] = [];
  for (const instance of (await readdir(path)).filter((name) => uuid.test(name))) { // the operator may keep other things there
    const names = (await readdir(join(path, instance))).filter((name) => /^\d{4}-/.test(name)).sort().reverse();
    for (const [place, name] of names.entries()) {
      const folder = join(path, instance, name);
      if (place >= keep && folder !== newest) await rm(folder, { recursive: true, force: true });
      else dumps.push({ folder, name, bytes: await diskBytes(folder) });
    }
  }
  let left = maxBytes;
  for (const { folder, bytes } of dumps.sort((a, b) => (a.name < b.name ? 1 : -1))) {
    left -= bytes;
    if (left < 0 && folder !== newest) await rm(folder, { recursive: true, force: true });
  }
}

/** What a folder's files take on the disk; cores have holes. */
async function diskBytes(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map((name) => stat(join(folder, name)).then(({ blocks }) => blocks * 512)));
  return sizes.reduce((sum, size) => sum + size, 0);
}

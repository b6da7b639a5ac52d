/** Containers whose directory comes from, or goes to, another host: by the haul, or because instances_path is shared. */
import { randomBytes } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { removeRuntime, unmountBelow } from '../cleanup.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec } from '../spec.js';
import { rootFsPaths } from '../storage/root-fs.js';
import { growDisk } from './copy.js';

const markName = /^tmp[0-9a-zA-Z_]{4,32}$/;

/** See `ContainerMoves.adopt`. The ids on the disk are those of no host, so the range may be another one. */
export async function adoptContainer(parts: HostParts, spec: ContainerSpec, operation: Operation): Promise<void> {
  const { store, storage } = parts;
  const state = await store.readState(spec.id);
  if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: spec.id });
  if (await store.running(spec.id)) throw new HaulierError('INSTANCE_STATE', { instance: spec.id, state: 'running', action: 'take over' });
  await storage.unmount(spec.id);
  await growDisk(rootFsPaths(store.paths(spec.id).folder).disk, spec.id, spec.limits.rootGiB, operation.signal);
  await store.writeSpec(spec);
  await store.writeState(spec.id, { ...state, phase: 'ready', wanted: 'stopped', suspendedFor: undefined, exit: undefined, idBase: await storage.allocateIds(spec.id) });
}

/** See `ContainerMoves.abandon`. */
export async function abandonContainer(parts: HostParts, id: string, operation: Operation): Promise<void> {
  const { store, storage } = parts;
  const paths = store.paths(id);
  operation.step('move.abandon');
  const spec = await store.readSpec(id).catch(() => undefined);
  await removeRuntime(parts, id, { inFlight: true });
  await parts.plugger.unplugAll(id, spec?.vifs ?? []);
  await storage.endSnapshot(id);
  await storage.unmount(id);
  await unmountBelow(paths.folder);
  await storage.releaseIds(id);
  await rm(paths.run, { recursive: true, force: true });
  await rm(join(parts.exitFolder, id), { force: true });
}

/** See `ContainerMoves.mark`. */
export async function markFolder(parts: HostParts, id: string): Promise<string | undefined> {
  if (!(await parts.store.exists(id))) return undefined;
  const path = join(parts.store.paths(id).folder, `tmp${randomBytes(6).toString('hex')}`);
  await writeFile(path, '', { flag: 'wx' });
  return path;
}

/** The path of a mark here; undefined for a path that is none: it came from another host. */
function markPath(parts: HostParts, mark: string): string | undefined {
  const name = basename(mark);
  try {
    return markName.test(name) ? join(parts.store.paths(basename(dirname(mark))).folder, name) : undefined;
  } catch {
    return undefined;
  }
}

/** See `ContainerMoves.sees`. */
export async function seesMark(parts: HostParts, mark: string): Promise<boolean> {
  const path = markPath(parts, mark);
  return path !== undefined && (await stat(path).then(() => true, () => false));
}

/** See `ContainerMoves.unmark`. */
export async function removeMark(parts: HostParts, mark: string): Promise<void> {
  const path = markPath(parts, mark);
  if (path !== undefined) await rm(path, { force: true });
}

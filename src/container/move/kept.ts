/** Containers set aside: `<uuid>_resize` beside the running one's `<uuid>`, `<uuid>_new` while a copy is being made. */
import { existsSync } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, syncDirectory } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import { destroyContainer } from '../destroy.js';
import { keptFolder, keptSuffix } from '../kept-folder.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec, LimitSpec } from '../spec.js';
import { isAnothers, type InstanceState } from '../state.js';
import { copyContainer } from './copy.js';

const newSuffix = '_new';
const keptName = /^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_resize$/;

/** Fault points of a move on this host, in order. */
export const moveFaultPoints = ['move.copied', 'move.kept', 'move.renamed', 'move.dropped', 'move.restored'] as const;

async function removeFolder(path: string): Promise<void> {
  if (!existsSync(path)) return;
  await run('rm', ['-rf', '--one-file-system', '--', path], { timeoutMs: 600_000 });
}

/** Stopped, whole and not mounted. @throws INSTANCE_NOT_FOUND, INSTANCE_STATE */
async function settle(parts: HostParts, id: string, action: string): Promise<ContainerSpec> {
  const [state, spec] = await Promise.all([parts.store.readState(id), parts.store.readSpec(id)]);
  if (!state || !spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (spec.rescue) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'rescued', action }); // what it rescues is what is set aside
  const running = (await parts.store.running(id)) !== undefined;
  if (running || state.phase !== 'ready' || state.wanted !== 'stopped') throw new HaulierError('INSTANCE_STATE', { instance: id, state: running ? 'running' : state.phase === 'ready' ? state.wanted : state.phase, action });
  await parts.storage.endSnapshot(id);
  await parts.storage.unmount(id);
  return spec;
}

/** See `ContainerMoves.resize`. Two renames switch over; between them the old one is found aside, and `restoreKept` brings it back. */
export async function resizeContainer(parts: HostParts, id: string, limits: LimitSpec, operation: Operation): Promise<void> {
  const spec = await settle(parts, id, 'resize');
  const { folder } = parts.store.paths(id);
  operation.step('move.copy');
  await dropKept(parts, id);
  try {
    await copyContainer(folder, folder + newSuffix, { ...spec, limits }, operation.signal);
    faultPoint('move.copied');
  } catch (error) {
    await removeFolder(folder + newSuffix);
    throw error;
  }
  operation.undo('bring back the container that was set aside', async () => { await restoreKept(parts, id, operation); });
  await rename(folder, folder + keptSuffix);
  faultPoint('move.kept');
  await rename(folder + newSuffix, folder);
  await syncDirectory(parts.store.instancesPath);
  faultPoint('move.renamed');
}

/** See `ContainerMoves.keep`. */
export async function keepContainer(parts: HostParts, id: string, operation: Operation): Promise<void> {
  await settle(parts, id, 'set aside');
  await dropKept(parts, id);
  operation.undo('bring back the container that was set aside', async () => { await restoreKept(parts, id, operation); });
  await rename(parts.store.paths(id).folder, keptFolder(parts, id));
  await syncDirectory(parts.store.instancesPath);
  await parts.storage.releaseIds(id);
  await rm(parts.store.paths(id).run, { recursive: true, force: true });
  await rm(join(parts.exitFolder, id), { force: true });
  faultPoint('move.kept');
}

/** See `ContainerMoves.restore`. */
export async function restoreKept(parts: HostParts, id: string, operation: Operation): Promise<boolean> {
  const { folder } = parts.store.paths(id);
  await removeFolder(folder + newSuffix);
  if (!(await keptIds(parts)).includes(id)) return false;
  await destroyContainer(parts, id, operation);
  await rename(folder + keptSuffix, folder);
  await syncDirectory(parts.store.instancesPath);
  faultPoint('move.restored');
  await parts.store.update(id, { idBase: await parts.storage.allocateIds(id) });
  return true;
}

/** See `ContainerMoves.drop`. */
export async function dropKept(parts: HostParts, id: string): Promise<void> {
  const { folder } = parts.store.paths(id);
  await removeFolder(folder + newSuffix);
  await removeFolder(folder + keptSuffix);
  faultPoint('move.dropped');
}

/** See `ContainerMoves.kept`. */
export async function keptIds(parts: HostParts): Promise<string[]> {
  const entries = await readdir(parts.store.instancesPath, { withFileTypes: true }).catch(() => []);
  const ids = entries.flatMap((entry) => (entry.isDirectory() ? keptName.exec(entry.name)?.[1] ?? [] : []));
  const states = await Promise.all(ids.map((id) => readJson(join(keptFolder(parts, id), 'state.json')).catch(() => undefined)));
  return ids.filter((_, index) => !isAnothers(states[index] as InstanceState | undefined, parts.store.host));
}

/** See `ContainerMoves.keptSpec`. */
export async function keptSpec(parts: HostParts, id: string): Promise<ContainerSpec | undefined> {
  return (await readJson(`${keptFolder(parts, id)}/spec.json`)) as ContainerSpec | undefined;
}

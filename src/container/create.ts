/** Makes a container without starting it. */
import { mkdir } from 'node:fs/promises';
import { HaulierError } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import { together } from '../base/together.js';
import { hasCloudInit } from './boot-data/boot-data.js';
import { keepConfigDrive } from './boot-data/config-drive.js';
import { checkpointPaths } from './checkpoint/images.js';
import { destroyContainer } from './destroy.js';
import { readHostFacts } from './checkpoint/facts.js';
import { giveMemory } from './memory-image/clone.js';
import { requireFit, requireMemory } from './memory-image/manifest.js';
import { checkVif } from './network/plug.js';
import type { HostParts } from './parts.js';
import type { ContainerSpec, ImagesFound } from './spec.js';
import { beginStep } from './steps.js';

/**
 * Whether a container of this spec could be made here, with its images as they are in the cache. Changes nothing. Of a snapshot with memory a
 * container that rescues has only the disk: that memory knows nothing of what is to be rescued, and need not fit.
 * @throws what `createContainer` throws of spec and images: VIF_PLUG_FAILED, IMAGE_NOT_FOUND, STATE_DAMAGED, TEMPLATE_UNACCEPTABLE,
 * MEMORY_IMAGE_REFUSED, MEMORY_IMAGE_MISFIT, IMAGE_TOO_LARGE
 * @returns what of the images matters before it is made
 */
export async function checkContainer(parts: HostParts, spec: ContainerSpec): Promise<ImagesFound> {
  spec.vifs.forEach(checkVif);
  const { trees, memory } = await parts.storage.check(spec.imageId, spec.templates ?? []);
  const found: ImagesFound = { cloudInit: (await Promise.all(trees.map(hasCloudInit))).includes(true) };
  if (!memory || spec.rescue) return found;
  if (spec.templates?.[0] !== undefined) throw new HaulierError('TEMPLATE_UNACCEPTABLE', { template: spec.templates[0], reason: 'the image is a snapshot with memory, whose processes count on its files as they are' });
  requireMemory(memory.manifest, spec.limits);
  requireFit(memory.manifest, await readHostFacts(parts.options));
  return found;
}

/**
 * Directory, id range, disk, spec; from a snapshot with memory its checkpoint, which its first start resumes. The operation's rollback
 * destroys it.
 * @throws INSTANCE_STATE if it is there already; what `checkContainer` throws
 */
export async function createContainer(parts: HostParts, spec: ContainerSpec, operation: Operation): Promise<void> {
  const { store, storage } = parts;
  await checkContainer(parts, spec);
  const before = await store.readState(spec.id).catch(() => undefined);
  if (before?.phase === 'ready' || before?.phase === 'starting') throw new HaulierError('INSTANCE_STATE', { instance: spec.id, state: before.phase, action: 'create' });
  if (await store.exists(spec.id)) await destroyContainer(parts, spec.id, operation); // the rest of an earlier try
  operation.undo(`create container ${spec.id}`, () => destroyContainer(parts, spec.id, operation));

  beginStep(operation, 'container.create.directory');
  await mkdir(parts.options.instancesPath, { recursive: true, mode: 0o755 });
  const idBase = await storage.allocateIds(spec.id);
  await store.makeFolders(spec.id);
  beginStep(operation, 'container.create.state');
  const state = { version: 1, idBase, wanted: 'stopped', startedAt: undefined, exit: undefined, guestFiles: false } as const;
  await together(store.writeState(spec.id, { ...state, phase: 'creating' }), store.writeSpec(spec));

  beginStep(operation, 'container.create.disk');
  await storage.prepare(spec.id, { imageId: spec.imageId, templates: spec.templates ?? [], rootGiB: spec.limits.rootGiB }, operation);
  const memory = spec.rescue ? undefined : await storage.memory(spec.id);
  if (memory) {
    beginStep(operation, 'container.create.memory');
    await giveMemory(checkpointPaths(store.paths(spec.id)), memory);
    if (memory.manifest.configDrive === true) await keepConfigDrive(store.paths(spec.id), new Map());
  }
  beginStep(operation, 'container.create.record');
  await store.writeState(spec.id, { ...state, phase: 'ready', ...(memory ? { wanted: 'suspended', suspendedFor: 'boot' } : {}) });
  beginStep(operation, 'container.create.done');
}

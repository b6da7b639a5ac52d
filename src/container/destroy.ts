/** Removes every trace of a container, whatever is left of it. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import { checkpointPaths, removeCheckpoint } from './checkpoint/images.js';
import { removeRuntime, unmountBelow } from './cleanup.js';
import type { HostParts } from './parts.js';
import type { VifSpec } from './spec.js';
import { cleanupStep } from './steps.js';

/**
 * Idempotent. Its directory goes last, so that a destroy that was cut short is found and can be done again.
 * @param ports to unplug beside its own
 * Goes on although the operation was given up: a half-destroyed container is of no use to anybody.
 */
export async function destroyContainer(parts: HostParts, id: string, operation: Operation, ports: readonly VifSpec[] = []): Promise<void> {
  const { store, storage } = parts;
  const paths = store.paths(id);
  cleanupStep(operation, 'container.destroy.record');
  // one whose last change was completed has nothing under way: not every process of the host needs to be looked at
  const inFlight = (await store.readState(id).catch(() => undefined))?.phase !== 'ready';
  await store.update(id, { phase: 'removing', wanted: 'stopped' }).catch((error: unknown) => operation.log.warn({ err: error }, messageOf(error)));
  const spec = await store.readSpec(id).catch((error: unknown) => {
    operation.log.warn({ err: error }, messageOf(error));
    return undefined;
  });

  cleanupStep(operation, 'container.destroy.runtime');
  await removeRuntime(parts, id, { inFlight });
  cleanupStep(operation, 'container.destroy.unplug');
  await parts.plugger.unplugAll(id, [...ports, ...(spec?.vifs ?? [])]);
  cleanupStep(operation, 'container.destroy.unmount');
  await storage.endSnapshot(id);
  await storage.unmount(id);
  await removeCheckpoint(checkpointPaths(paths));
  await unmountBelow(paths.folder);
  cleanupStep(operation, 'container.destroy.disk');
  await storage.remove(id);
  cleanupStep(operation, 'container.destroy.ids');
  await storage.releaseIds(id);
  cleanupStep(operation, 'container.destroy.directory');
  await rm(paths.run, { recursive: true, force: true });
  await rm(join(parts.exitFolder, id), { force: true });
  await rm(paths.folder, { recursive: true, force: true });
  cleanupStep(operation, 'container.destroy.done');
}

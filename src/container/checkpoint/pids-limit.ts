/**
 * A restore needs more processes than the container has: criu's own, and one for each session or group whose leader has ended. They count
 * as the container's. One that stands at its limit could not be restored, so the limit is held only from the end of the restore on.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.js';
import { controllerFolder } from '../cgroup.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import type { ContainerSpec } from '../spec.js';

/** criu, its helpers, and the runtime's. */
const ownProcesses = 64;

/** The spec with the limit for a restore. */
export function withRoomForCriu(spec: ContainerSpec): ContainerSpec {
  return { ...spec, limits: { ...spec.limits, pids: 2 * spec.limits.pids + ownProcesses } };
}

/** Its own limit again; what is there already stays. Idempotent. Never throws: it goes on in any case. */
export async function holdPids(parts: HostParts, id: string): Promise<void> {
  try {
    const spec = await parts.store.readSpec(id);
    const folder = controllerFolder(parts.cgroups, 'pids', cgroupsPath(parts, id));
    if (spec && folder !== undefined) await writeFile(join(folder, 'pids.max'), String(spec.limits.pids));
  } catch (error) {
    parts.log.error({ err: error, instance: id }, `the processes of ${id} are not held to its limit: ${messageOf(error)}`);
  }
}

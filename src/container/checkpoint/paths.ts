/** Where a container's checkpoint lies; what is in it: images.ts. */
import { join } from 'node:path';
import type { InstancePaths } from '../state.js';

/** Paths of a container's checkpoint. */
export interface CheckpointPaths {
  readonly folder: string;
  readonly images: string;
  readonly work: string;
  readonly meta: string;
  readonly dumpLog: string;
  readonly restoreLog: string;
}

/** Makes them of the container's own. */
export function checkpointPaths(paths: Pick<InstancePaths, 'folder'>): CheckpointPaths {
  const folder = join(paths.folder, 'checkpoint');
  const work = join(folder, 'work');
  return { folder, images: join(folder, 'images'), work, meta: join(folder, 'meta.json'), dumpLog: join(work, 'dump.log'), restoreLog: join(work, 'restore.log') };
}

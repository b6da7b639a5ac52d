/**
 * Watched folders whose names the kernel has dropped. Overlayfs gives a handle for a folder of the lower layers only while its name is in
 * the cache of names (`ovl_check_encode_origin` in fs/overlayfs/export.c), and a guest that is short of memory loses names: fdinfo tells
 * no handle then, and criu fails ("error parsing [inotify"). To look at the folder again brings the name back.
 */
import { statSync } from 'node:fs';
import { run } from '../../base/run.js';
import type { Watch } from './dead-watch.js';

const walkTimeoutMs = 60_000;

/** True if one of the watches, of processes that stand still, is of such a folder. @param rootfs their root file system */
export function someNameless(watches: readonly Watch[], rootfs: string): boolean {
  const device = statSync(rootfs, { throwIfNoEntry: false })?.dev;
  return watches.some((watch) => watch.device === device && !watch.hasHandle);
}

/** Looks at every folder of the tree. @throws COMMAND_FAILED, the signal's reason */
export async function recallNames(rootfs: string, signal?: AbortSignal): Promise<void> {
  await run('find', [rootfs, '-xdev', '-type', 'd', '-printf', ''], { timeoutMs: walkTimeoutMs, okCodes: [0, 1], signal });
}

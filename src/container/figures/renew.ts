/**
 * When lxcfs has ended, its files are dead in the containers that have them: every read fails. They are taken away, and those of the
 * lxcfs that runs now put in their place, at once or when there is one; until then the kernel's files, with the host's figures, are seen again.
 */
import { join } from 'node:path';
import { messageOf } from '../../base/errors.js';
import { packageRoot } from '../../base/package-root.js';
import { run } from '../../base/run.js';
import type { HostParts } from '../parts.js';
import { readMounts } from '../verdict/mounts.js';
import { figureFiles, findLxcfs, lxcfsType, type Lxcfs } from './lxcfs.js';

const script = join(packageRoot, 'src/container/figures/renew.pl');
const timeoutMs = 20_000;

type Parts = Pick<HostParts, 'options' | 'store' | 'log'>;

/** What may lie there of ours: a file of lxcfs, or the host's own in its place. What the guest has put there stays. */
const ours = new Set([lxcfsType, 'proc', 'sysfs']);

/** Files of a container that this lxcfs shall serve, and does not; without one, those of the one that has ended. */
function stale(pid: number, lxcfs: Lxcfs | undefined): string[] {
  const mounts = readMounts(pid);
  if (mounts.length === 0) return []; // it is ending
  return figureFiles.filter((file) => {
    const mount = mounts.findLast(({ point }) => point === file);
    return lxcfs ? mount?.device !== lxcfs.device && (mount === undefined || ours.has(mount.type)) : mount?.type === lxcfsType;
  });
}

/** For one container. Idempotent; never throws. @param lxcfs what runs; undefined: nothing that answers */
export async function renewFigures(parts: Parts, id: string, lxcfs: Lxcfs | undefined): Promise<void> {
  const first = await parts.store.running(id);
  const files = first === undefined ? [] : stale(first.pid, lxcfs);
  if (first === undefined || files.length === 0) return;
  try {
    await run('perl', [script, String(first.pid), String(first.startTicks), lxcfs?.path ?? '', ...files], { timeoutMs });
    parts.log.warn({ instance: id }, lxcfs ? 'the container has its own figures again, of the lxcfs that runs now' : 'no lxcfs answers: the container sees the figures of the host');
  } catch (error) {
    parts.log.error({ err: error, instance: id }, `cannot renew its files of lxcfs: ${messageOf(error)}`);
  }
}

/** For all of this host. @param inTurn does the work for one container when nothing else changes it, or not at all */
export async function renewAllFigures(parts: Parts, inTurn: (id: string, work: () => Promise<void>) => Promise<void>): Promise<void> {
  const ids: string[] = [];
  for (const id of await parts.store.ids()) if ((await parts.store.readSpec(id).catch(() => undefined))?.figures) ids.push(id);
  if (ids.length === 0) return;
  const found = await findLxcfs(parts.options);
  for (const id of ids) await inTurn(id, () => renewFigures(parts, id, typeof found === 'string' ? undefined : found));
}

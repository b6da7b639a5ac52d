/**
 * When lxcfs has ended, its files are dead in the containers that have them: every read fails. They are taken away, and those of the
 * lxcfs that runs now put in their place; while none runs the kernel's files, with the host's figures, are seen again.
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

/** Files of a container that another lxcfs than this one serves. */
function dead(pid: number, lxcfs: Lxcfs | undefined): string[] {
  return readMounts(pid).filter(({ type, device, point }) => type === lxcfsType && device !== lxcfs?.device && figureFiles.includes(point)).map(({ point }) => point);
}

/** For one container. Idempotent; never throws. @param lxcfs what runs; undefined: nothing that answers */
export async function renewFigures(parts: Parts, id: string, lxcfs: Lxcfs | undefined): Promise<void> {
  const pid = (await parts.store.running(id))?.pid;
  const files = pid === undefined ? [] : dead(pid, lxcfs);
  if (files.length === 0) return;
  try {
    await run('perl', [script, String(pid), lxcfs?.path ?? '', ...files], { timeoutMs });
    parts.log.warn({ instance: id }, lxcfs ? 'lxcfs was started anew: the container has its figures again' : 'lxcfs has ended: the container sees the figures of the host');
  } catch (error) {
    parts.log.error({ err: error, instance: id }, `cannot renew its files of lxcfs: ${messageOf(error)}`);
  }
}

/** For all of this host. */
export async function renewAllFigures(parts: Parts): Promise<void> {
  const ids: string[] = [];
  for (const id of await parts.store.ids()) if ((await parts.store.readSpec(id).catch(() => undefined))?.figures) ids.push(id);
  if (ids.length === 0) return;
  const found = await findLxcfs(parts.options);
  for (const id of ids) await renewFigures(parts, id, typeof found === 'string' ? undefined : found);
}

/**
 * PID 1 of an application: Debian's catatonit, a static program that starts the application, forwards signals to it, reaps what it
 * leaves behind, and ends with its exit code. It is bound read-only into the container.
 *
 * Each container has a name of its own for the very file that it was started with (a hard link where that is possible): an upgrade of
 * the package does not pull it away from under a running one, and criu finds the same file again.
 */
import { copyFile, link, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import { findCommand } from '../../base/run.js';

/** The program, and its Debian package. */
export const initProgram = 'catatonit';

/** Where the container sees the folder. Below a tmpfs of its own, so that nothing of it lands on its disk. */
export const initMountPoint = '/run/haulier';
export const initPath = `${initMountPoint}/${initProgram}`;

/** Shared by the containers of a host, below instances_path. */
const sharedFolder = '_init';

/**
 * Makes sure of the program in the folder of a container.
 * @param keep as it is, if it is there: for one whose processes have it open
 * @throws RUNTIME_FAILED if this host has none
 */
export async function placeInit(instancesPath: string, folder: string, keep: boolean): Promise<void> {
  const own = join(folder, initProgram);
  if (keep && await stat(own).then(() => true, () => false)) return;
  const program = findCommand(initProgram);
  const info = await stat(program).catch(() => undefined);
  if (!info?.isFile()) throw new HaulierError('RUNTIME_FAILED', { action: 'start an application', reason: `this host has no ${initProgram} (Debian package ${initProgram}), which is its PID 1` });
  const shared = join(instancesPath, sharedFolder, `${initProgram}-${info.size}-${Math.floor(info.mtimeMs)}`);
  await mkdir(join(instancesPath, sharedFolder), { recursive: true, mode: 0o755 });
  await mkdir(folder, { recursive: true, mode: 0o755 });
  // by size, too: a crash of the host may have left an empty one of before
  if (await stat(shared).then(({ size }) => size, () => -1) !== info.size) await writeAtomic(shared, await readFile(program), 0o755);
  await rm(own, { force: true });
  await link(shared, own).catch(() => copyFile(shared, own));
}

/**
 * A server's config drive. A container has no block device with the label `config-2`; cloud-init takes a folder `/config-drive` as well
 * (DataSourceConfigDrive.py, ds-identify), so that is where it is bound, read-only. In the container's folder:
 *
 *     config-drive.json   its files, root's alone; goes along wherever the container goes
 *     config-drive/       the same as files of the guest's root, made where it is started or restored
 *
 * The first is there if and only if the container has the mount: criu wants at a restore what was there at the dump.
 */
import { existsSync } from 'node:fs';
import { lchown, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readJson, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import type { InstancePaths } from '../state.js';

/** Files by their path on the drive, as `openstack/latest/meta_data.json`. */
export type DriveFiles = ReadonlyMap<string, Buffer>;

/** Where the guest sees it. */
export const driveMountPoint = '/config-drive';

/** Name of the kept file in a container's folder. */
export const driveFile = 'config-drive.json';

const safe = /^[\w.-]+(\/[\w.-]+)*$/;

function checkPath(path: string): void {
  if (!safe.test(path) || path.split('/').some((part) => /^\.+$/.test(part))) throw new HaulierError('STATE_DAMAGED', { path: driveFile, reason: `${JSON.stringify(path)} is no path on a config drive` });
}

type DrivePaths = Pick<InstancePaths, 'configDrive' | 'configDriveFolder'>;

/** Keeps a drive's files, in the place of the ones before. */
export async function keepConfigDrive({ configDrive, configDriveFolder }: DrivePaths, files: DriveFiles): Promise<void> {
  for (const path of files.keys()) checkPath(path);
  await rm(configDriveFolder, { recursive: true, force: true });
  await writeJsonAtomic(configDrive, Object.fromEntries([...files].map(([path, content]) => [path, content.toString('base64')])));
}

/** True if the container has a config drive. */
export function keptConfigDrive({ configDrive }: Pick<DrivePaths, 'configDrive'>): boolean {
  return existsSync(configDrive);
}

/**
 * Makes the folder to be bound, the guest's root's, closed to all others: a password may be in it.
 * @returns undefined if the container has no drive
 * @throws STATE_DAMAGED
 */
export async function showConfigDrive({ configDrive, configDriveFolder }: DrivePaths, idBase: number): Promise<string | undefined> {
  const kept = await readJson(configDrive);
  if (kept === undefined) return undefined;
  if (typeof kept !== 'object' || kept === null) throw new HaulierError('STATE_DAMAGED', { path: configDrive, reason: 'not the files of a config drive' });
  if ((await stat(configDriveFolder).catch(() => undefined))?.uid === idBase) return configDriveFolder; // made here before; from another host it would be another range's
  const fresh = `${configDriveFolder}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { mode: 0o700 });
  const folders = new Set<string>();
  for (const [path, content] of Object.entries(kept as Record<string, unknown>)) {
    checkPath(path);
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(folder);
    await mkdir(join(fresh, dirname(path)), { recursive: true, mode: 0o700 });
    await writeFile(join(fresh, path), Buffer.from(String(content), 'base64'), { mode: 0o400 });
    await lchown(join(fresh, path), idBase, idBase);
  }
  for (const folder of folders) await lchown(join(fresh, folder), idBase, idBase);
  await lchown(fresh, idBase, idBase);
  await rm(configDriveFolder, { recursive: true, force: true });
  await rename(fresh, configDriveFolder);
  return configDriveFolder;
}

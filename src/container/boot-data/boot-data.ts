/**
 * What a new server is to know beside its name and addresses. `compute/` collects it; here it gets into the container, once, before the
 * first start. An image with cloud-init gets the config drive and its password, and does the rest by itself (docs/boot-data.md).
 */
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { resolveInside } from '../guest-tree.js';
import type { HostParts } from '../parts.js';
import { addKeys } from './authorized-keys.js';
import { keepConfigDrive, keptConfigDrive, type DriveFiles } from './config-drive.js';
import { writeInjected, type InjectedFile } from './injected-files.js';
import { setPassword } from './password.js';
import { isScript, placeScript } from './user-script.js';

/** See above. */
export interface BootData {
  /** Files of the config drive; undefined: it gets none. */
  readonly configDrive: DriveFiles | undefined;
  /** Account that keys and password are for. */
  readonly adminUser: string;
  readonly adminPassword: string | undefined;
  /** As lines of authorized_keys. */
  readonly publicKeys: readonly string[];
  /** Decoded. */
  readonly userData: Buffer | undefined;
  readonly files: readonly InjectedFile[];
}

const places = ['/usr/bin/cloud-init', '/usr/local/bin/cloud-init', '/bin/cloud-init'];

/** True if the tree has cloud-init. */
export async function hasCloudInit(rootfs: string): Promise<boolean> {
  for (const place of places) if (await resolveInside(rootfs, place)) return true;
  return false;
}

/**
 * Gives a container that has not been started yet its boot data. One that resumes from a memory has booted long ago: only what is on its
 * config drive changes, if the one that was frozen had a drive. What the tree has no place for is told in the log, and is no failure.
 * @throws INSTANCE_NOT_FOUND, DISK_FULL
 */
export async function giveBootData(parts: HostParts, id: string, data: BootData, operation: Operation): Promise<void> {
  const state = await parts.store.readState(id);
  if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  const { log } = operation;
  operation.step('container.boot-data');
  const paths = parts.store.paths(id);
  if (state.wanted === 'suspended') {
    if (data.configDrive && keptConfigDrive(paths)) await keepConfigDrive(paths, data.configDrive);
    return;
  }
  if (data.configDrive) await keepConfigDrive(paths, data.configDrive);
  const { adminUser, adminPassword, publicKeys, userData, files } = data;
  if (adminPassword === undefined && publicKeys.length === 0 && userData === undefined && files.length === 0) return;
  const rootfs = await parts.storage.mount(id, state.idBase);
  const left = await hasCloudInit(rootfs);
  const tree = { rootfs, idBase: state.idBase };
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ...(adminPassword === undefined ? [] : [[`set the password of ${adminUser}`, () => setPassword(tree, adminUser, adminPassword)] as const]),
    ...files.map((file) => [`write ${file.path}`, () => writeInjected(tree, file)] as const),
    ...(left || publicKeys.length === 0 ? [] : [[`give ${adminUser} its keys`, () => addKeys(tree, adminUser, publicKeys)] as const]),
    ...(left || userData === undefined || !isScript(userData) ? [] : [['place the user data script', () => placeScript(tree, userData)] as const]),
  ];
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw new HaulierError('DISK_FULL', { path: rootfs, reason: messageOf(error) }, { cause: error });
      log.warn({ err: error, instance: id }, `cannot ${what}: ${messageOf(error)}`);
    }
  }
  if (!left && userData !== undefined && !isScript(userData)) log.warn({ instance: id }, 'its user data is no script, and its image has no cloud-init to read it');
}

/** From an image's configuration to the first process of a container. */
import { posix } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { makeFolderInside, resolveInside } from '../guest-tree.js';
import type { HostParts } from '../parts.js';
import { isOwnInit, type ApplicationConfig } from './config.js';
import { initPath } from './init.js';
import { findUser } from './user.js';

/** What an application's first process is. */
export interface ApplicationProcess {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly cwd: string;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What a container runs besides or instead of an init system; undefined: its image's /sbin/init. @throws IMAGE_NOT_FOUND */
export async function applicationOf(parts: Pick<HostParts, 'storage'>, id: string): Promise<ApplicationConfig | undefined> {
  return (await parts.storage.layers(id))[0].record.application;
}

const environmentOf = ({ env }: ApplicationConfig): Record<string, string> => Object.fromEntries(env.map((entry) => {
  const at = entry.indexOf('=');
  return [entry.slice(0, at), entry.slice(at + 1)];
}));

/**
 * Its first process, looked up in the mounted tree.
 * @param strict false for one that is restored: what it is was decided at its start
 * @throws IMAGE_UNACCEPTABLE if its user or its program is not there
 */
export async function applicationProcess(image: string, config: ApplicationConfig, rootfs: string, idBase: number, strict: boolean): Promise<ApplicationProcess> {
  const refuse = (error: unknown): HaulierError => new HaulierError('IMAGE_UNACCEPTABLE', { image, reason: (error as Error).message }, { cause: error });
  const user = await findUser(rootfs, config.user).catch((error: unknown) => {
    if (strict) throw refuse(error);
    return { uid: 0, gid: 0, additionalGids: [], home: '/' };
  });
  const env = { PATH: defaultPath, HOME: user.home, ...environmentOf(config) };
  if (strict) {
    await requireProgram(config, rootfs, env.PATH).catch((error: unknown) => { throw refuse(error); });
    // Docker makes it, as root's
    await makeFolderInside(rootfs, config.cwd.split('/').filter((name) => name !== '' && name !== '.'), { uid: idBase, gid: idBase }).catch(() => undefined); // through a link: the runtime says so if it is not there
  }
  const { uid, gid, additionalGids } = user;
  return { args: isOwnInit(config) ? config.args : [initPath, '--', ...config.args], env, uid, gid, additionalGids, cwd: config.cwd };
}

async function requireProgram({ args, cwd }: ApplicationConfig, rootfs: string, path: string): Promise<void> {
  const program = args[0] ?? '';
  const places = program.includes('/') ? [posix.resolve(cwd, program)] : path.split(':').map((folder) => posix.resolve(cwd, folder, program));
  for (const place of places) if (await resolveInside(rootfs, place)) return;
  throw new Error(`its program ${JSON.stringify(program.slice(0, 200))} is not in it`);
}

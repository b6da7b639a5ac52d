/** Files that the user sends along with a boot (`personality` of the API before 2.57). */
import { posix } from 'node:path';
import { makeFolderInside, writeInside } from '../guest-tree.js';
import type { GuestTree } from './guest-accounts.js';

/** One file. */
export interface InjectedFile {
  readonly path: string;
  readonly content: Buffer;
}

/** Writes it as root's, and the folders on the way. @throws ELOOP, ENOTDIR, EISDIR where a link or something else is in the way */
export async function writeInjected({ rootfs, idBase }: GuestTree, { path, content }: InjectedFile): Promise<void> {
  const names = posix.resolve('/', path).split('/').filter(Boolean);
  const name = names.pop();
  if (name === undefined) throw new Error(`${JSON.stringify(path)} is no path of a file`);
  const owner = { uid: idBase, gid: idBase };
  await makeFolderInside(rootfs, names, owner);
  await writeInside(rootfs, names, name, content, owner, 0o600);
}

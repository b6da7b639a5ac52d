/** Accounts of a guest's tree, in which nothing runs yet. */
import { findUser, type GuestUser } from '../application/user.js';
import { resolveInside, openInside } from '../guest-tree.js';

/** No such file of a real system is larger; a guest that runs may put anything there. */
const maxBytes = 1024 * 1024;

/** A container's mounted tree. */
export interface GuestTree {
  readonly rootfs: string;
  /** Host id of its root. */
  readonly idBase: number;
}

/** Names below the tree's root of the folder that `path` leads to, following links inside the tree; undefined if it leads nowhere. */
export async function namesInside({ rootfs }: Pick<GuestTree, 'rootfs'>, path: string): Promise<string[] | undefined> {
  const place = await resolveInside(rootfs, path);
  return place?.slice(rootfs.length).split('/').filter(Boolean);
}

/** @throws Error in plain words if there is no such account, or its home is no folder */
export async function accountOf(tree: GuestTree, name: string): Promise<GuestUser & { readonly homeNames: readonly string[] }> {
  const user = await findUser(tree.rootfs, name);
  const homeNames = await namesInside(tree, user.home);
  if (!homeNames || homeNames.length === 0) throw new Error(`its home ${user.home} is not in the tree`);
  return { ...user, homeNames };
}

/** A text file below the tree, with who owns it; undefined if there is none. @throws as `openInside` */
export async function fileInside({ rootfs }: Pick<GuestTree, 'rootfs'>, names: readonly string[]): Promise<{ readonly text: string; readonly uid: number; readonly gid: number; readonly mode: number } | undefined> {
  const file = await openInside(rootfs, names).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (!file) return undefined;
  try {
    const { uid, gid, mode, size } = await file.stat();
    if (size > maxBytes) throw new Error(`${names.join('/')} has ${size} bytes`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
    return { text: buffer.toString('utf8', 0, bytesRead), uid, gid, mode: mode & 0o777 };
  } finally {
    await file.close();
  }
}

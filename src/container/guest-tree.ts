/**
 * Paths inside a container's tree, which is hostile: a guest may have put a symbolic link anywhere. Nothing here follows a link of
 * the tree on the host. Node has no openat, but `/proc/self/fd/N/name` is resolved from the opened folder, which comes to the same.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { lchown, lstat, mkdir, open, readdir, readlink, rename, unlink, type FileHandle } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { asDiskFull } from '../base/disk-full.js';

const maxLinks = 40;

/**
 * Finds where `path` leads inside the tree `root`, following links as the container itself would.
 * Only good for questions ("is there an init?"): the guest may change the tree at any time.
 * @returns the path on the host, or undefined if it leads nowhere
 */
export async function resolveInside(root: string, path: string): Promise<string | undefined> {
  const left = path.split('/').filter(Boolean);
  let at: string[] = [];
  for (let links = 0; left.length > 0;) {
    const name = left.shift() as string;
    if (name === '.') continue;
    if (name === '..') {
      at = at.slice(0, -1);
      continue;
    }
    const here = join(root, ...at, name);
    const info = await lstat(here).catch(() => undefined);
    if (!info) return undefined;
    if (!info.isSymbolicLink()) {
      at.push(name);
      continue;
    }
    if (++links > maxLinks) return undefined;
    const target = await readlink(here);
    if (posix.isAbsolute(target)) at = [];
    left.unshift(...target.split('/').filter(Boolean));
  }
  return join(root, ...at);
}

/** Opens the folder `names` below `root` step by step. @throws ELOOP or ENOTDIR where a step is a link or no folder */
async function openFolder(root: string, names: readonly string[]): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  let handle = await open(root, flags);
  for (const name of names) {
    const parent = handle;
    try {
      handle = await open(`/proc/self/fd/${parent.fd}/${name}`, flags);
    } finally {
      await parent.close();
    }
  }
  return handle;
}

/**
 * Writes a new file in the folder `folder` (names below `root`), in the place of whatever non-folder was there: who looks there meanwhile
 * finds what was, or all that is written.
 * @throws ELOOP, ENOTDIR, EISDIR, EPERM where the tree has another shape
 */
export async function writeInside(root: string, folder: readonly string[], name: string, text: string | Buffer, owner: { readonly uid: number; readonly gid: number }, mode = 0o644): Promise<void> {
  const parent = await openFolder(root, folder);
  try {
    const fresh = `/proc/self/fd/${parent.fd}/.${name}.${randomBytes(6).toString('hex')}`;
    const file = await open(fresh, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(text);
      await file.chown(owner.uid, owner.gid); // before chmod: it takes set-id bits away
      await file.chmod(mode);
      await rename(fresh, `/proc/self/fd/${parent.fd}/${name}`);
    } catch (error) {
      await unlink(fresh).catch(() => undefined);
      throw error;
    } finally {
      await file.close();
    }
  } finally {
    await parent.close();
  }
}

/** Removes the non-folders in a folder whose names match. A folder that is not there has none. @throws ELOOP, ENOTDIR where the tree has another shape */
export async function removeInside(root: string, folder: readonly string[], names: RegExp): Promise<void> {
  const parent = await openFolder(root, folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (!parent) return;
  try {
    const path = `/proc/self/fd/${parent.fd}`;
    for (const name of await readdir(path)) if (names.test(name)) await unlink(`${path}/${name}`);
  } finally {
    await parent.close();
  }
}

/**
 * Makes sure of a folder that the runtime would make by itself, as the host's root, which the guest and an image of it have no use for.
 * A part of the path that the host's root has made goes to `owner`.
 * @throws ELOOP, ENOTDIR where the tree has another shape; DISK_FULL if it has filled its own disk
 */
export async function makeFolderInside(root: string, names: readonly string[], owner: { readonly uid: number; readonly gid: number }, mode = 0o755): Promise<void> {
  for (let depth = 1; depth <= names.length; depth++) {
    const parent = await openFolder(root, names.slice(0, depth - 1));
    try {
      const path = `/proc/self/fd/${parent.fd}/${names[depth - 1]}`;
      await mkdir(path, { mode: depth === names.length ? mode : 0o755 }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw asDiskFull(error, `the container's own disk (/${names.join('/')})`);
      });
      if ((await lstat(path)).uid === 0) await lchown(path, owner.uid, owner.gid);
    } finally {
      await parent.close();
    }
  }
}

/**
 * Opens the plain file at `names` below `root` for reading; no step on the way and not the file itself may be a link.
 * @throws ELOOP, ENOTDIR, ENOENT where the tree has another shape; an error of its own where it is no plain file
 */
export async function openInside(root: string, names: readonly string[]): Promise<FileHandle> {
  const parent = await openFolder(root, names.slice(0, -1));
  try {
    const file = await open(`/proc/self/fd/${parent.fd}/${names.at(-1) ?? '.'}`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    throw new Error(`${names.join('/')} is no plain file`);
  } finally {
    await parent.close();
  }
}

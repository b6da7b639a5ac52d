/** Files that are either whole or not there: written beside, synced, renamed. */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asDiskFull } from './disk-full.js';
import { HaulierError, messageOf } from './errors.js';

/** Syncs a directory, so that a rename in it survives a power loss. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes `data` to `path`: temporary file, fsync, rename, fsync of the directory. Mode 0600 unless told. @throws DISK_FULL: the file is as before */
export async function writeAtomic(path: string, data: string | Buffer, mode = 0o600): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.chmod(mode); // whatever the umask says
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asDiskFull(error, path);
  }
  await syncDirectory(dirname(path));
}

/** Writes `data` to `path` so that a reader sees all or nothing of it, without waiting for the disk: for what is made anew after a crash. Mode 0600 unless told. @throws DISK_FULL: the file is as before */
export async function replaceFile(path: string, data: string, mode = 0o600): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, data, { mode, flag: 'wx' });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asDiskFull(error, path);
  }
}

/** `writeAtomic` of JSON. */
export async function writeJsonAtomic(path: string, value: unknown, mode?: number): Promise<void> {
  await writeAtomic(path, JSON.stringify(value, undefined, 1) + '\n', mode);
}

/** What the kernel says of a folder, or a loop of links, where a file should be. */
const notFiles = new Set(['EISDIR', 'ENOTDIR', 'ELOOP']);

/**
 * Reads JSON; undefined if the file is not there.
 * @throws STATE_DAMAGED if it is no JSON, or no file
 */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (notFiles.has(code)) throw new HaulierError('STATE_DAMAGED', { path, reason: `it cannot be read as a file (${code})` }, { cause: error });
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HaulierError('STATE_DAMAGED', { path, reason: messageOf(error) });
  }
}

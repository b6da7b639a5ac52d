/** The file system that `instances_path` lies on: what it is, and whether files of it can share their blocks. */
import { randomBytes } from 'node:crypto';
import { realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { listMounts } from './mounts.js';

/** Type of the file system that the existing `path` lies on, as the kernel names it: ext4, xfs, btrfs. */
export async function fileSystemOf(path: string): Promise<string> {
  const real = await realpath(path);
  const above = listMounts().filter((mount) => mount.path === '/' || real === mount.path || real.startsWith(`${mount.path}/`));
  const longest = Math.max(...above.map((mount) => mount.path.length));
  return above.findLast((mount) => mount.path.length === longest)?.type ?? 'unknown';
}

/** Tries in `folder` whether a copy can be a reflink (ioctl_ficlonerange(2)). @returns why not; undefined if it can. Leaves nothing there. */
export async function reflinkProblem(folder: string): Promise<string | undefined> {
  const [file, copy] = ['a', 'b'].map((name) => join(folder, `.reflink-${randomBytes(4).toString('hex')}-${name}`)) as [string, string];
  try {
    await writeFile(file, Buffer.alloc(65_536, 1), { mode: 0o600 });
    await run('cp', ['--reflink=always', '--', file, copy]);
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    await Promise.all([file, copy].map((path) => rm(path, { force: true })));
  }
}

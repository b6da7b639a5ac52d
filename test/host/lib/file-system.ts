/** File systems of several types, each in a file on a loop device, for tests of what must not depend on the type. */
import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, rmdir, statfs } from 'node:fs/promises';
import { run } from '../../../src/base/run.js';

/** Types that `instances_path` is tried on. */
export const fileSystemTypes = ['ext4', 'xfs', 'btrfs'] as const;
export type FileSystemType = (typeof fileSystemTypes)[number];

/** Why there can be none of this type here; undefined if there can. */
export async function fileSystemProblem(type: FileSystemType): Promise<string | undefined> {
  try {
    execFileSync('sh', ['-c', `command -v mkfs.${type}`]);
  } catch {
    return `no mkfs.${type}`;
  }
  if (new RegExp(`^\\t${type}$`, 'm').test(await readFile('/proc/filesystems', 'utf8'))) return undefined;
  return await run('modprobe', ['--quiet', type]).then(() => undefined, () => `this kernel has no ${type}`);
}

/** One that is mounted. */
export interface FileSystem {
  readonly path: string;
  /** Bytes in use on it, when all that was written and removed is on the disk. */
  used(): Promise<number>;
  /** @throws COMMAND_FAILED where something still uses it; it is detached then */
  close(): Promise<void>;
}

/** Makes one of `gib`, without taking that much. */
export async function makeFileSystem(type: FileSystemType, gib: number): Promise<FileSystem> {
  const path = await mkdtemp(`/var/lib/nova/${type}-`);
  const file = `${path}.img`;
  await run('truncate', ['-s', `${gib}G`, file]);
  await run(`mkfs.${type}`, ['-q', file]);
  await run('mount', ['-t', type, '-o', 'loop', file, path]);
  await rm(file); // the mount keeps it, and nothing is left of it whatever happens
  await chmod(path, 0o755);
  return {
    path,
    used: async () => {
      await run('sync', ['--file-system', path], { timeoutMs: 300_000 });
      const { blocks, bfree, bsize } = await statfs(path);
      return (blocks - bfree) * bsize;
    },
    close: async () => {
      try {
        await run('umount', [path]);
      } catch (error) {
        await run('umount', ['--lazy', path]);
        throw error;
      }
      await rmdir(path);
    },
  };
}

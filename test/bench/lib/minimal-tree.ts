/** The least system that runs: busybox's init, which has nothing to start. */
import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes it in a new folder `at`. */
export async function minimalTree(at: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'etc', 'dev', 'proc', 'sys/fs/cgroup', 'run', 'root', 'tmp']) await mkdir(join(at, name), { recursive: true, mode: 0o755 });
  await chmod(join(at, 'tmp'), 0o1777);
  await copyFile('/usr/bin/busybox', join(at, 'bin/busybox'));
  for (const applet of ['sh', 'true', 'sleep', 'poweroff']) await symlink('busybox', join(at, 'bin', applet));
  await symlink('../bin/busybox', join(at, 'sbin/init'));
  await writeFile(join(at, 'etc/inittab'), 'null::sysinit:/bin/true\nnull::shutdown:/bin/true\n');
  await writeFile(join(at, 'etc/passwd'), 'root::0:0:root:/root:/bin/sh\n');
}

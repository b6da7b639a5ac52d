/**
 * The jail in which tools read hostile bytes: bubblewrap with no network, its own PID, IPC and UTS namespaces, an empty root that
 * holds only the host's /usr (read-only) and at most one folder, no /proc, no /dev, no_new_privs, and only the capabilities named.
 * A tool in it that is taken over can harm that folder and nothing else; it dies with the service.
 *
 * A tool that serves a file system by FUSE has to mount it. It gets a user namespace, in which it may (ids 0 to 65535 are the host's,
 * so that owners are seen as they are), the device, and an empty folder `/tree`; on the host it has no capability. But its root is the
 * host's, and may undo what was mounted in that namespace: so what it sees of the host is made read-only before, outside, where the
 * kernel locks it (mount_namespaces(7), "Restrictions on mount namespaces"), and its cgroup namespace is the host's, so that it cannot
 * mount the service's cgroup.
 */
import { lstatSync, readlinkSync } from 'node:fs';

/** What a jailed tool may do. */
export interface JailOptions {
  /** The one folder of the host it sees, at `/target`, which is also its working directory. */
  readonly folder?: { readonly path: string; readonly writable: boolean };
  /** Capabilities kept, as `CAP_CHOWN`; none by default. */
  readonly capabilities?: readonly string[];
  /** Largest file it may write, bytes (RLIMIT_FSIZE). */
  readonly maxFileBytes?: number;
  /** It mounts a FUSE file system on `/tree`. */
  readonly fuse?: boolean;
}

/** Address space of a jailed tool, bytes: more than xz -9 or zstd --long=27 need to unpack, less than hurts a host. */
const maxMemoryBytes = 2 * 1024 ** 3;

const userNamespace = ['unshare', '--user', '--map-users=0:0:65536', '--map-groups=0:0:65536', '--setuid', '0', '--setgid', '0', '--'] as const;
const fuseCapabilities = ['CAP_SYS_ADMIN', 'CAP_DAC_READ_SEARCH'];
const fuseFolders = ['--dir', '/tree', '--dir', '/dev', '--dev-bind', '/dev/fuse', '/dev/fuse'];

/** Run outside of the user namespace: each path before `--` is bound to itself, alone and read-only; then the rest is run. */
const lockFolders = 'while [ "$1" != -- ]; do mount -n --bind "$1" "$1" && mount -n -o remount,bind,ro "$1" || exit 125; shift; done; shift; exec "$@"';

/** `/bin`, `/lib`... of a merged-/usr host are symlinks into /usr; on others they are folders. */
function systemFolders(): { readonly args: readonly string[]; readonly bound: readonly string[] } {
  const args = ['--ro-bind', '/usr', '/usr'];
  const bound = ['/usr'];
  for (const path of ['/bin', '/sbin', '/lib', '/lib32', '/lib64']) {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink()) args.push('--symlink', readlinkSync(path), path);
    else if (stat?.isDirectory()) {
      args.push('--ro-bind', path, path);
      bound.push(path);
    }
  }
  return { args, bound };
}

/** The command line that runs `command` in a jail: the first item is the program. */
export function jailed(command: readonly string[], options: JailOptions = {}): readonly [string, ...string[]] {
  const { folder, fuse = false } = options;
  const system = systemFolders();
  const capabilities = [...(options.capabilities ?? []), ...(fuse ? fuseCapabilities : [])];
  const jail: readonly [string, ...string[]] = [
    'bwrap',
    '--unshare-ipc', '--unshare-pid', '--unshare-net', '--unshare-uts', ...(fuse ? [] : ['--unshare-cgroup-try']),
    '--die-with-parent', '--new-session', '--clearenv', '--setenv', 'PATH', '/usr/bin:/usr/sbin:/bin:/sbin', '--setenv', 'LC_ALL', 'C',
    '--cap-drop', 'ALL', ...capabilities.flatMap((capability) => ['--cap-add', capability]),
    ...system.args,
    ...(fuse ? fuseFolders : []),
    ...(folder ? [folder.writable ? '--bind' : '--ro-bind', folder.path, '/target', '--chdir', '/target'] : ['--chdir', '/']),
    '--remount-ro', '/',
    'prlimit', `--as=${maxMemoryBytes}`, '--core=0', ...(options.maxFileBytes === undefined ? [] : [`--fsize=${options.maxFileBytes}`]), '--',
    ...command,
  ];
  if (!fuse) return jail;
  const readOnly = [...system.bound, '/dev/fuse', ...(folder && !folder.writable ? [folder.path] : [])];
  return ['unshare', '--mount', '--cgroup', '--', 'sh', '-c', lockFolders, 'sh', ...readOnly, '--', ...userNamespace, ...jail];
}

/**
 * The user data script of a server whose image has no cloud-init. It lies in the tree, as cloud-init's own scripts do, and so goes wherever the
 * server goes; its first name says that it has not been run:
 *
 *     /var/lib/haulier/first-boot   to be run at the next start
 *     /var/lib/haulier/user-data    the same, once it was begun
 *
 * It runs as a child of the guest's init: it needs nothing of this service, and the server can be frozen and hauled meanwhile.
 */
import { messageOf } from '../../base/errors.js';
import { makeFolderInside, openInside, writeInside } from '../guest-tree.js';
import type { HostParts } from '../parts.js';
import { rootFsPaths } from '../storage/root-fs.js';
import type { GuestTree } from './guest-accounts.js';

const folder = ['var', 'lib', 'haulier'];
const waiting = 'first-boot';
const execMs = 20_000;

/** Waits until the system is up, as cloud-init does, then runs it, with the console for its output. */
const runner = `cd /var/lib/haulier && mv first-boot user-data || exit 1
(
  exec </dev/null >/dev/console 2>&1
  n=0
  case $(readlink /proc/1/exe) in
    *systemd)
      while [ $n -lt 300 ]; do
        case $(systemctl is-system-running --wait 2>/dev/null) in running | degraded | maintenance) break ;; esac
        n=$((n + 1)); sleep 1
      done ;;
    *)
      sleep 1
      while [ $n -lt 300 ] && pidof rcS rc startpar openrc openrc-run >/dev/null 2>&1; do n=$((n + 1)); sleep 1; done ;;
  esac
  cd /
  HOME=/root /var/lib/haulier/user-data
  echo "haulier: the user data script ended with status $?"
) &
`;

/** Whether user data is what Haulier can run by itself. */
export function isScript(userData: Buffer): boolean {
  return userData.subarray(0, 2).toString('latin1') === '#!';
}

/** Puts it where the first start looks for it. @throws ELOOP, ENOTDIR where the tree has another shape */
export async function placeScript({ rootfs, idBase }: GuestTree, script: Buffer): Promise<void> {
  const owner = { uid: idBase, gid: idBase };
  await makeFolderInside(rootfs, folder, owner);
  await writeInside(rootfs, folder, waiting, script, owner, 0o700);
}

/** After a start: begins it, if one waits. Never throws: the server runs, with or without it. */
export async function beginScript(parts: HostParts, id: string): Promise<void> {
  const file = await openInside(rootFsPaths(parts.store.paths(id).folder).rootfs, [...folder, waiting]).catch(() => undefined);
  if (!file) return;
  await file.close();
  try {
    await parts.runc.exec(id, ['/bin/sh', '-c', runner], execMs);
  } catch (error) {
    parts.log.warn({ err: error, instance: id }, `cannot run the user data script: ${messageOf(error)}`);
  }
}

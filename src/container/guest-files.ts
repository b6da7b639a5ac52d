/** The few files of a guest that say who and where it is. Written once, before its first start. */
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { writeInside } from './guest-tree.js';
import { kernelHostName } from './host-name.js';
import type { ContainerSpec } from './spec.js';



/** Text of `/etc/hosts`. */
export function hostsText(spec: ContainerSpec): string {
  const short = spec.hostname.split('.')[0] ?? spec.hostname;
  const names = short === spec.hostname ? short : `${spec.hostname} ${short}`;
  const own = spec.vifs.flatMap((vif) => vif.addresses.map((address) => `${address.address} ${names}\n`));
  return `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n${own.length > 0 ? own.join('') : `127.0.1.1 ${names}\n`}`;
}

/** Text of `/etc/resolv.conf`; undefined if no network names a server. */
export function resolvText(spec: ContainerSpec): string | undefined {
  const servers = [...new Set(spec.vifs.flatMap((vif) => vif.dns))];
  return servers.length > 0 ? servers.map((server) => `nameserver ${server}\n`).join('') : undefined;
}

/**
 * Writes `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf` into the tree at `rootfs`. A tree without a plain `/etc` is left alone, with a warning.
 * @param idBase host id of the container's root
 */
export async function writeGuestFiles(spec: ContainerSpec, rootfs: string, idBase: number, log: Pick<Log, 'warn'>): Promise<void> {
  const owner = { uid: idBase, gid: idBase };
  const resolv = resolvText(spec);
  const files = [['hostname', `${kernelHostName(spec.hostname)}\n`], ['hosts', hostsText(spec)], ...(resolv === undefined ? [] : [['resolv.conf', resolv]])] as const;
  for (const [name, text] of files) {
    try {
      await writeInside(rootfs, ['etc'], name ?? '', text ?? '', owner);
    } catch (error) {
      log.warn({ err: error }, `cannot write /etc/${name} of ${spec.id}: ${messageOf(error)}`);
    }
  }
}

/**
 * A container that resumed from an image becomes itself: its host name it has from the first instruction on, its addresses too
 * (showImages, the network hook); here go the files that name them, what was only there for the restore, and, where asked, its keys.
 */
import { randomBytes } from 'node:crypto';
import { messageOf } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { writeAtomic } from '../../base/atomic.js';
import type { CheckpointOrigin } from '../checkpoint/images.js';
import { criuConfig } from '../checkpoint/criu-options.js';
import { writeGuestFiles } from '../guest-files.js';
import { removeInside, resolveInside, writeInside } from '../guest-tree.js';
import { knobsBack, restoreOnlyRemoval } from '../network/restore-only.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec } from '../spec.js';

/** Run in the guest, if it has it, when it has become another one: the place to seed generators, register, open what was closed. */
export const resumedHook = '/etc/haulier/resumed';
const hookTimeoutMs = 10_000;

/** New host keys where there is an OpenSSH server, which reads them anew: it re-executes itself on SIGHUP (sshd(8)). */
const newKeys = 'command -v ssh-keygen >/dev/null && ssh-keygen -A; for f in /run/sshd.pid /var/run/sshd.pid; do [ -r $f ] && kill -HUP "$(cat $f)" && break; done; true';

/** The journal's daemon writes where the machine id that it began with says, and nobody reads there any more; it keeps the services' streams over a restart. */
const newJournal = '[ -d /run/systemd/system ] && systemctl try-restart systemd-journald; true';

/**
 * After the restore, and again when the service died in it. Never throws: the guest runs, and what could not be done is logged.
 * @param rootfs the container's tree
 */
export async function becomeItself(parts: HostParts, spec: ContainerSpec, pid: number, idBase: number, rootfs: string, from: CheckpointOrigin): Promise<void> {
  const { store } = parts;
  const clone = from.instance !== spec.id;
  const asked = clone ? spec.newIdentity ?? [] : [];
  const owner = { uid: idBase, gid: idBase };
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['take away the addresses of the restore', async () => {
      const lines = restoreOnlyRemoval(spec.vifs, from.addresses);
      const inside = `--net=/proc/${pid}/ns/net`;
      if (lines.length > 0) await run('nsenter', [inside, 'ip', '-force', '-batch', '-'], { input: lines.map((line) => `${line}\n`).join(''), okCodes: [0, 1] });
      await run('nsenter', [inside, 'sh', '-c', knobsBack, 'sh', ...spec.vifs.map(({ guestDevice }) => guestDevice)]);
    }],
    ['write its criu options', () => writeAtomic(store.paths(spec.id).criuConfig, criuConfig)],
    ['write its files', async () => {
      if (clone) await writeGuestFiles(spec, rootfs, idBase, parts.log);
      await store.update(spec.id, { guestFiles: true });
    }],
    ['give it an own machine id', async () => {
      if (!asked.includes('machine-id')) return;
      await writeInside(rootfs, ['etc'], 'machine-id', `${randomBytes(16).toString('hex')}\n`, owner, 0o444);
      await parts.runc.exec(spec.id, ['/bin/sh', '-c', newJournal], hookTimeoutMs);
    }],
    ['give it own keys', async () => {
      if (!asked.includes('keys')) return;
      await removeInside(rootfs, ['etc', 'ssh'], /^ssh_host_.*_key(\.pub)?$/);
      await parts.runc.exec(spec.id, ['/bin/sh', '-c', newKeys], hookTimeoutMs);
    }],
    ['tell it that it is another one', async () => { if (clone && (await resolveInside(rootfs, resumedHook))) await parts.runc.exec(spec.id, [resumedHook], hookTimeoutMs); }],
  ];
  for (const [what, work] of steps) {
    try {
      await work();
    } catch (error) {
      parts.log.error({ err: error, instance: spec.id }, `cannot ${what}: ${messageOf(error)}`);
    }
  }
}

/**
 * Containers made with runc and conmon alone, of the configuration that Haulier writes (user namespace, filter, mounts, control groups,
 * hook): the shared tree, idmapped to a range of its own (the kernel allows a user 200 keys, of which each container takes one), an overlay
 * over it, `config.json`, conmon, which has runc create it, and `runc start`. No disk of their own, no record, nothing that would outlive a crash.
 */
import { randomUUID } from 'node:crypto';
import { chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/base/run.js';
import { readCgroupLayout, removeCgroups } from '../../../src/container/cgroup.js';
import { criuConfig } from '../../../src/container/checkpoint/criu-options.js';
import { hookScript, writeHookFiles } from '../../../src/container/network/hook-files.js';
import { ociConfig } from '../../../src/container/oci/spec.js';
import { baseIdmap } from '../../../src/container/storage/disk.js';
import { startMonitor } from '../../../src/container/runtime/conmon.js';
import { Runc } from '../../../src/container/runtime/runc.js';
import { cgroupParent, makeSpec } from '../../host/container/harness.js';
import { minimalTree } from './minimal-tree.js';

const folder = '/var/lib/nova/bare';
const state = '/run/bare';
const exits = join(state, 'exits');
const firstId = 900_000_000;

/** The containers of one host. */
export class BareContainers {
  readonly #runc = new Runc('/usr/sbin/runc', join(state, 'runc'), '/usr/sbin/criu');
  readonly #ids: string[] = [];
  #made = 0;

  /** The shared tree. */
  async prepare(): Promise<void> {
    await mkdir(exits, { recursive: true, mode: 0o700 });
    await minimalTree(join(folder, 'lower'));
  }

  /** Makes one and starts it. @returns milliseconds */
  async boot(): Promise<number> {
    const began = performance.now();
    const id = randomUUID();
    const at = join(folder, id);
    const idBase = firstId + 65_536 * this.#made++;
    for (const name of ['lower', 'upper', 'work', 'rootfs', 'systemd']) await mkdir(join(at, name), { recursive: true, mode: 0o755 });
    await chown(join(at, 'upper'), idBase, idBase);
    await run('mount', ['--bind', '-o', `ro,nodev,X-mount.idmap=${baseIdmap(idBase)}`, '--', join(folder, 'lower'), join(at, 'lower')]);
    await run('mount', ['-t', 'overlay', '-o', `nodev,index=on,nfs_export=on,xino=on,lowerdir=${join(at, 'lower')},upperdir=${join(at, 'upper')},workdir=${join(at, 'work')}`, '--', 'overlay', join(at, 'rootfs')]);
    await this.#writeBundle(id, at, idBase);
    const ends = join(state, id);
    await startMonitor('/usr/bin/conmon', this.#runc, {
      id, name: id, bundle: at, console: join(at, 'console.log'), consoleBytes: 256 * 1024, exitFolder: exits, runFolder: ends,
      pidFile: join(ends, 'pid'), conmonPidFile: join(ends, 'conmon.pid'), conmonLog: join(ends, 'conmon.log'),
    });
    await this.#runc.start(id);
    this.#ids.push(id);
    return performance.now() - began;
  }

  async #writeBundle(id: string, at: string, idBase: number): Promise<void> {
    const layout = await readCgroupLayout();
    const spec = makeSpec({ id: 'minimal' } as Parameters<typeof makeSpec>[0], { id, limits: { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 128, swapMiB: 0, pids: 64, rootGiB: 1 } });
    await writeHookFiles(at, [], 1500);
    await writeFile(join(at, 'criu.conf'), criuConfig);
    await writeFile(join(at, 'config.json'), JSON.stringify(ociConfig(spec, {
      idBase, rootfs: join(at, 'rootfs'), cgroupsPath: join(await cgroupParent(), id), pureCgroup2: layout.pureCgroup2, swapLimits: layout.swapLimits, arch: process.arch,
      maxOpenFiles: 4096, systemdConfFolder: join(at, 'systemd'), criuConfig: join(at, 'criu.conf'), hook: { script: hookScript, folder: at },
    })));
  }

  /** Ends the oldest and takes it away. @returns milliseconds; undefined when there is none any more */
  async remove(): Promise<number | undefined> {
    const id = this.#ids.shift();
    if (id === undefined) return undefined;
    const began = performance.now();
    await this.#runc.kill(id, 'KILL');
    while (!existsSync(join(exits, id))) await sleep(2);
    await this.#runc.delete(id);
    await run('umount', ['--', join(folder, id, 'rootfs'), join(folder, id, 'lower')]);
    await removeCgroups(await readCgroupLayout(), join(await cgroupParent(), id));
    await rm(join(folder, id), { recursive: true });
    return performance.now() - began;
  }

  /** Whether all of them run, by their pid files. */
  async alive(): Promise<number> {
    const pids = await Promise.all(this.#ids.map((id) => readFile(join(state, id, 'pid'), 'utf8').catch(() => '')));
    return pids.filter((pid) => existsSync(`/proc/${pid.trim()}/stat`)).length;
  }
}

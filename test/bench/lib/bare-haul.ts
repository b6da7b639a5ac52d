/**
 * A live migration by hand between the two hosts of the haul tests: runc and criu, tar and socat, as a person would script it who knows
 * all the tricks (frozen before criu looks, closed ports, images in memory, neighbours taken along). No record is kept, nothing is
 * encrypted and nothing is synced: a failure half-way loses the container. Its configuration is the one that Haulier writes (user
 * namespace, filter, mounts, control groups, network hook), without a console and its monitor.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runtimeCriuOptions } from '../../../src/container/checkpoint/criu-options.js';
import { freezerSwitch } from '../../../src/container/checkpoint/freezer.js';
import { readCgroupLayout } from '../../../src/container/cgroup.js';
import { hookScript, writeHookFiles } from '../../../src/container/network/hook-files.js';
import { parkedDevice } from '../../../src/container/network/veth.js';
import { ociConfig } from '../../../src/container/oci/spec.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import type { MemoryMode } from '../../../src/haul/progress.js';
import { makeSpec, makeVif } from '../../host/container/harness.js';
import { hostBridge, type TestHost } from '../../host/haul/hosts.js';
import { portAt } from '../../host/haul/numbers.js';

const work = '/run/hlbare';
const name = 'bare';
const [tap, idBase, imagesPort, pagesPort] = ['taphlbare', 900_000_000, 9998, 9997];
const runc = `runc --root ${work}/runc`;
const criuOptions = [...runtimeCriuOptions, `--work-path ${work}/img`, `--image-path ${work}/img`].join(' ');
const mountTree = `mount -t overlay overlay -o index=on,nfs_export=on,xino=on,lowerdir=${work}/lower,upperdir=${work}/upper,workdir=${work}/ovl ${work}/rootfs`;
const port = (state: number): string => `bridge link set dev ${tap} state ${state}`;
const limits = { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 1536, swapMiB: 0, pids: 100, rootGiB: 1 };

/** One move, milliseconds. */
export interface BareMove {
  /** From the freeze to the end of the restore. */
  readonly frozenMs: number;
  /** Until it is announced and, with post-copy, all of its memory has come. */
  readonly totalMs: number;
  /** Where the frozen time went: to the end of the dump, until all has come, the rest. */
  readonly parts: { readonly dump: number; readonly send: number; readonly restore: number };
}

/** The container, at 10.99.0.LAST on one of the hosts. */
export class BareContainer {
  private constructor(private readonly spec: ContainerSpec, private readonly last: number) {}

  /** Boots it on `host`; both hosts get what they need for it. @param hosts both of them */
  static async boot(host: TestHost, hosts: readonly TestHost[], image: ImageSource, last: number): Promise<BareContainer> {
    const folder = await mkdtemp(join(tmpdir(), 'bare-'));
    const archive = join(folder, 'image.tar');
    await writeFile(archive, (await image.open(AbortSignal.timeout(60_000))) as unknown as AsyncIterable<Buffer>);
    const spec = makeSpec(image, { limits, vifs: [{ ...portAt(makeVif({ type: 'bridge', bridge: hostBridge, createBridge: false }, 0), last), hostDevice: tap, mac: '02:00:00:99:00:70' }] });
    await writeHookFiles(folder, spec.vifs, 1500);
    for (const each of hosts) {
      const config = join(folder, `${each.name}.json`);
      await writeFile(config, JSON.stringify(await configOf(spec, join(each.options.cgroupParent, name))));
      await sh(each, `mkdir -p ${work}; mount -t tmpfs -o mode=755 tmpfs ${work}
        cd ${work}; mkdir -p lower/sys/fs/cgroup rootfs system.conf.d net; tar -C lower -xf ${archive}; chown -hR ${idBase}:${idBase} lower; cp ${config} config.json; cp ${folder}/{move,inside,knobs} net/
        cp net/inside inside; echo 'network-lock skip' >criu.conf`);
    }
    const container = new BareContainer(spec, last);
    await container.#plug(host);
    await sh(host, `cd ${work}; ${mountTree}; ${runc} run -d ${name} </dev/null >/dev/null 2>&1; ${port(3)}`);
    return container;
  }

  async #plug(host: TestHost): Promise<void> {
    const [vif] = this.spec.vifs;
    const parked = parkedDevice(vif!);
    await sh(host, `cd ${work}; rm -rf upper ovl img; mkdir upper ovl img; chown ${idBase}:${idBase} upper; cp inside net/inside
      ip link add ${tap} type veth peer name ${parked} address ${vif!.mac}; ip link set ${tap} addrgenmode none; ip link set ${parked} addrgenmode none; ip link set ${tap} master ${hostBridge} up`);
  }

  async #unplug(host: TestHost): Promise<void> {
    const { file, thawed } = freezerSwitch(await readCgroupLayout(), join(host.options.cgroupParent, name));
    await sh(host, `cd ${work}; group=${dirname(file)}
      while grep -qs . $group/cgroup.procs; do xargs -r kill -9 <$group/cgroup.procs 2>/dev/null; echo ${thawed} >${file}; sleep 0.02; done
      ${runc} delete -f ${name} >/dev/null 2>&1; umount rootfs; rm -rf upper ovl img; ip link del ${tap} 2>/dev/null || true`);
  }

  /** Moves it. Only what both hosts do from the freeze on counts: the port there is made before. @throws with criu's words */
  async move(from: TestHost, to: TestHost, mode: MemoryMode): Promise<BareMove> {
    const lazy = mode === 'post-copy';
    const { file, frozen } = freezerSwitch(await readCgroupLayout(), join(from.options.cgroupParent, name));
    await this.#plug(to);
    const { stdout: neighbours } = await sh(from, `nsenter -t $(${runc} state ${name} | grep -oE '"pid": [0-9]+' | grep -oE '[0-9]+') -n ip neigh show dev eth0 | awk '/lladdr/{print "neigh replace " $1 " lladdr " $3 " dev eth0 nud stale"}'`);
    await sh(to, `cat >>${work}/net/inside <<X\n${neighbours}\nX`);
    const pageDaemon = `mkfifo st; exec 7<>st
      criu lazy-pages --page-server --address ${from.address} --port ${pagesPort} --images-dir ${work}/img --work-dir ${work}/img -o pages.log --status-fd 8 8>st 7<&- >/dev/null 2>&1 &
      head -c1 <&7 >/dev/null; rm st`;
    const restored = sh(to, `cd ${work}
      socat -u -b 1048576 TCP-LISTEN:${imagesPort},bind=${to.address},reuseaddr STDOUT | tar xf - -b 2048
      date +%s%N
      ${mountTree}; chown -R ${idBase}:0 img; chmod -R g+rX img
      ${lazy ? pageDaemon : ''}
      ${runc} restore -d ${criuOptions} ${lazy ? '--lazy-pages' : ''} --bundle ${work} ${name} </dev/null >/dev/null 2>&1 || { grep Error img/restore.log >&2; exit 1; }
      ${port(3)}
      date +%s%N
      nsenter -t $(cat ${work}/runc/${name}/state.json | grep -oE '"init_process_pid":[0-9]+' | grep -oE '[0-9]+') -n arping -q -U -c 1 -w 1 -I eth0 10.99.0.${this.last} &
      wait
      date +%s%N`);
    restored.catch(() => undefined); // the source's words come first
    await sh(to, `until ss -Hltn 'sport = ${imagesPort}' | grep -q .; do sleep 0.01; done`);
    const send = `tar cf - -b 2048 img upper | socat -u -b 1048576 STDIN TCP:${to.address}:${imagesPort}`;
    const dump = `${runc} checkpoint ${criuOptions}`;
    const problem = '{ grep Error img/dump.log >&2; exit 1; }';
    const { stdout: left } = await sh(from, `cd ${work}; mkfifo st; exec 7<>st
      date +%s%N
      echo ${frozen} >${file}; ${port(0)}
      ${lazy ? `{ ${dump} --lazy-pages --page-server ${from.address}:${pagesPort} --status-fd 8 ${name} >img.log 2>&1 8>st 7<&- || echo failed >st; } &
      head -c1 <&7 | grep -q f && ${problem}
      date +%s%N
      ${send}; wait` : `${dump} ${name} >img.log 2>&1 || ${problem}
      date +%s%N
      ${send}`}
      rm st`);
    const times = (text: string): number[] => text.trim().split('\n').map((line) => Number(line) / 1e6);
    const [began = NaN, dumped = NaN] = times(left);
    const [came = NaN, runs = NaN, whole = NaN] = times((await restored).stdout);
    await this.#unplug(from);
    return { frozenMs: runs - began, totalMs: whole - began, parts: { dump: dumped - began, send: came - dumped, restore: runs - came } };
  }

  /** Ends it, wherever it is; both hosts are as before. */
  async end(hosts: readonly TestHost[]): Promise<void> {
    for (const each of hosts) await this.#unplug(each).catch(() => undefined);
    for (const each of hosts) await sh(each, `cd /; umount ${work}; rmdir ${work} 2>/dev/null || true`);
  }
}

async function sh(host: TestHost, script: string): Promise<{ readonly stdout: string }> {
  return await host.inside('bash', '-c', script);
}

async function configOf(spec: ContainerSpec, cgroupsPath: string): Promise<object> {
  const { pureCgroup2, swapLimits } = await readCgroupLayout();
  const config = ociConfig(spec, {
    idBase, rootfs: `${work}/rootfs`, cgroupsPath, pureCgroup2, swapLimits, arch: process.arch, maxOpenFiles: 4096,
    systemdConfFolder: `${work}/system.conf.d`, criuConfig: `${work}/criu.conf`, hook: { script: hookScript, folder: `${work}/net` },
  });
  return { ...config, process: { ...config.process, terminal: false, consoleSize: undefined } };
}

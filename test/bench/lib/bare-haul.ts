/**
 * A live migration by hand between the two hosts of the haul tests: runc and criu, tar and socat, as a person would script it who knows
 * all the tricks (frozen before criu looks, mute ports, images in memory, neighbours taken along). No record is kept and nothing is
 * synced: a failure half-way loses the container.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { freezerSwitch } from '../../../src/container/checkpoint/freezer.js';
import { readCgroupLayout } from '../../../src/container/cgroup.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { hostBridge, type TestHost } from '../../host/haul/hosts.js';

const work = '/run/hlbare';
const name = 'bare';
const mac = '02:00:00:99:00:70';
const capabilities = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'NET_BIND_SERVICE', 'NET_RAW', 'NET_ADMIN', 'SYS_CHROOT', 'MKNOD'].map((capability) => `CAP_${capability}`);
const runc = `runc --root ${work}/runc`;
const criuOptions = '--tcp-established --file-locks --ext-unix-sk --manage-cgroups-mode=ignore';
const mountTree = `mount -t overlay overlay -o lowerdir=${work}/lower,upperdir=${work}/upper,workdir=${work}/ovl ${work}/rootfs`;
const port = (state: number): string => `bridge link set dev h-${name} state ${state}`;

/** One move, milliseconds. */
export interface BareMove {
  /** From the freeze to the end of the restore. */
  readonly frozenMs: number;
  /** Until it is announced. */
  readonly totalMs: number;
}

/** The container, at 10.99.0.LAST on one of the hosts. */
export class BareContainer {
  private constructor(private readonly last: number) {}

  /** Boots it on `host`; both hosts get what they need for it. @param hosts both of them */
  static async boot(host: TestHost, hosts: readonly TestHost[], image: ImageSource, last: number): Promise<BareContainer> {
    const folder = await mkdtemp(join(tmpdir(), 'bare-'));
    const archive = join(folder, 'image.tar');
    await writeFile(archive, (await image.open(AbortSignal.timeout(60_000))) as unknown as AsyncIterable<Buffer>);
    for (const each of hosts) {
      const config = join(folder, `${each.name}.json`);
      await writeFile(config, JSON.stringify(configOf(join(each.options.cgroupParent, name))));
      await sh(each, `mkdir -p ${work} /run/netns; mount -t tmpfs -o mode=755 tmpfs ${work}; mount -t tmpfs tmpfs /run/netns
        cd ${work}; mkdir lower rootfs; tar -C lower -xf ${archive}; cp ${config} config.json; echo 'network-lock skip' >criu.conf`);
    }
    const container = new BareContainer(last);
    await container.#plug(host);
    await sh(host, `cd ${work}; ${mountTree}; ${port(3)}; ${runc} run -d ${name} </dev/null >/dev/null 2>&1`);
    return container;
  }

  async #plug(host: TestHost): Promise<void> {
    await sh(host, `cd ${work}; rm -rf upper ovl img; mkdir upper ovl img; ip netns add ${name}
      ip link add h-${name} type veth peer name eth0 netns ${name}; ip link set h-${name} addrgenmode none; ip link set h-${name} master ${hostBridge} up
      ip netns exec ${name} sh -c 'ip link set lo up; ip link set eth0 address ${mac} up; ip addr add 10.99.0.${this.last}/24 dev eth0'; ${port(0)}`);
  }

  async #unplug(host: TestHost): Promise<void> {
    const { file, thawed } = freezerSwitch(await readCgroupLayout(), join(host.options.cgroupParent, name));
    await sh(host, `cd ${work}; group=${dirname(file)}
      while grep -qs . $group/cgroup.procs; do echo ${thawed} >${file}; ${runc} kill ${name} KILL >/dev/null 2>&1; sleep 0.02; done
      ${runc} delete -f ${name} >/dev/null 2>&1; umount rootfs; rm -rf upper ovl img; ip netns del ${name}`);
  }

  /** Moves it. Only what both hosts do between freeze and announcement counts: ports and namespace there are made before. @throws with criu's words */
  async move(from: TestHost, to: TestHost): Promise<BareMove> {
    const { file, frozen } = freezerSwitch(await readCgroupLayout(), join(from.options.cgroupParent, name));
    await this.#plug(to);
    const { stdout: neighbours } = await sh(from, `ip netns exec ${name} ip neigh show dev eth0 | awk '/lladdr/{print "neigh replace " $1 " lladdr " $3 " dev eth0 nud stale"}'`);
    if (neighbours.trim() !== '') await sh(to, `ip netns exec ${name} ip -batch - <<X\n${neighbours}\nX`);
    const restored = sh(to, `cd ${work}
      socat -u -b 1048576 TCP-LISTEN:9998,bind=${to.address},reuseaddr STDOUT | tar xf - -b 2048
      ${mountTree}
      ${runc} restore -d ${criuOptions} --bundle ${work} --image-path ${work}/img --work-path ${work}/img ${name} </dev/null >/dev/null 2>&1 || { grep Error img/restore.log >&2; exit 1; }
      ${port(3)}
      date +%s%N
      ip netns exec ${name} arping -q -U -c 1 -w 1 -I eth0 10.99.0.${this.last} &
      date +%s%N`);
    restored.catch(() => undefined); // the source's words come first
    await sh(to, `until ss -Hltn 'sport = 9998' | grep -q .; do sleep 0.01; done`);
    const send = `tar cf - -b 2048 img upper | socat -u -b 1048576 STDIN TCP:${to.address}:9998`;
    const { stdout: began } = await sh(from, `cd ${work}
      date +%s%N
      ${port(0)}; echo ${frozen} >${file}
      ${runc} checkpoint ${criuOptions} --image-path ${work}/img --work-path ${work}/img ${name} >img.log 2>&1 || { grep Error img/dump.log >&2; exit 1; }
      ${send}`);
    const [runs = NaN, whole = NaN] = (await restored).stdout.trim().split('\n').map(Number);
    await this.#unplug(from);
    return { frozenMs: (runs - Number(began)) / 1e6, totalMs: (whole - Number(began)) / 1e6 };
  }

  /** Ends it, wherever it is; both hosts are as before. */
  async end(hosts: readonly TestHost[]): Promise<void> {
    for (const each of hosts) await this.#unplug(each).catch(() => undefined);
    for (const each of hosts) await sh(each, `cd /; umount ${work} /run/netns; rmdir ${work} 2>/dev/null || true`);
  }
}

async function sh(host: TestHost, script: string): Promise<{ readonly stdout: string }> {
  return await host.inside('bash', '-c', script);
}

function configOf(cgroupsPath: string): object {
  const plain = ['nosuid', 'noexec', 'nodev'];
  return {
    ociVersion: '1.0.2', hostname: name, root: { path: 'rootfs' }, annotations: { 'org.criu.config': `${work}/criu.conf` },
    process: {
      terminal: false, user: { uid: 0, gid: 0 }, cwd: '/', env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], noNewPrivileges: true, capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      args: ['/bin/sh', '-c', 'mkdir -p /run /root; /bin/counter & /usr/bin/python3 /bin/hold & wait'],
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: plain },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...plain, 'ro'] },
    ],
    linux: { cgroupsPath: join('/', cgroupsPath), namespaces: [...['pid', 'mount', 'uts', 'ipc'].map((type) => ({ type })), { type: 'network', path: `/run/netns/${name}` }] },
  };
}

/** Two hosts on one machine: each a network, a mount and a PID namespace with its own folders, joined by two bridges, and a client outside. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { run } from '../../../src/base/run.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { cgroupFolders, readCgroupLayout } from '../../../src/container/cgroup.js';
import type { ContainerSpec, ContainerView, ImageSource } from '../../../src/container/spec.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import type { Authority } from '../../lib/certificates.js';
import { hostOptions, pidsWithArgument, until } from '../container/harness.js';
import type { Command } from './agent.js';

const agent = join(dirname(fileURLToPath(import.meta.url)), 'agent.js');
/** The network of the clients outside. */
export const cloudBridge = 'hlcloud';
const moveBridge = 'hlmove';
/** The bridge for containers on either host. */
export const hostBridge = 'brqhl';
const port = 8791;

/** sysfs of the new network namespace, with the machine's cgroups in it. */
const holderScript = `set -e
mkdir -p /run/hl-cgroups
mount --rbind /sys/fs/cgroup /run/hl-cgroups
mount --make-rprivate /run/hl-cgroups
umount -l /sys
mount -t sysfs sysfs /sys
mount --rbind /run/hl-cgroups /sys/fs/cgroup
umount -l /run/hl-cgroups
ip link set lo up
for all in all default; do echo 0 >/proc/sys/net/ipv6/conf/$all/accept_dad; done
echo ready
exec tini -- sleep infinity`;

type Result = { readonly n?: number; readonly result?: unknown; readonly error?: string; readonly code?: string; readonly ready?: true };

/** One host. */
export class TestHost {
  #child: ChildProcess | undefined;
  #n = 0;
  readonly #waiting = new Map<number, (result: Result) => void>();

  private constructor(readonly name: string, readonly address: string, readonly options: ContainerHostOptions, readonly settings: HaulSettings, private readonly holder: ChildProcess, private readonly init: string) {}

  static async make(name: string, index: number, authority: Authority, settings: Partial<HaulSettings>, change: Partial<ContainerHostOptions> = {}): Promise<TestHost> {
    const [folder, runPath] = [await mkdtemp(`/var/lib/nova/hl-${name}-`), await mkdtemp(`/run/hl-${name}-`)];
    await chmod(folder, 0o755);
    await chmod(runPath, 0o711);
    const base = await hostOptions(folder, runPath);
    const options = { ...base, ...change, subidBase: base.subidBase + index * 100_000_000, cgroupParent: join(base.cgroupParent, `hl-${name}`) };
    const holder = spawn('unshare', ['-m', '-n', '-p', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private', 'sh', '-c', holderScript], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout!, 'data');
    const init = (await readFile(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8')).trim();
    const address = `10.98.0.${10 + index}`;
    const pid = init;
    // those of hosts that ended a moment ago: the kernel takes a network namespace down in its own time
    for (const link of [`hlm${index}`, `hlc${index}`]) await until(`${link} of the last host is gone`, () => !existsSync(`/sys/class/net/${link}`) || run('ip', ['link', 'delete', 'dev', link]).then(() => false, () => false));
    await run('ip', ['-batch', '-'], { input: [
      `link add hlm${index} type veth peer name move0 netns ${pid}`, `link set hlm${index} master ${moveBridge} up`,
      `link add hlc${index} type veth peer name cloud0 netns ${pid}`, `link set hlc${index} master ${cloudBridge} up`,
    ].join('\n') + '\n' });
    await run('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', '-batch', '-'], { input: [
      `addr add ${address}/24 dev move0`, 'link set move0 up',
      `link add ${hostBridge} address 02:00:00:99:00:0${index} type bridge forward_delay 0 mcast_snooping 0`, `link set ${hostBridge} addrgenmode none`, `link set ${hostBridge} up`,
      `link set cloud0 addrgenmode none`, `link set cloud0 master ${hostBridge} up`,
    ].join('\n') + '\n' });
    return new TestHost(name, address, options, { host: name, ...authority.host(name), address, port, bandwidthMiB: 0, policy: { mode: 'auto', permitPostCopy: false }, ...settings }, holder, init);
  }

  get peer(): { host: string; address: string; port: number } {
    return { host: this.name, address: this.address, port };
  }

  /** Runs a command in the host's namespaces. */
  inside(...command: string[]): Promise<{ readonly stdout: string }> {
    return run('nsenter', [`--target=${this.init}`, '--mount', '--net', '--pid', ...command]);
  }

  /** Runs a command in a container. */
  async guest(id: string, ...command: string[]): Promise<string> {
    return (await this.inside(this.options.runc, '--root', join(this.options.runPath, 'runc'), 'exec', id, ...command)).stdout.trim();
  }

  /** Pid of the service itself, as this process sees it. */
  async servicePid(): Promise<number> {
    const { stdout } = await run('pgrep', ['--full', `^${process.execPath} ${agent} .*"instancesPath":"${this.options.instancesPath}"`]);
    return Number(stdout.trim());
  }

  /** What happens to the way between the hosts: the link of this one goes, or all that it sends and gets is dropped without a word. */
  async cutOff(how: 'down' | 'blackhole'): Promise<void> {
    if (how === 'down') await this.inside('ip', 'link', 'set', 'move0', 'down');
    else await run('nsenter', [`--net=/proc/${this.init}/ns/net`, '/usr/sbin/nft', '-f', '-'], { input: 'table netdev hole {\nchain in { type filter hook ingress device "move0" priority 0; policy drop; }\nchain out { type filter hook egress device "move0" priority 0; policy drop; }\n}\n' });
  }

  /** Takes that back. */
  async reconnect(): Promise<void> {
    await run('nsenter', [`--net=/proc/${this.init}/ns/net`, '/usr/sbin/nft', '-f', '-'], { input: 'table netdev hole {\n}\ndelete table netdev hole\n' });
    await this.inside('ip', 'link', 'set', 'move0', 'up');
  }

  get lives(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts the service. @param fault as HAULIER_FAULT @param change of the settings, for this life @param criu another one, for this life */
  async start(fault = '', change: Partial<HaulSettings> = {}, criu = this.options.criu): Promise<void> {
    const child = spawn('nsenter', [`--target=${this.init}`, '--mount', '--net', '--pid', 'setpriv', '--pdeathsig', 'KILL', process.execPath, agent, JSON.stringify({ ...this.options, criu }), JSON.stringify({ ...this.settings, ...change })], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, HAULIER_FAULT: fault } });
    this.#child = child;
    child.stdin!.on('error', () => undefined);
    child.on('exit', () => {
      for (const answer of this.#waiting.values()) answer({ error: 'the service is gone', code: 'GONE' });
      this.#waiting.clear();
    });
    const ready = new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const result = JSON.parse(line) as Result;
        if (result.ready) return resolve();
        this.#waiting.get(result.n!)?.(result);
        this.#waiting.delete(result.n!);
      });
      child.once('exit', () => reject(new Error(`the service of ${this.name} ended at its start`)));
    });
    await ready;
  }

  /** @throws what the service answers, with `code` */
  async tell(command: Omit<Command, 'n'>): Promise<unknown> {
    if (!this.lives) throw Object.assign(new Error('the service is gone'), { code: 'GONE' });
    const n = ++this.#n;
    const answer = new Promise<Result>((resolve) => this.#waiting.set(n, resolve));
    this.#child!.stdin!.write(`${JSON.stringify({ ...command, n })}\n`);
    const { result, error, code } = await answer;
    if (error !== undefined) throw Object.assign(new Error(`${this.name}: ${error}`), { code });
    return result;
  }

  async view(id: string): Promise<ContainerView> {
    return (await this.tell({ do: 'view', id })) as ContainerView;
  }

  /** kill -9, or waits for an end that is near. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || !this.lives) return;
    child.kill('SIGKILL'); // the service itself gets the same, as its parent is gone
    await once(child, 'exit');
    await until('the service is gone', () => this.inside('pgrep', '-f', agent).then(() => false, () => true));
  }

  async gone(): Promise<void> {
    await until(`the service of ${this.name} dies`, () => !this.lives, 60_000);
  }

  async takeImage(image: ImageSource): Promise<void> {
    const file = join(this.options.instancesPath, 'image.tar');
    await writeFile(file, (await image.open(AbortSignal.timeout(60_000))) as unknown as AsyncIterable<Buffer>);
    await this.tell({ do: 'image', id: '', image: { id: image.id, file, checksum: image.checksum!, layer: image.layer ?? false } });
    await rm(file);
  }

  /** What there is of a container on this host, in words. */
  async traces(spec: ContainerSpec): Promise<string[]> {
    const left: string[] = [];
    const note = (what: string, found: boolean): void => { if (found) left.push(`${this.name}: ${what}`); };
    const { instancesPath, runPath, cgroupParent } = this.options;
    for (const name of await readdir(instancesPath)) note(`folder ${name}`, name === spec.id || name.startsWith('_in-'));
    for (const name of await readdir(join(instancesPath, '_hauls')).catch(() => [])) note(`record ${name}`, true);
    for (const line of (await readFile(`/proc/${this.init}/mountinfo`, 'utf8')).split('\n')) note(`mount ${line}`, line.includes(spec.id) || line.includes('/_in-'));
    for (const folder of cgroupFolders(await readCgroupLayout(), join(cgroupParent, spec.id))) note(folder, existsSync(folder));
    for (const folder of ['exits', 'ports', 'runc']) note(`run/${folder}`, existsSync(join(runPath, folder, spec.id)));
    const links = (await this.inside('ip', '-o', 'link')).stdout;
    for (const vif of spec.vifs) note(`device ${vif.hostDevice}`, links.includes(vif.hostDevice));
    note('nft tables', /haul-/.test((await this.inside('/usr/sbin/nft', 'list', 'tables')).stdout));
    for (const pid of await pidsWithArgument(spec.id)) note(`process ${pid}`, (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(instancesPath));
    return left;
  }

  async end(): Promise<void> {
    // what runs would hold our output open
    if (!this.lives) await this.start().catch(() => undefined);
    if (this.lives) for (const { id } of (await this.tell({ do: 'list', id: '' })) as ContainerView[]) await this.tell({ do: 'destroy', id }).catch(() => undefined);
    await this.kill();
    this.holder.kill('SIGKILL');
    await once(this.holder, 'exit').catch(() => undefined);
    for (const folder of [this.options.instancesPath, this.options.runPath]) await rm(folder, { recursive: true, force: true });
    for (const point of new Set(cgroupFolders(await readCgroupLayout(), this.options.cgroupParent))) await run('rmdir', [point], { okCodes: [0, 1] });
  }
}

/** The two, and the network round them. @param firsts options of the first alone */
export async function makeHosts(authority: Authority, settings: Partial<HaulSettings> = {}, firsts: Partial<ContainerHostOptions> = {}): Promise<{ readonly a: TestHost; readonly b: TestHost; end(): Promise<void> }> {
  await removeBridges();
  await run('ip', ['-batch', '-'], { input: [
    `link add ${moveBridge} address 02:00:00:98:00:01 type bridge forward_delay 0 mcast_snooping 0`, `link set ${moveBridge} up`,
    `link add ${cloudBridge} address 02:00:00:99:00:99 type bridge forward_delay 0 mcast_snooping 0`, `addr add 10.99.0.1/24 dev ${cloudBridge}`, `link set ${cloudBridge} up`,
  ].join('\n') + '\n' });
  const a = await TestHost.make('hl-a', 1, authority, settings, firsts);
  const b = await TestHost.make('hl-b', 2, authority, settings);
  return { a, b, end: async () => { await a.end(); await b.end(); await removeBridges(); } };
}

async function removeBridges(): Promise<void> {
  for (const bridge of [moveBridge, cloudBridge]) if (existsSync(`/sys/class/net/${bridge}`)) await run('ip', ['link', 'delete', 'dev', bridge]);
}

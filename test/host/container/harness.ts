/** What the host tests of this room share: a small busybox system as an image, options, operations. Needs root and a Haulier host. */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLog, type Log } from '../../../src/base/log.js';
import { Operation } from '../../../src/base/operation.js';
import { run } from '../../../src/base/run.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec, ImageSource, VifSpec } from '../../../src/container/spec.js';

/** Why these tests cannot run here; undefined if they can. */
export function hostProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  const missing = ['/usr/sbin/runc', '/usr/bin/conmon', '/usr/bin/busybox'].filter((path) => !existsSync(path));
  return missing.length > 0 ? `${missing.join(', ')} missing: run in a host made by devstack/cloud` : undefined;
}

/** A log that tests can read. */
export const log: Log = createLog({ name: 'test', level: process.env['HAULIER_TEST_LOG'] === 'debug' ? 'debug' : process.env['HAULIER_TEST_LOG'] === 'warn' ? 'warn' : 'error' });

/** The cgroup of the test host's containers, so that the devstack removes what a failed test leaves. */
export async function cgroupParent(): Promise<string> {
  const own = await readFile('/proc/self/cgroup', 'utf8');
  const match = /:(\/haulier-devstack[^/\n]*\/[^/\n]+)/.exec(own);
  return match?.[1] ?? '/haulier-test';
}

/** Options of a host under test. */
export async function hostOptions(folder: string, run_: string): Promise<ContainerHostOptions> {
  return {
    instancesPath: folder,
    runPath: run_,
    runc: '/usr/sbin/runc',
    conmon: '/usr/bin/conmon',
    criu: '/usr/sbin/criu',
    ovsVsctl: 'ovs-vsctl',
    ovsdbConnection: undefined,
    cgroupParent: await cgroupParent(),
    subidBase: 1_000_000,
    subidRanges: 1000,
    defaultRootGiB: 1,
    imageMaxBytes: 1024 ** 3,
    imageMaxEntries: 2_000_000,
    imageTimeoutSeconds: 600,
    consoleLogBytes: 256 * 1024,
    networkMtu: 1500,
    lxcfs: undefined,
    lazyResume: 'never',
    quiesceSeconds: 60,
    crashDumps: { path: `${folder}-crash-dumps`, keep: 2, maxBytes: 1024 ** 3 },
    snapshotKey: undefined,
  };
}

/** A folder and a host under test. */
export interface Bed {
  readonly host: LocalContainerHost;
  readonly options: ContainerHostOptions;
  readonly image: ImageSource;
  /** Destroys every container and removes the folders. */
  end(): Promise<void>;
}

/** @param change options that differ from the usual ones */
export async function makeBed(change: Partial<ContainerHostOptions> = {}): Promise<Bed> {
  await removeBridges();
  const folder = await mkdtemp('/var/lib/nova/ct-');
  await chmod(folder, 0o755);
  const runPath = await mkdtemp('/run/ct-');
  await chmod(runPath, 0o711);
  const options = { ...(await hostOptions(folder, runPath)), ...change };
  const host = new LocalContainerHost(options, log);
  await host.start();
  const image = await busyboxImage();
  await operate((operation) => host.ensureImage(image, operation));
  return {
    host, options, image,
    end: async () => {
      for (const view of await host.list()) await operate((operation) => host.destroy(view.id, operation));
      await host.stop();
      await removeBridges();
      await rm(folder, { recursive: true, force: true });
      await rm(runPath, { recursive: true, force: true });
      await rm(`${folder}-crash-dumps`, { recursive: true, force: true });
    },
  };
}

/** Test bridges are named `brqht...`: those of a test that failed would answer for the next one's addresses. */
async function removeBridges(): Promise<void> {
  for (const device of await readdir('/sys/class/net')) if (device.startsWith('brqht') && existsSync(`/sys/class/net/${device}`)) await run('ip', ['link', 'delete', 'dev', device]);
}

/** Runs work as an operation of its own. */
export async function operate<T>(work: (operation: Operation) => Promise<T>): Promise<T> {
  return await new Operation({ name: 'test', log }).run(work);
}

const initScript = `#!/bin/sh
hostname > /dev/console
mkdir -p /run/lock
echo "guest is up: $(id -u)"
`;

const inittab = `::sysinit:/etc/init.d/rcS
::respawn:/bin/counter
::shutdown:/bin/sh -c 'echo guest goes down'
`;

const counter = `#!/bin/sh
n=0
while :; do n=$((n + 1)); echo $n > /run/count; sleep 0.05; done
`;

let cached: Promise<ImageSource> | undefined;

/** A tarball of a busybox system: init, a counter in /run/count, a shutdown message. */
export function busyboxImage(): Promise<ImageSource> {
  return (cached ??= buildImage());
}

async function buildImage(): Promise<ImageSource> {
  const folder = await mkdtemp(join(tmpdir(), 'busybox-'));
  const tree = join(folder, 'tree');
  for (const name of ['bin', 'sbin', 'etc/init.d', 'dev', 'proc', 'sys', 'run', 'tmp', 'root', 'var', 'usr/bin', 'usr/sbin']) await mkdir(join(tree, name), { recursive: true });
  await copyFile('/usr/bin/busybox', join(tree, 'bin/busybox'));
  await chmod(join(tree, 'bin/busybox'), 0o755);
  const { stdout } = await run('/usr/bin/busybox', ['--list']);
  for (const applet of stdout.split('\n').filter((name) => name && name !== 'busybox')) await symlink('/bin/busybox', join(tree, 'bin', applet));
  await symlink('/bin/busybox', join(tree, 'sbin/init'));
  await writeFile(join(tree, 'etc/inittab'), inittab);
  await writeFile(join(tree, 'etc/init.d/rcS'), initScript, { mode: 0o755 });
  await writeFile(join(tree, 'bin/counter'), counter, { mode: 0o755 });
  await writeFile(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n');
  await writeFile(join(tree, 'etc/group'), 'root:x:0:\ntty:x:5:\n');
  return await imageOf(tree, join(folder, 'image.tar'));
}

/** Packs a tree. */
export async function imageOf(tree: string, file: string): Promise<ImageSource> {
  await run('tar', ['-C', tree, '--numeric-owner', '-cf', file, '.'], { timeoutMs: 300_000 });
  const bytes = await readFile(file);
  return {
    id: randomUUID(),
    size: bytes.length,
    checksum: { algorithm: 'sha256', value: createHash('sha256').update(bytes).digest('hex') },
    diskFormat: 'raw',
    containerFormat: 'bare',
    open: async () => createReadStream(file),
  };
}

/** A spec with sensible values. */
export function makeSpec(image: ImageSource, change: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    id: randomUUID(),
    name: 'instance-00000001',
    hostname: 'guest1',
    imageId: image.id,
    limits: { vcpus: 1, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 64, swapMiB: 0, pids: 64, rootGiB: 1 },
    vifs: [],
    init: undefined,
    env: {},
    labels: {},
    ...change,
  };
}

/** A port on a bridge. */
export function makeVif(plug: VifSpec['plug'], index: number, change: Partial<VifSpec> = {}): VifSpec {
  const id = randomUUID();
  return {
    id,
    hostDevice: `tap${id.slice(0, 11)}`,
    guestDevice: `eth${index}`,
    mac: `fa:16:3e:00:00:${(16 + index).toString(16)}`,
    mtu: 1450,
    plug,
    addresses: [{ address: `10.90.${index}.5`, prefixLength: 24 }, { address: `fd00:90:${index}::5`, prefixLength: 64 }],
    routes: [],
    dns: [],
    ...change,
  };
}

/** A command in the container. */
export async function inside(bed: Bed, id: string, ...command: string[]): Promise<string> {
  const { stdout } = await run(bed.options.runc, ['--root', join(bed.options.runPath, 'runc'), 'exec', id, ...command], { timeoutMs: 20_000 });
  return stdout.trim();
}

/** Waits until `check` gives something true. */
export async function until<T>(what: string, check: () => Promise<T> | T, timeoutMs = 60_000): Promise<NonNullable<T>> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await sleep(20);
  }
}

/** Pids of processes that have `argument` as one whole argument. */
export async function pidsWithArgument(argument: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const text = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (text.split('\0').includes(argument)) found.push(Number(name));
  }
  return found;
}

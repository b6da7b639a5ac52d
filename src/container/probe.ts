/** What this host can do, for `haulier check`: each line says what was looked at, what was found and what to do about it. */
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '../base/errors.js';
import { findCommand, run } from '../base/run.js';
import { initProgram } from './application/init.js';
import { featureTable, probeAbilities } from './abilities.js';
import { readCgroupLayout } from './cgroup.js';
import { lazyDumpProblem, lazyProblem } from './checkpoint/lazy.js';
import { unfitCriu } from './checkpoint/facts.js';
import { findLxcfs } from './figures/lxcfs.js';
import type { ContainerHostOptions } from './container-host.js';
import { readKeyRing } from './memory-image/keys.js';
import { fileSystemOf, reflinkProblem } from './storage/file-system.js';
import { atLeast } from './version.js';

/** One finding. */
export interface ProbeLine {
  readonly what: string;
  /** False only for what containers cannot do without. */
  readonly ok: boolean;
  /** True for something absent that is only good to have. */
  readonly lacking?: boolean;
  readonly detail: string;
  /** What the operator can do; empty where nothing is to be done. */
  readonly advice: string;
}

const tmpfsMagic = 0x0102_1994;
const timeoutMs = 20_000;

async function probe(what: string, advice: string, look: () => Promise<string>): Promise<ProbeLine> {
  try {
    return { what, ok: true, detail: await look(), advice: '' };
  } catch (error) {
    return { what, ok: false, detail: messageOf(error), advice };
  }
}

/** A finding that is good to have but not needed. */
function lacking(what: string, there: boolean, detail: string, advice: string): ProbeLine {
  return { what, ok: true, lacking: !there, detail: there ? detail : `not here (optional): ${detail}`, advice: there ? '' : advice };
}

async function optional(what: string, advice: string, look: () => Promise<string>): Promise<ProbeLine> {
  const { ok, detail } = await probe(what, advice, look);
  return lacking(what, ok, detail, advice);
}

async function firstLine(command: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(command, args, { timeoutMs });
  return (stdout || stderr).split('\n')[0]?.trim() ?? '';
}

function must(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}

/** Looks at everything. Changes nothing on the host; never throws. */
export async function probeHost(options: ContainerHostOptions): Promise<ProbeLine[]> {
  return [
    await probe('root', 'Run the service as root.', async () => { must(process.getuid?.() === 0, 'not root'); return 'yes'; }),
    ...(await Promise.all([probeRuntimes(options), probeCriu(options), probeKernel(options), probeTools(options)])).flat(),
    await optional('snapshot key', 'Needed only for snapshots with memory: set snapshot_key of [haulier], and make one with `haulier snapshot-key`.', async () => {
      const [first, ...others] = await readKeyRing(options.snapshotKey);
      return `${first.id.toString('hex')} seals, ${others.length} more open`;
    }),
  ];
}

async function probeRuntimes(options: ContainerHostOptions): Promise<ProbeLine[]> {
  return [
    await probe('runc', 'Install runc 1.1 or newer (Debian package runc), or set the option that names it.', async () => {
      const version = await firstLine(options.runc, ['--version']);
      must(atLeast(version, '1.1'), `${version} is too old`);
      return version;
    }),
    await probe('conmon', 'Install conmon 2.1 or newer (Debian package conmon), or set the option that names it.', async () => {
      const version = await firstLine(options.conmon, ['--version']);
      must(atLeast(version, '2.1'), `${version} is too old`);
      return version;
    }),
  ];
}

/** criu is needed to freeze, snapshot with memory and haul; plain containers run without it. */
async function probeCriu(options: ContainerHostOptions): Promise<ProbeLine[]> {
  const { criu, kernel, problem, features } = await probeAbilities(options);
  const install = 'Install criu 4.2 or newer (needed on kernels from 6.16) or name it in the option criu: without it servers cannot be suspended or hauled live.';
  const state = problem === undefined ? `${criu}: servers can be suspended` : problem;
  const lines: ProbeLine[] = [lacking('criu', problem === undefined, state, criu === undefined || unfitCriu(criu, kernel) !== undefined ? install : 'Servers cannot be suspended here; see the lines that follow, and `criu check`.')];
  if (criu === undefined) return lines;
  return [
    ...lines,
    await optional('lazy resume', 'Set vm.unprivileged_userfaultfd = 1 (sysctl): servers with much memory then run again before all of it is read. Guests are kept from that call by their filter, other users of the host are not.', async () => {
      const lazy = await lazyProblem(options);
      must(lazy === undefined, lazy ?? '');
      return options.lazyResume === 'auto' ? 'yes' : 'possible, but lazy_resume = never';
    }),
    await optional('post-copy from here', 'Set fs.pipe-max-size = 16777216 (sysctl), or leave CAP_SYS_RESOURCE to the service: its containers can then be hauled before their memory (haul_permit_post_copy).', async () => {
      const problem = await lazyDumpProblem(options);
      must(problem === undefined, problem ?? '');
      return 'possible';
    }),
    ...featureTable.map(({ name, about, advice }) => lacking(`criu ${name}`, features[name], about, advice)),
    await optional('/run', 'Put /run (or the service\'s own mount of it) on a tmpfs: criu keeps its kernel probes there, which saves 15 to 25 ms a call.', async () => {
      must((await statfs('/run')).type === tmpfsMagic, '/run is no tmpfs');
      return 'tmpfs';
    }),
  ];
}

async function probeKernel(options: ContainerHostOptions): Promise<ProbeLine[]> {
  return [
    await probe('kernel', 'Use Linux 5.19 or newer: older ones cannot put overlayfs on idmapped mounts.', async () => {
      const release = (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim();
      must(atLeast(release, '5.19'), `${release} is too old`);
      return release;
    }),
    await probe('cgroups', 'Mount the cgroup controllers cpu, memory and pids (v1 or v2).', async () => {
      const layout = await readCgroupLayout();
      const unified = layout.unified ? await readFile(join(layout.unified, 'cgroup.controllers'), 'utf8').catch(() => '') : '';
      const controllers = new Set([...layout.v1.keys(), ...unified.trim().split(' ')]);
      const missing = ['cpu', 'memory', 'pids'].filter((name) => !controllers.has(name));
      must(missing.length === 0, `no controller ${missing.join(', ')}`);
      must(layout.unified !== undefined, 'no cgroup2 mount: systemd guests need one (on a v1 host at /sys/fs/cgroup/unified)');
      return `${layout.pureCgroup2 ? 'v2' : `v1 controllers, v2 at ${layout.unified}`}${layout.swapLimits ? '' : ', swap cannot be limited'}`;
    }),
    await probe('user namespaces', 'Raise the sysctl user.max_user_namespaces.', async () => {
      const most = Number(await readFile('/proc/sys/user/max_user_namespaces', 'utf8'));
      must(most > 0, 'user.max_user_namespaces is 0');
      return `at most ${most}`;
    }),
    await probe('overlayfs', 'Load the kernel module overlay.', async () => {
      must(/\toverlay$/m.test(await readFile('/proc/filesystems', 'utf8')), 'not in /proc/filesystems');
      return 'yes';
    }),
    await probe('loop devices', 'Load the kernel module loop.', async () => {
      must(existsSync('/dev/loop-control'), 'no /dev/loop-control');
      return 'yes';
    }),
    await probe('idmapped mounts', 'instances_path must be on a file system that supports them (ext4, xfs, btrfs), and mount(8) be 2.39.1 or newer.', () => probeIdmap(options)),
    await optional('reflinks', 'Put instances_path on XFS or Btrfs: a snapshot, a resize and a cold migration to the same host then copy nothing of a disk, and a guest that writes stands still for a moment only.', async () => {
      const parent = instancesParent(options);
      const [type, problem] = await Promise.all([fileSystemOf(parent), reflinkProblem(parent)]);
      must(problem === undefined, `the ${type} at ${parent} has none: copies of a disk take the space and the time of what its guest has written`);
      return `the ${type} at ${parent} has them: copies of a disk share its blocks`;
    }),
  ];
}

/** instances_path, or the folder that it will be made in. */
function instancesParent(options: ContainerHostOptions): string {
  let parent = options.instancesPath;
  while (!existsSync(parent)) parent = dirname(parent);
  return parent;
}

/** Tries one in a mount namespace that ends with the command. */
async function probeIdmap(options: ContainerHostOptions): Promise<string> {
  const parent = instancesParent(options);
  const folder = await mkdtemp(join(parent, '.probe-'));
  try {
    await run('unshare', ['--mount', '--propagation', 'private', 'mount', '--bind', '-o', `X-mount.idmap=b:0:${options.subidBase}:65536`, folder, folder], { timeoutMs });
    return `yes, on the ${await fileSystemOf(parent)} at ${parent}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Commands that are called, and the Debian package of each. */
const tools: readonly (readonly [string, string])[] = [
  ['ip', 'iproute2'], ['nsenter', 'util-linux'], ['unshare', 'util-linux'], ['mount', 'mount'], ['umount', 'mount'], ['mkfs.ext4', 'e2fsprogs'],
  ['bwrap', 'bubblewrap'], ['tar', 'tar'], ['gzip', 'gzip'], ['xz', 'xz-utils'], ['zstd', 'zstd'], ['sync', 'coreutils'], ['perl', 'perl-base'],
];

/** Commands of single kinds of images, what each is for, and its Debian package. */
const imageTools: readonly (readonly [string, string, string])[] = [
  [initProgram, 'containers that run an application', initProgram], ['qemu-img', 'qcow2 images', 'qemu-utils'], ['fuse2fs', 'disk images with ext2, ext3 or ext4', 'fuse2fs'], ['sqfs2tar', 'SquashFS images', 'squashfs-tools-ng'],
];

async function probeTools(options: ContainerHostOptions): Promise<ProbeLine[]> {
  const folders = (process.env['PATH'] ?? '').split(':').filter(Boolean);
  const missing = tools.filter(([command]) => !folders.some((folder) => existsSync(join(folder, command))));
  return [
    {
      what: 'commands', ok: missing.length === 0, detail: missing.length === 0 ? tools.map(([command]) => command).join(', ') : `missing: ${missing.map(([command]) => command).join(', ')}`,
      advice: missing.length === 0 ? '' : `Install ${[...new Set(missing.map(([, name]) => name))].join(', ')}.`,
    },
    ...imageTools.map(([command, purpose, name]) => lacking(command, findCommand(command) !== command, purpose, `Needed only for ${purpose}: install ${name}.`)),
    await optional('lxcfs', 'Containers see the memory, processors, uptime and load of the host: install lxcfs and start it with the options -l --enable-cfs.', async () => {
      const found = await findLxcfs(options);
      if (typeof found === 'string') throw new Error(found);
      return `on ${found.path}: containers see figures of their own`;
    }),
    lacking('/dev/fuse', existsSync('/dev/fuse'), 'disk images with ext2, ext3 or ext4', 'Load the kernel module fuse.'),
    await optional('Open vSwitch', 'Needed only for ports of ML2/OVS and OVN: install openvswitch-switch and start it.', async () => {
      const database = options.ovsdbConnection === undefined ? [] : [`--db=${options.ovsdbConnection}`];
      return `${await firstLine(options.ovsVsctl, ['--version'])}, bridges: ${(await run(options.ovsVsctl, ['--timeout=5', ...database, 'list-br'], { timeoutMs })).stdout.trim().split('\n').join(' ') || 'none'}`;
    }),
  ];
}

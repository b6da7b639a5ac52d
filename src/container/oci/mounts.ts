/** What is mounted into a container. */
import { join } from 'node:path';
import { initMountPoint } from '../application/init.js';
import { driveMountPoint } from '../boot-data/config-drive.js';
import { figureFiles } from '../figures/lxcfs.js';
import type { OciMount } from './config.js';

/** Host side of a container's mounts. */
export interface MountInputs {
  /** True if the host has only cgroup v2; false for v1 controllers with the v2 tree at `unified`. */
  readonly pureCgroup2: boolean;
  /** Host folder bound read-only on `/run/systemd/system.conf.d`. */
  readonly systemdConfFolder: string;
  /** Its memory, MiB: a tmpfs may take half of it, as the kernel gives a machine. */
  readonly memoryMiB: number;
  /** Host folder with the tiny init of an application; undefined for a system. */
  readonly initFolder: string | undefined;
  /** Host folder with the config drive; undefined: none. */
  readonly configDriveFolder: string | undefined;
  /** Host folder below which `figureFiles` are bound from; undefined: they are the kernel's. */
  readonly figuresRoot: string | undefined;
  /** Host folder with the root file system that is to be rescued; undefined where none is. */
  readonly rescuedRoot: string | undefined;
}

/** Where a container that rescues another one has that one's root file system. */
export const rescueMountPoint = '/mnt/rescue';

/**
 * The mounts of a system container, in order.
 *
 * `/sys` is read-only: systemd-udevd stays off then, whose netlink socket criu could not dump. `/run` is a tmpfs as on any
 * machine. Bound from the host are the folder that switches systemd's PSI watches off, which criu cannot carry
 * (criu-and-runtimes.md section 5; a guest without systemd sees an unused folder), an application's tiny init, a config drive, files of
 * lxcfs with the container's own figures, and the tree of a server that is rescued, with the same ids, so that a chroot into it works.
 */
export function ociMounts(inputs: MountInputs): OciMount[] {
  const half = `size=${Math.round(inputs.memoryMiB * 512)}k`;
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'] },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'mode=1777', half] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    { destination: '/sys/fs/cgroup', type: inputs.pureCgroup2 ? 'cgroup' : 'cgroup2', source: inputs.pureCgroup2 ? 'cgroup' : 'cgroup2', options: ['nosuid', 'noexec', 'nodev', 'rw'] },
    { destination: '/run', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=755', half] },
    ...(inputs.initFolder === undefined ? [] : [{ destination: initMountPoint, type: 'bind', source: inputs.initFolder, options: ['bind', 'ro', 'nosuid', 'nodev'] }]),
    ...(inputs.configDriveFolder === undefined ? [] : [{ destination: driveMountPoint, type: 'bind', source: inputs.configDriveFolder, options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'] }]),
    ...['system', 'user'].map((manager) => ({ destination: `/run/systemd/${manager}.conf.d`, type: 'bind', source: inputs.systemdConfFolder, options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'] })),
    ...(inputs.figuresRoot === undefined ? [] : figureFiles.map((file) => ({ destination: file, type: 'bind', source: join(inputs.figuresRoot ?? '/', file), options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'] }))),
    ...(inputs.rescuedRoot === undefined ? [] : [{ destination: rescueMountPoint, type: 'bind', source: inputs.rescuedRoot, options: ['bind', 'rw', 'nodev'] }]),
  ];
}

/**
 * Drop-in of systemd's configuration: without it every service with its own mount namespace binds `memory.pressure`, which criu cannot restore,
 * and the user manager of everybody who logs in watches its own (user@.service overrides the default, hence the environment).
 */
export const systemdConf = `# Written by haulier: criu cannot carry PSI triggers.
[Manager]
DefaultMemoryPressureWatch=off
ManagerEnvironment=MEMORY_PRESSURE_WATCH=/dev/null
`;

/** Hidden from the container, although in a user namespace most are unreadable anyway. */
export const maskedPaths: readonly string[] = ['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/sched_debug', '/proc/scsi', '/proc/timer_list', '/proc/timer_stats', '/sys/firmware'];

/** Read-only in the container. `/proc/sys` is not among them: its network part is the guest's own, the rest refuses its root. */
export const readonlyPaths: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sysrq-trigger'];

/** What criu is told, at a dump and at a restore alike; the reasons of each are measured in criu-and-runtimes.md sections 2 and 5. */
import type { CgroupLayout } from '../cgroup.js';

/**
 * Options that the runtime has a flag for.
 * `soft`: criu re-makes the control groups below the container's own, which the runtime made, and the cgroup namespace.
 */
export const runtimeCriuOptions: readonly string[] = ['--tcp-established', '--file-locks', '--ext-unix-sk', '--manage-cgroups-mode=soft'];

/**
 * More for a restore. `shell-job`: a console that processes hold open without a session of theirs having it (sysvinit's children that
 * wait for a getty) is made anew and handed to the monitor, as one that a session has; without it "No task found with sid 0".
 */
export const restoreCriuOptions: readonly string[] = [...runtimeCriuOptions, '--shell-job'];

/** Largest open file without a name that goes into the images; criu's own limit of 1 MiB is soon reached by a log or a database. */
const ghostLimit = '1G';

/**
 * criu's configuration file of a container (annotation `org.criu.config`): what the runtime has no flag for.
 * nftables: criu's default runs iptables, which is slower and not on every host. `skip`: see network-lock.ts.
 * Not `link-remap`: criu takes its temporary names away again at the end of a dump that leaves the container in place.
 */
export const criuConfigWith = (networkLock: 'nftables' | 'skip'): string => `network-lock ${networkLock}\nghost-limit ${ghostLimit}\n`;

/** The usual one. */
export const criuConfig = criuConfigWith('nftables');

/** For the restore of one that is hauled: its ports are mute until it runs, and criu opens all connections at the same moment. */
export const haulCriuConfig = criuConfigWith('skip');

/**
 * The same for a container that resumes from an image. Its connections cannot live: the peers have forgotten them, or were never
 * its own. Restored closed, a program sees them end. On a host with cgroup v2 alone the runtime does not tell criu that the
 * container's group has another name than the one in the images.
 */
export function imageCriuConfig(layout: CgroupLayout, cgroupsPath: string): string {
  return `${criuConfig}tcp-close\n${layout.pureCgroup2 ? `cgroup-root ${cgroupsPath}\n` : ''}`;
}

/** `restoreCriuOptions` for it. */
export const imageRuntimeOptions: readonly string[] = restoreCriuOptions.filter((option) => option !== '--tcp-established');

/**
 * What criu and the kernel of this host can do beyond running containers, probed once and beside everything else: for `haulier check`,
 * the traits at placement and the metrics. An ability that is absent costs a feature, never the service.
 */
import { Semaphore } from '../base/lock.js';
import { run } from '../base/run.js';
import { criuProblem, readHostFacts } from './checkpoint/facts.js';
import type { ContainerHostOptions } from './container-host.js';
import { runtimeEnvironment } from './runtime/runc.js';

/** One feature that criu can check. */
interface Feature {
  /** criu's name of it (`criu check --feature`). */
  readonly name: string;
  /** Without it nothing can be frozen; else only what `about` says is lost. */
  readonly needed: boolean;
  readonly about: string;
  /** What the operator can do about its absence. */
  readonly advice: string;
}

/** Those that Haulier has a use for. */
export const featureTable = [
  { name: 'userns', needed: true, about: 'user namespaces', advice: 'The kernel needs CONFIG_USER_NS, and user.max_user_namespaces must not be 0.' },
  { name: 'cgroupns', needed: true, about: 'cgroup namespaces', advice: 'Use Linux 4.6 or newer.' },
  { name: 'seccomp_filters', needed: true, about: 'processes with seccomp filters', advice: 'The kernel needs CONFIG_SECCOMP_FILTER and CONFIG_CHECKPOINT_RESTORE.' },
  { name: 'network_lock_nftables', needed: true, about: 'network lock by nftables while connections are saved', advice: 'Install nftables, and load the kernel module nf_tables; criu must be built with libnftables.' },
  { name: 'tcp_half_closed', needed: true, about: 'TCP repair: connections are kept', advice: 'Use Linux 4.10 or newer.' },
  { name: 'sockopt_buf_lock', needed: false, about: 'socket buffer sizes that were left to the kernel stay so', advice: 'Use Linux 5.14 or newer.' },
  { name: 'timens', needed: false, about: 'time namespaces: clocks that do not jump when a guest comes to another boot or host', advice: 'The kernel needs CONFIG_TIME_NS (Linux 5.11 or newer).' },
  { name: 'mem_dirty_track', needed: false, about: 'dirty tracking: memory copied ahead of a freeze', advice: 'The kernel needs CONFIG_MEM_SOFT_DIRTY.' },
  { name: 'pagemap_scan', needed: false, about: 'PAGEMAP_SCAN: quick look for pages that changed', advice: 'Use Linux 6.7 or newer.' },
  { name: 'uffd', needed: false, about: 'userfaultfd: lazy pages', advice: 'The kernel needs CONFIG_USERFAULTFD.' },
  { name: 'uffd-noncoop', needed: false, about: 'lazy pages of processes that fork and map', advice: 'Use Linux 4.11 or newer, with CONFIG_USERFAULTFD.' },
  { name: 'move_mount_set_group', needed: false, about: 'mounts restored by the newer engine', advice: 'Use Linux 5.15 or newer.' },
  { name: 'overlayfs_maps', needed: false, about: 'files mapped from overlayfs are named rightly by the kernel', advice: 'Use Linux 6.8 or newer.' },
] as const satisfies readonly Feature[];

/** criu's name of a feature. */
export type FeatureName = (typeof featureTable)[number]['name'];

/** What was found. */
export interface Abilities {
  /** Its version; undefined if it cannot be run. */
  readonly criu: string | undefined;
  readonly kernel: string;
  /** Why nothing can be frozen on this host, in plain words; undefined if containers can be. */
  readonly problem: string | undefined;
  readonly features: Readonly<Record<FeatureName, boolean>>;
}

/** For one question, and for all of them. */
const timeoutMs = 10_000;
const totalMs = 20_000;
/** So many criu run at once: beside the start of the service, on a host that has other work. */
const atOnce = 3;

/** Looks at everything. Changes nothing; never throws: what cannot be asked is absent. */
export async function probeAbilities(options: Pick<ContainerHostOptions, 'criu' | 'runc'>): Promise<Abilities> {
  const env = runtimeEnvironment(options.criu);
  const turn = new Semaphore(atOnce);
  const signal = AbortSignal.timeout(totalMs);
  const says = (args: readonly string[]): Promise<boolean> => turn.use(() => run(options.criu, ['check', ...args], { timeoutMs, env, signal }).then(() => true, () => false));
  const [facts, unfit] = await Promise.all([readHostFacts(options).catch(() => undefined), criuProblem(options)]);
  const kernel = facts?.kernel ?? '';
  const none = Object.fromEntries(featureTable.map(({ name }) => [name, false])) as Record<FeatureName, boolean>;
  if (!facts) return { criu: undefined, kernel, problem: unfit, features: none };
  const [passes, ...found] = await Promise.all([says([]), ...featureTable.map(({ name }) => says(['--feature', name]))]);
  const features = Object.fromEntries(featureTable.map(({ name }, index) => [name, found[index] === true])) as Record<FeatureName, boolean>;
  const lacking = featureTable.filter(({ name, needed }) => needed && !features[name]);
  const problem = unfit
    ?? (passes ? undefined : '`criu check` fails: the kernel lacks what criu cannot do without')
    ?? (lacking.length > 0 ? `criu or the kernel lacks ${lacking.map(({ name, about }) => `${name} (${about})`).join(', ')}` : undefined);
  return { criu: facts.criu, kernel, problem, features };
}

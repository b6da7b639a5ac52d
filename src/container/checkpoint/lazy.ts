/**
 * Whether a resume may be lazy: the processes run before their memory is read, a daemon brings it in while they do.
 *
 * criu makes the userfaultfd inside the restored processes, which are in a user namespace: the kernel allows that only with
 * `vm.unprivileged_userfaultfd` = 1. That setting is the host's and the operator's; guests are kept from the call by their filter.
 */
import { readFile } from 'node:fs/promises';
import { run } from '../../base/run.js';
import type { ContainerHostOptions } from '../container-host.js';
import { runtimeEnvironment } from '../runtime/runc.js';

/** Below this the daemon costs more than reading all at once. */
const worthBytes = 64 * 1024 * 1024;
const checkTimeoutMs = 20_000;
const known = new Map<string, Promise<boolean>>();

/** Why no resume can be lazy on this host; undefined if it can. The answer of criu is asked for once. */
export async function lazyProblem({ criu }: Pick<ContainerHostOptions, 'criu'>): Promise<string | undefined> {
  const allowed = await readFile('/proc/sys/vm/unprivileged_userfaultfd', 'utf8').catch(() => '');
  if (allowed.trim() !== '1') return 'vm.unprivileged_userfaultfd is not 1';
  const able = known.get(criu) ?? run(criu, ['check', '--feature', 'uffd-noncoop'], { timeoutMs: checkTimeoutMs, env: runtimeEnvironment(criu) }).then(() => true, () => false);
  known.set(criu, able);
  return (await able) ? undefined : 'criu or the kernel lacks uffd-noncoop';
}

/** True if a checkpoint of that size is resumed lazily here. */
export async function resumesLazily(options: Pick<ContainerHostOptions, 'criu' | 'lazyResume'>, bytes: number): Promise<boolean> {
  return options.lazyResume === 'auto' && bytes >= worthBytes && (await lazyProblem(options)) === undefined;
}

/**
 * Whether a resume may be lazy: the processes run before their memory is read, a daemon brings it in while they do.
 *
 * criu makes the userfaultfd inside the restored processes, which are in a user namespace: the kernel allows that only with
 * `vm.unprivileged_userfaultfd` = 1. That setting is the host's and the operator's; guests are kept from the call by their filter.
 */
import { readFile } from 'node:fs/promises';
import { isHaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import type { FeatureName } from '../abilities.js';
import type { ContainerHostOptions } from '../container-host.js';
import type { HostParts } from '../parts.js';
import { runtimeEnvironment } from '../runtime/runc.js';
import type { CheckpointMeta } from './images.js';
import { watchdogProblem } from './watchdog.js';

/** Below this the daemon costs more than reading all at once. */
const worthBytes = 64 * 1024 * 1024;
const checkTimeoutMs = 60_000;
const known = new Map<string, Promise<boolean>>();

/** Why no resume can be lazy on this host; undefined if it can. */
export async function lazyProblem(options: Pick<ContainerHostOptions, 'criu'>): Promise<string | undefined> {
  const allowed = await readFile('/proc/sys/vm/unprivileged_userfaultfd', 'utf8').catch(() => '');
  if (allowed.trim() !== '1') return 'vm.unprivileged_userfaultfd is not 1';
  return (await hasFeature(options, 'uffd-noncoop')) ? undefined : 'criu or the kernel lacks uffd-noncoop';
}

/** Largest pipe that criu's page server wants: one that it does not get it does not notice, and fails later. */
const pipeBytes = 16 * 1024 * 1024;
const sysResource = 1n << 24n;

/** Why criu's page server would fail here. @param status text of /proc/self/status @param largest of /proc/sys/fs/pipe-max-size */
export function pipeProblem(status: string, largest: string): string | undefined {
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  return (capabilities & sysResource) === 0n && Number(largest) < pipeBytes ? `fs.pipe-max-size is below ${pipeBytes}, and the service lacks CAP_SYS_RESOURCE` : undefined;
}

/** Why no dump can leave the memory where it is on this host (`ReadyLazyDump`); undefined if it can. */
export async function lazyDumpProblem(options: Pick<ContainerHostOptions, 'criu'>): Promise<string | undefined> {
  const problem = pipeProblem(await readFile('/proc/self/status', 'utf8'), await readFile('/proc/sys/fs/pipe-max-size', 'utf8'));
  return problem ?? ((await hasFeature(options, 'uffd-noncoop')) ? undefined : 'criu or the kernel lacks uffd-noncoop');
}

/** Why memory cannot be copied ahead of a freeze on this host; undefined if it can. */
export async function trackingProblem(options: Pick<ContainerHostOptions, 'criu'>): Promise<string | undefined> {
  return (await hasFeature(options, 'mem_dirty_track')) ? undefined : 'the kernel has no dirty tracking (CONFIG_MEM_SOFT_DIRTY)';
}

/** The answer of criu is asked for once; that a busy host gave none in time is no answer. */
async function hasFeature({ criu }: Pick<ContainerHostOptions, 'criu'>, feature: FeatureName): Promise<boolean> {
  const key = `${feature} ${criu}`;
  const able = known.get(key) ?? run(criu, ['check', '--feature', feature], { timeoutMs: checkTimeoutMs, env: runtimeEnvironment(criu) }).then(() => true, (error: unknown) => {
    if (isHaulierError(error, 'COMMAND_TIMEOUT')) known.delete(key);
    return false;
  });
  known.set(key, able);
  return await able;
}

/** True if this checkpoint is resumed lazily here. Where only its watchdog forbids it, that is logged. */
export async function resumesLazily({ options, log }: Pick<HostParts, 'options' | 'log'>, id: string, { bytes, watchdogSeconds }: Pick<CheckpointMeta, 'bytes' | 'watchdogSeconds'>): Promise<boolean> {
  if (options.lazyResume !== 'auto' || bytes < worthBytes || (await lazyProblem(options)) !== undefined) return false;
  const problem = watchdogProblem(watchdogSeconds);
  if (problem) log.info({ instance: id }, `not a lazy resume: ${problem}`);
  return problem === undefined;
}

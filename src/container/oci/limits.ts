/** Limits of a container as OCI resources. All of them stand in `config.json`, because a restore takes them from there. */
import type { LimitSpec } from '../spec.js';
import type { OciResources } from './config.js';

const mebibyte = 1024 * 1024;
const defaultPeriod = 100_000;
const sharesPerCpu = 1024;
const maxShares = 262_144;

/**
 * Translates limits.
 * @param limits what the flavor asks for
 * @param swapLimits true if the kernel can limit swap
 */
export function ociResources(limits: LimitSpec, swapLimits: boolean): OciResources {
  const period = limits.cpuPeriod ?? defaultPeriod;
  const quota = limits.cpuQuota ?? limits.vcpus * period;
  const memory = limits.memoryMiB * mebibyte;
  return {
    devices: [{ allow: false, access: 'rwm' }],
    cpu: {
      shares: Math.min(limits.cpuShares ?? limits.vcpus * sharesPerCpu, maxShares),
      ...(quota > 0 ? { quota } : {}),
      period,
    },
    // OCI's `swap` is memory and swap together, as in cgroup v1.
    memory: { limit: memory, ...(swapLimits ? { swap: memory + limits.swapMiB * mebibyte } : {}) },
    pids: { limit: limits.pids },
  };
}

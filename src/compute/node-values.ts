/** What the ComputeNode record says of this host (contract D.4). */
import { packageVersion } from '../base/package-root.js';
import type { HostResources } from '../container/spec.js';
import type { ComputeNodeValues } from '../nova/compute-node.js';
import type { Conductor } from '../nova/types.js';
import type { Node } from './compute.js';
import type { ComputeSettings } from './settings.js';
import type { Usage } from './usage.js';

/** Reported to Nova as `hypervisor_type`; the same on all Haulier hosts, as live migration demands (contract D.4). */
export const hypervisorType = 'haulier';

/** What moves much data (nova/compute/stats.py `io_workload`). */
const ioTasks = new Set(['resize_migrating', 'rebuilding', 'resize_prep', 'image_snapshot', 'image_backup', 'rescuing', 'unshelving']);

/** What is known of the host besides its instances. */
export interface TrackedHost {
  readonly settings: ComputeSettings;
  readonly node: Node;
  readonly resources: HostResources;
  readonly release: Conductor['release'];
  /** Since the last one that succeeded: it lowers this host's weight at the scheduler. */
  readonly failedBuilds: number;
}

/**
 * What the record says now.
 * @param instances those of this host; `moving`: what else is claimed here for moves
 */
export function recordValues(of: TrackedHost, instances: readonly Usage[], moving: readonly Usage[]): ComputeNodeValues {
  const { settings, node, resources } = of;
  const taken = [...instances, ...moving];
  const sum = (pick: (usage: Usage) => number): number => taken.reduce((total, usage) => total + pick(usage), 0);
  const memoryUsed = settings.reservedMemoryMb + sum((usage) => usage.memoryMb);
  const diskUsed = Math.ceil(settings.reservedDiskMb / 1024) + sum((usage) => usage.diskGb);
  return {
    hypervisor_type: hypervisorType,
    hypervisor_version: packageVersion.split('.').reduce((number, part) => number * 1000 + (Number.parseInt(part, 10) || 0), 0),
    hypervisor_hostname: node.hypervisorHostname,
    host_ip: settings.myIp,
    vcpus: resources.cpus,
    vcpus_used: settings.reservedCpus + sum((usage) => usage.vcpus),
    memory_mb: resources.memoryMiB,
    memory_mb_used: memoryUsed,
    local_gb: resources.diskGiB,
    local_gb_used: diskUsed,
    free_ram_mb: resources.memoryMiB - memoryUsed,
    free_disk_gb: resources.diskGiB - diskUsed,
    disk_available_least: resources.diskFreeGiB,
    current_workload: instances.filter((usage) => usage.taskState !== 'None').length,
    running_vms: instances.length,
    cpu_info: JSON.stringify({ arch: resources.architecture, model: resources.cpuModel, vendor: resources.cpuVendor, features: resources.cpuFlags, topology: { sockets: 1, cores: resources.cpus, threads: 1 } }),
    stats: stats(of, instances),
    supported: [{ arch: resources.architecture, hv_type: 'lxc', vm_mode: 'exe' }],
  };
}

function stats(of: TrackedHost, instances: readonly Usage[]): Record<string, string> {
  const counts = new Map<string, number>();
  const count = (key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const usage of instances) {
    count('num_instances');
    count(`num_vm_${usage.vmState}`);
    count(`num_task_${usage.taskState}`);
    count(`num_os_type_${usage.osType}`);
    count(`num_proj_${usage.project}`);
  }
  return {
    failed_builds: String(of.failedBuilds),
    ...(instances.length > 0 ? { io_workload: String(instances.filter((usage) => usage.vmState === 'building' || ioTasks.has(usage.taskState)).length) } : {}),
    ...(of.release === '2026.2' ? { uptime: of.resources.uptime } : {}),
    ...Object.fromEntries([...counts].map(([key, number]) => [key, String(number)])),
  };
}

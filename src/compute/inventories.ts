/** Placement inventories of the host (nova/virt/libvirt/driver.py `update_provider_tree`, contract E.1). */
import type { ComputeSettings } from './settings.js';
import type { HostResources } from '../container/spec.js';
import type { Inventory } from '../openstack/types.js';

/**
 * Inventories to PUT. A ratio that is not configured stays what placement has, so that operators may set it there.
 * @param present what placement has now
 */
export function inventoriesOf(resources: HostResources, settings: ComputeSettings, present: Readonly<Record<string, Inventory>>): Record<string, Inventory> {
  const row = (name: string, total: number, reserved: number, fixed: number | undefined, initial: number): [string, Inventory][] =>
    total > 0 ? [[name, { total, reserved: Math.min(reserved, total), min_unit: 1, max_unit: total, step_size: 1, allocation_ratio: fixed ?? present[name]?.allocation_ratio ?? initial }]] : [];
  return Object.fromEntries([
    ...row('VCPU', resources.cpus, settings.reservedCpus, settings.cpuAllocationRatio, settings.initialCpuAllocationRatio),
    ...row('MEMORY_MB', resources.memoryMiB, settings.reservedMemoryMb, settings.ramAllocationRatio, settings.initialRamAllocationRatio),
    ...row('DISK_GB', resources.diskGiB, Math.ceil(settings.reservedDiskMb / 1024), settings.diskAllocationRatio, settings.initialDiskAllocationRatio),
  ]);
}

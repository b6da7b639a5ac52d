/** The flavors of the built-in control plane. */
import type { Row } from '../cell/table.js';
import { primitive } from '../cell/wire.js';
import type { Amounts } from '../rest/inventory.js';

/** One flavor: sizes in MiB and GiB. */
export interface FlavorRow { readonly id: number; readonly name: string; readonly vcpus: number; readonly ram: number; readonly disk: number }

export const flavors: readonly FlavorRow[] = [
  { id: 1, name: 'nano', vcpus: 1, ram: 128, disk: 1 },
  { id: 2, name: 'tiny', vcpus: 1, ram: 512, disk: 4 },
  { id: 3, name: 'small', vcpus: 2, ram: 2048, disk: 10 },
];

/** The `Flavor` object. */
export function flavorObject(flavor: FlavorRow): Row {
  return primitive('Flavor', {
    id: flavor.id, name: flavor.name, memory_mb: flavor.ram, vcpus: flavor.vcpus, root_gb: flavor.disk, ephemeral_gb: 0, flavorid: flavor.name, swap: 0, rxtx_factor: 1.0,
    vcpu_weight: 0, disabled: false, is_public: true, extra_specs: {}, description: null, created_at: null, updated_at: null, deleted_at: null, deleted: false,
  });
}

/** What it takes of a host. */
export function resourcesOf(flavor: FlavorRow): Amounts {
  return { VCPU: flavor.vcpus, MEMORY_MB: flavor.ram, DISK_GB: flavor.disk };
}

/** A flavor as plain values. */
import type { NovaObject } from './object.js';

/** Nova's `Flavor`. */
export interface Flavor {
  /** Row id; `Migration.old_instance_type_id` and `Instance.instance_type_id` mean this. */
  readonly id: number;
  /** The id that users see. */
  readonly flavorid: string;
  readonly name: string;
  readonly vcpus: number;
  /** MiB. */
  readonly memoryMb: number;
  /** GiB; 0 means as large as the image. */
  readonly rootGb: number;
  /** GiB. */
  readonly ephemeralGb: number;
  /** MiB, unlike the other disks. */
  readonly swapMb: number;
  readonly rxtxFactor: number;
  readonly vcpuWeight: number | undefined;
  readonly extraSpecs: Readonly<Record<string, string>>;
}

/** Reads a `Flavor` object; what is unset or null becomes 0, 1.0 or empty. */
export function flavorOf(object: NovaObject): Flavor {
  return {
    id: object.number('id') ?? 0,
    flavorid: object.text('flavorid') ?? '',
    name: object.text('name') ?? '',
    vcpus: object.number('vcpus') ?? 0,
    memoryMb: object.number('memory_mb') ?? 0,
    rootGb: object.number('root_gb') ?? 0,
    ephemeralGb: object.number('ephemeral_gb') ?? 0,
    swapMb: object.number('swap') ?? 0,
    rxtxFactor: object.number('rxtx_factor') ?? 1,
    vcpuWeight: object.number('vcpu_weight'),
    extraSpecs: object.strings('extra_specs'),
  };
}

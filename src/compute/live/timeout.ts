/** How long a live migration may take (nova/virt/libvirt/driver.py `_live_migration_data_gb`). */
import type { Compute, InstanceCall } from '../compute.js';

const gib = 1024 ** 3;
/** GiB that memory and disk count as at least. */
const least = 2;

/** Seconds; 0: as long as it likes. */
export async function completionSeconds(compute: Compute, { instance, uuid }: Pick<InstanceCall, 'instance' | 'uuid'>): Promise<number> {
  const { liveMigrationCompletionTimeout: each } = compute.settings;
  if (each === 0) return 0;
  const memory = (instance.object('flavor')?.number('memory_mb') ?? instance.number('memory_mb') ?? 0) / 1024;
  const disk = (await compute.containers.moves.diskBytes(uuid)) / gib;
  return Math.floor(each * (Math.max(least, memory) + Math.max(least, disk)));
}

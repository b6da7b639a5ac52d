/** Takes a server's ports away: its own are deleted, the user's go back to him (contract F.2). */
import type { Compute } from '../compute.js';
import { dropRows, unbindPort } from './allocate.js';
import { preservedPorts, saveVifs, storedVifs } from './info-cache.js';
import { serviceScope } from '../scope.js';
import { isHaulierError } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { VifInfo } from '../../nova/network-info.js';
import type { NovaObject } from '../../nova/object.js';

const attempts = 3;

async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= attempts || !isHaulierError(error, 'REST_UNREACHABLE')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
    }
  }
}

/**
 * Deletes or gives back every port of the server, its virtual interface rows and its cache. Idempotent.
 * @param vifs the cache before, which alone knows the user's own ports
 * @param requested port ids that the user named, for a server whose cache was never written
 */
export async function deallocateNetworks(compute: Compute, context: WireContext, instance: NovaObject, vifs: readonly VifInfo[], requested: ReadonlySet<string> = new Set()): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  const keep = new Set([...requested, ...preservedPorts(vifs)]);
  const ports = await again(() => compute.neutron.ports(serviceScope(context), { device_id: uuid }));
  await Promise.all(ports.map((port) => again(() => (keep.has(port.id) ? unbindPort(compute, context, port) : compute.neutron.deletePort(serviceScope(context), port.id)))));
  await Promise.all([
    compute.conductor.classCall(context, 'VirtualInterface', 'delete_by_instance_uuid', [uuid]),
    compute.cacheLocks.hold(uuid, () => saveVifs(compute, context, uuid, [], instance)),
  ]);
}

/** Takes one port away from a server that keeps the others: deleted, or given back, its row and its entry in the cache with it. Idempotent. */
export async function deallocatePort(compute: Compute, context: WireContext, instance: NovaObject, vif: VifInfo): Promise<void> {
  const uuid = instance.text('uuid') ?? '';
  // neutron says at once that the port is gone, and whoever hears that waits for this
  await compute.cacheLocks.hold(uuid, async () => {
    await again(() => (vif.preserve_on_delete ? unbindPort(compute, context, { id: vif.id, 'binding:profile': vif.profile ?? {} }) : compute.neutron.deletePort(serviceScope(context), vif.id)));
    await dropRows(compute, context, uuid, (port) => port === vif.id);
    await saveVifs(compute, context, uuid, (await storedVifs(compute, context, uuid)).filter(({ id }) => id !== vif.id), instance);
  });
}

/** Takes a server's ports away: its own are deleted, the user's go back to him (contract F.2). */
import type { Compute } from '../compute.js';
import { unbindPort } from './allocate.js';
import { preservedPorts, saveVifs } from './info-cache.js';
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

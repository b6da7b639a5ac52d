/** One server a run: its info cache rebuilt from neutron (nova/compute/manager.py `_heal_instance_info_cache`; off since 2025.1). */
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { refreshVifs } from './info-cache.js';
import { adminContext } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

const queues = new WeakMap<Compute, string[]>();

/** Refreshes the next server's cache. */
export async function healInfoCaches(compute: Compute): Promise<void> {
  const context = adminContext();
  let queue = queues.get(compute);
  if (!queue?.length) {
    const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_host', [compute.settings.host], { expected_attrs: [], use_slave: true })) as NovaObject;
    queue = list.objects().filter((instance) => instance.text('vm_state') !== 'building' && instance.get('task_state') !== 'deleting').map(uuidOf);
    queues.set(compute, queue);
  }
  const next = queue.shift();
  if (next) await refreshVifs(compute, context, next);
}

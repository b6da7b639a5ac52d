/** Methods about the host: uptime, enabling, image cache, network refresh (contract C.17). */
import type { Call, Compute, InstanceCall } from '../compute.js';
import { imageSource } from '../image-source.js';
import { refreshVifs } from '../network/info-cache.js';
import { serviceScope } from '../scope.js';
import { messageOf } from '../../base/errors.js';

/** get_host_uptime. */
export async function getHostUptime(compute: Compute): Promise<string> {
  return (await compute.containers.resources()).uptime;
}

/** set_host_enabled: the record was changed by the API; here the provider's trait follows (best effort, as Nova's). */
export async function setHostEnabled(compute: Compute, call: Call): Promise<string> {
  const enabled = call.args['enabled'] === true;
  try {
    await compute.placement.setTraits(compute.node.uuid, enabled ? [] : ['COMPUTE_STATUS_DISABLED'], enabled ? ['COMPUTE_STATUS_DISABLED'] : []);
  } catch (error) {
    compute.log.warn({ err: error }, `cannot change the provider's status trait: ${messageOf(error)}`);
  }
  return enabled ? 'enabled' : 'disabled';
}

/** cache_images: fills the cache, one image after the other. */
export async function cacheImages(compute: Compute, call: Call): Promise<Record<string, string>> {
  const ids = Array.isArray(call.args['image_ids']) ? (call.args['image_ids'] as string[]) : [];
  const results: Record<string, string> = {};
  for (const id of ids) {
    try {
      const image = await compute.glance.image(serviceScope(call.context, call.operation.signal), id);
      results[id] = (await compute.containers.ensureImage(imageSource(compute, call.context, { ...image }, 0), call.operation)) ? 'existing' : 'cached';
    } catch (error) {
      call.operation.throwIfAborted();
      compute.log.warn({ err: error, image: id }, 'cannot cache the image');
      results[id] = 'error';
    }
  }
  return results;
}

/** inject_network_info: the cache is brought in step with neutron. */
export async function injectNetworkInfo(compute: Compute, call: InstanceCall): Promise<void> {
  await refreshVifs(compute, call.context, call.uuid);
}

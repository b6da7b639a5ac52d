/**
 * The trees below a container's own layer, its image's and its templates', on their way: from the destination's own cache, or, where that
 * lacks one, once from the source, packed anew. Each is asked for by itself, the lowest first.
 */
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { HostParts } from '../../container/parts.js';
import { archiveTree } from '../../container/snapshot/archive.js';
import type { CachedLayer } from '../../container/storage-port.js';
import { archiveLayer } from '../../container/template/archive.js';
import type { HaulChannel } from '../wire/channel.js';
import type { Offer, OfferedLayer } from './offer.js';

/** Sends those that the other side asks for. */
export async function serveLayers(channel: HaulChannel, layers: readonly CachedLayer[], signal: AbortSignal): Promise<void> {
  for (const { tree, record } of layers) {
    const { needed } = await channel.receive(['base'], signal);
    if (needed !== true) continue;
    const archive = record.layer ? await archiveLayer(tree, signal) : archiveTree(tree);
    try {
      await pipeline(archive.stream, channel.openStream('base', { digest: true }), { signal });
    } finally {
      await archive.end();
    }
  }
}

/** Makes sure that all are here. @throws HAUL_FAILED if this host has another image under that name, and what unpacking throws */
export async function fetchLayers(parts: HostParts, channel: HaulChannel, offer: Offer, operation: Operation): Promise<void> {
  await fetchLayer(parts, channel, offer.base, false, operation);
  for (const template of offer.templates ?? []) await fetchLayer(parts, channel, template, true, operation);
}

async function fetchLayer(parts: HostParts, channel: HaulChannel, { id, key, checksum, application }: OfferedLayer, layer: boolean, operation: Operation): Promise<void> {
  let asked = false;
  const cached = await parts.storage.ensureImage({
    id, checksum, size: undefined, diskFormat: 'raw', containerFormat: 'bare', repacked: true, ...(application ? { application } : {}), ...(layer ? { layer } : {}),
    open: async (signal) => {
      asked = true;
      channel.send({ type: 'base', needed: true });
      return await channel.acceptStream('base', signal);
    },
  }, operation);
  if (!asked) channel.send({ type: 'base', needed: false });
  operation.log.info({ image: id, key, cached, ...(layer ? { template: true } : {}) }, `${layer ? 'template' : 'image'} of the container is here`);
  if (!(await parts.storage.images()).includes(id)) throw new HaulierError('HAUL_FAILED', { reason: `image ${id} is not in this host's cache` });
}

/** The image's tree on its way: from the destination's own cache, or, where that lacks it, once from the source, packed anew. */
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { HostParts } from '../../container/parts.js';
import { archiveTree } from '../../container/snapshot/archive.js';
import type { HaulChannel } from '../wire/channel.js';
import type { Offer } from './offer.js';

/** Sends it if the other side asks. */
export async function serveBase(channel: HaulChannel, tree: string, signal?: AbortSignal): Promise<void> {
  const { needed } = await channel.receive(['base'], signal);
  if (needed !== true) return;
  const archive = archiveTree(tree);
  try {
    await pipeline(archive.stream, channel.openStream('base', { digest: true }), { signal });
  } finally {
    await archive.end();
  }
}

/** Makes sure that it is here. @throws HAUL_FAILED if this host has another image under that name, and what unpacking throws */
export async function fetchBase(parts: HostParts, channel: HaulChannel, offer: Offer, operation: Operation): Promise<void> {
  const { id, key, checksum, application } = offer.base;
  let asked = false;
  const cached = await parts.storage.ensureImage({
    id, checksum, size: undefined, diskFormat: 'raw', containerFormat: 'bare', repacked: true, ...(application ? { application } : {}),
    open: async (signal) => {
      asked = true;
      channel.send({ type: 'base', needed: true });
      return await channel.acceptStream('base', signal);
    },
  }, operation);
  if (!asked) channel.send({ type: 'base', needed: false });
  operation.log.info({ image: id, key, cached }, 'image of the container is here');
  const here = await parts.storage.images();
  // a template's own marks (overlayfs's attributes and whiteouts) are not in an archive of an image: it comes from Glance, ahead
  const lacking = [id, ...(offer.spec.templates ?? [])].find((image) => !here.includes(image));
  if (lacking !== undefined) throw new HaulierError('HAUL_FAILED', { reason: `image ${lacking} is not in this host's cache` });
}

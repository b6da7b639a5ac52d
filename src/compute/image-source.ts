/** Binds an image to Glance: checks what Nova says of it, and opens its bytes with the user's rights (contract G). */
import type { Compute } from './compute.js';
import { userScope } from './scope.js';
import { HaulierError } from '../base/errors.js';
import type { ImageSource } from '../container/spec.js';
import type { WireContext } from '../messaging/types.js';

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
const gib = 1024 ** 3;

/** Property of a template's image. */
export const templateProperty = 'haulier:template';

/** Whether an image with these properties is a template: a layer for others. */
export function isTemplate(properties: unknown): boolean {
  return typeof properties === 'object' && properties !== null && String((properties as Record<string, unknown>)[templateProperty]).toLowerCase() === 'true';
}

/**
 * The source of a boot's image.
 * @param image the RPC's `image`: Nova's translated dict, `{}` for a volume-backed server
 * @param rootGiB the flavor's root disk; 0: unchecked
 * @throws IMAGE_UNACCEPTABLE, IMAGE_TOO_LARGE
 */
export function imageSource(compute: Compute, context: WireContext, image: Readonly<Record<string, unknown>>, rootGiB: number): ImageSource {
  const id = text(image['id']);
  if (!id) throw new HaulierError('UNSUPPORTED', { what: 'booting from a volume' });
  if (image['status'] !== 'active') throw new HaulierError('IMAGE_UNACCEPTABLE', { image: id, reason: `it is ${String(image['status'])}, not active` });
  const size = typeof image['size'] === 'number' ? image['size'] : undefined;
  const minDisk = typeof image['min_disk'] === 'number' ? image['min_disk'] : 0;
  if (rootGiB > 0 && size !== undefined && size > rootGiB * gib) throw new HaulierError('IMAGE_TOO_LARGE', { image: id, reason: `${size} bytes do not fit into ${rootGiB} GiB` });
  if (rootGiB > 0 && minDisk > rootGiB) throw new HaulierError('IMAGE_TOO_LARGE', { image: id, reason: `it needs ${minDisk} GiB, the flavor has ${rootGiB}` });
  const algorithm = text(image['os_hash_algo']);
  const value = text(image['os_hash_value']);
  const md5 = text(image['checksum']);
  return {
    id,
    size,
    checksum: algorithm && value ? { algorithm, value } : md5 ? { algorithm: 'md5', value: md5 } : undefined,
    diskFormat: text(image['disk_format']) ?? '',
    containerFormat: text(image['container_format']) ?? '',
    ...(isTemplate(image['properties']) ? { layer: true } : {}),
    open: (signal) => compute.glance.download(userScope(context, signal), id),
  };
}

/** Binds an image to Glance: checks what Nova says of it, and opens its bytes with the user's rights (contract G). */
import type { Compute } from './compute.js';
import { userScope } from './scope.js';
import { HaulierError } from '../base/errors.js';
import { parseApplication, type ApplicationConfig } from '../container/application/config.js';
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
 * Property of an image with what its servers run, as JSON: a snapshot of an application container has it, since its tree alone does not
 * say. It counts more than what an archive's own configuration says.
 */
export const applicationProperty = 'haulier:application';

/** @throws IMAGE_UNACCEPTABLE if it is nonsense */
function applicationIn(id: string, properties: unknown): ApplicationConfig | undefined {
  const said = typeof properties === 'object' && properties !== null ? (properties as Record<string, unknown>)[applicationProperty] : undefined;
  if (typeof said !== 'string' || said === '') return undefined;
  try {
    return parseApplication(JSON.parse(said));
  } catch (error) {
    throw new HaulierError('IMAGE_UNACCEPTABLE', { image: id, reason: `its property ${applicationProperty} ${error instanceof SyntaxError ? 'is no JSON' : (error as Error).message}` }, { cause: error });
  }
}

/** What a snapshot's image says of the application in it; of a system nothing. */
export function applicationProperties(application: ApplicationConfig | undefined): Record<string, string> {
  return application ? { [applicationProperty]: JSON.stringify(application) } : {};
}

/** Images younger than this are never taken away: a server that is being made may be about to need one. */
const leastAgeSeconds = 300;

/** run_image_cache_manager_pass: images that nobody has used for the configured time go. */
export async function ageImages(compute: Compute): Promise<void> {
  const removed = await compute.containers.removeUnusedImages(1000 * Math.max(leastAgeSeconds, compute.settings.removeUnusedImagesSeconds));
  if (removed.length > 0) compute.log.info({ images: removed }, 'unused images removed from the cache');
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
  const application = applicationIn(id, image['properties']);
  return {
    id,
    size,
    checksum: algorithm && value ? { algorithm, value } : md5 ? { algorithm: 'md5', value: md5 } : undefined,
    diskFormat: text(image['disk_format']) ?? '',
    containerFormat: text(image['container_format']) ?? '',
    ...(isTemplate(image['properties']) ? { layer: true } : {}),
    ...(application ? { application } : {}),
    open: (signal) => compute.glance.download(userScope(context, signal), id),
  };
}

/** Why an image cannot be had, said plainly. */
import { HaulierError } from '../../base/errors.js';

/** IMAGE_UNACCEPTABLE with the reason in words for the person who uploaded it. */
export function unacceptable(image: string, reason: string, cause?: unknown): HaulierError {
  return new HaulierError('IMAGE_UNACCEPTABLE', { image, reason }, { cause });
}

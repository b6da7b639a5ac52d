/** What Glance claims an image to be, and whether its first bytes bear that out. */
import type { ImageSource } from '../spec.js';
import type { Detected, DiskKind } from './format.js';
import { unacceptable } from './image-error.js';

/** What is to be done with an image, as Glance has it. */
export type Claim = 'tree or disk' | 'qcow2' | 'docker';

/** Glance's `disk_format/container_format`, for each claim. */
const claims: Readonly<Record<string, Claim>> = { 'raw/bare': 'tree or disk', 'qcow2/bare': 'qcow2', 'raw/docker': 'docker' };

/** How the formats are named in messages. */
export const claimText = (source: Pick<ImageSource, 'diskFormat' | 'containerFormat'>): string => `disk format ${source.diskFormat || '(none)'}, container format ${source.containerFormat || '(none)'}`;

/** @throws IMAGE_UNACCEPTABLE for formats that Haulier has no use for */
export function claimOf(source: ImageSource): Claim {
  const claim = claims[`${source.diskFormat}/${source.containerFormat}`];
  if (claim === undefined) throw unacceptable(source.id, `Glance has it as ${claimText(source)}; Haulier takes raw/bare (a tarball, SquashFS or disk of a root file system), qcow2/bare and raw/docker (an OCI layout or docker save archive)`);
  if (source.layer && claim !== 'tree or disk') throw unacceptable(source.id, `Glance has it as ${claimText(source)}; a template is a raw/bare tarball`);
  return claim;
}

/** A tarball, or a disk of that kind. */
export type Found = 'tarball' | DiskKind;

/**
 * Compares the claim with the bytes.
 * @throws IMAGE_UNACCEPTABLE naming both where they do not agree
 */
export function requireClaim(source: ImageSource, claim: Claim, detected: Detected): Found {
  const found = 'packing' in detected ? 'tarball' : 'disk' in detected ? detected.disk : undefined;
  const name = 'packing' in detected ? `a ${detected.packing === 'tar' ? 'tar archive' : `${detected.packing} file`}` : detected.foreign;
  const fits = claim === 'docker' ? found === 'tarball' : claim === 'qcow2' ? found === 'qcow2' : found !== undefined && found !== 'qcow2' && !(source.layer && found !== 'tarball');
  if (found !== undefined && fits) return found;
  throw unacceptable(source.id, `Glance has it as ${claimText(source)}, but it is ${name}`);
}

/** A checkpoint made where the container had another range of ids: criu maps ids as the images say, whatever config.json says. */
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { usernsImage } from '../../container/checkpoint/criu-image.js';
import { checkpointPaths, imageFiles, readMeta, writeMeta } from '../../container/checkpoint/images.js';

/** Writes the images' map for the range from `idBase`. */
export async function rebaseImages(images: string, idBase: number): Promise<void> {
  for (const name of await readdir(images)) {
    if (/^userns-\d+\.img$/.test(name)) await writeFile(join(images, name), usernsImage(await readFile(join(images, name)), idBase));
  }
}

/** The same for a suspended container's checkpoint, with its record. */
export async function rebaseCheckpoint(instanceFolder: string, idBase: number): Promise<void> {
  const paths = checkpointPaths({ folder: instanceFolder });
  const meta = existsSync(paths.meta) ? await readMeta(paths) : undefined;
  if (!meta) return;
  await rebaseImages(paths.images, idBase);
  await writeMeta(paths, { ...meta, files: await imageFiles(paths) });
}

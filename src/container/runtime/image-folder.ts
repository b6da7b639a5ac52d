/** The folder of a checkpoint's images, as criu needs it for a restore into a user namespace. */
import { chmod, chown, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Opens a checkpoint's images to the restore. criu's first child opens `timens-0.img` either before it has taken the mapped root's
 * ids (host id 0 then, without any capability) or after, as it happens: with images of the mapped root alone 3 of 4 restores failed
 * ("Unable to open timens-0.img: Permission denied"). So they belong to the mapped root, and to the host's root as their group.
 * Folders above must let both pass (mode 0711).
 */
export async function openImages(folder: string, idBase: number): Promise<void> {
  for (const name of await readdir(folder)) {
    await chown(join(folder, name), idBase, 0);
    await chmod(join(folder, name), 0o640);
  }
  await chown(folder, idBase, 0);
  await chmod(folder, 0o750);
}

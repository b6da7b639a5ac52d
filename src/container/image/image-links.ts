/**
 * What ties an instance to the cache: symbolic links in its folder, `base` to the image's tree, and `template-1`, `template-2`... to
 * those of the templates over it, the lowest first. They are the use count of the cache's entries.
 */
import { readdir, readlink, symlink, unlink } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';

const baseLink = 'base';
const templateLink = (place: number): string => `template-${place}`;
const isLink = (name: string): boolean => name === baseLink || /^template-\d+$/.test(name);

/** Makes the link of the image (`place` 0) or of a template (from 1) to a tree. @throws the system's error, EEXIST too */
export async function tie(instanceDir: string, place: number, tree: string): Promise<void> {
  const link = join(instanceDir, place === 0 ? baseLink : templateLink(place));
  await symlink(relative(dirname(link), tree), link);
}

/** Takes all of an instance's links away. Idempotent. */
export async function untie(instanceDir: string): Promise<void> {
  for (const name of await linksIn(instanceDir)) await unlink(join(instanceDir, name)).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; });
}

/** Keys of the entries that an instance is tied to, the image's first; undefined for a link that is missing. */
export async function tiedTo(instanceDir: string): Promise<readonly [string | undefined, ...(string | undefined)[]]> {
  const templates = (await linksIn(instanceDir)).filter((name) => name !== baseLink).length;
  return [await keyOf(join(instanceDir, baseLink)), ...await Promise.all(Array.from({ length: templates }, (_, index) => keyOf(join(instanceDir, templateLink(index + 1)))))];
}

/** How many instances below `instancesPath` are tied to each entry, by key. */
export async function countTies(instancesPath: string): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const entry of await readdir(instancesPath, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('_')) continue;
    const folder = join(instancesPath, entry.name);
    for (const name of (await readdir(folder)).filter(isLink)) {
      const key = await keyOf(join(folder, name));
      if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

async function linksIn(instanceDir: string): Promise<readonly string[]> {
  return (await readdir(instanceDir).catch(() => [])).filter(isLink);
}

async function keyOf(link: string): Promise<string | undefined> {
  const target = await readlink(link).catch(() => undefined);
  return target === undefined ? undefined : basename(dirname(target));
}

/**
 * A container's checkpoint out of the image cache. All containers of an image share criu's files, read-only, however many there are.
 * In the container's folder:
 *
 *     checkpoint/shared/   the cache's files, idmapped to the container's range
 *     checkpoint/own/      the two files that say who it is, over them
 *     checkpoint/images/   overlay of both: what criu reads
 *
 * criu reads as the container's root, and once as the host's root group without any capability (images.ts): so the cache's files
 * belong to id 0 and, as group, to id 65536, which the mount shows as the host's root.
 */
import { chmod, chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { run } from '../../base/run.js';
import { usernsImage, utsImage } from '../checkpoint/criu-image.js';
import { makeCheckpointFolders, writeMeta, type CheckpointPaths } from '../checkpoint/images.js';
import { kernelHostName } from '../host-name.js';
import type { HostParts } from '../parts.js';
import type { ContainerSpec } from '../spec.js';
import { layerIdmap } from '../storage/disk.js';
import { mountsUnder } from '../storage/mounts.js';
import type { ImageMemory } from '../storage-port.js';

/** True for the files that each container has of its own. */
export const isOwn = (name: string): boolean => /^(utsns|userns)-/.test(name);

/** Gives a new container the memory of its image. */
export async function giveMemory(paths: CheckpointPaths, { manifest }: ImageMemory): Promise<void> {
  await makeCheckpointFolders(paths);
  await writeMeta(paths, { ...manifest.checkpoint, startedAt: undefined, from: { instance: manifest.instance, addresses: manifest.addresses } });
}

/** Makes `images/` what criu reads. Idempotent: a host's restart takes the mounts away. @throws STATE_DAMAGED, COMMAND_FAILED */
export async function showImages(parts: HostParts, spec: ContainerSpec, idBase: number, paths: CheckpointPaths): Promise<void> {
  if (mountsUnder(paths.images).length > 0) return;
  const memory = await parts.storage.memory(spec.id);
  if (!memory) throw new HaulierError('STATE_DAMAGED', { path: paths.meta, reason: 'its image has no memory' });
  const shared = join(paths.folder, 'shared');
  const own = join(paths.folder, 'own');
  for (const folder of [shared, own]) await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(memory.images)) {
    if (!isOwn(name)) continue;
    const old = await readFile(join(memory.images, name));
    const path = join(own, name);
    await writeFile(path, name.startsWith('uts') ? utsImage(old, kernelHostName(spec.hostname)) : usernsImage(old, idBase), { mode: 0o640 });
    await chmod(path, 0o640);
    await chown(path, idBase, 0);
  }
  await chown(own, idBase, 0);
  await chmod(own, 0o750);
  const options = 'ro,nodev,nosuid,noexec';
  if (mountsUnder(shared).length === 0) await run('mount', ['--bind', '-o', `${options},X-mount.idmap=${layerIdmap(idBase)}`, '--', memory.images, shared]);
  await run('mount', ['-t', 'overlay', '-o', `${options},lowerdir=${own}:${shared}`, '--', 'overlay', paths.images]);
}

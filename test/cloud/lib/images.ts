/** Images for the tests, good and bad, made on the spot. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import { mustRun } from './machine.js';
import type { Scene } from './scene.js';

/** Registers an image and uploads its bytes; no bytes: it stays queued. Removed with the scene. */
export async function upload(scene: Scene, bytes: Buffer | undefined, properties: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const { id } = await scene.admin.call<{ id: string }>('glance', 'POST', '/v2/images', { name: `ct-${randomBytes(3).toString('hex')}`, disk_format: 'raw', container_format: 'bare', ...properties });
  scene.after(() => scene.admin.remove('glance', `/v2/images/${id}`));
  if (bytes) await scene.admin.call('glance', 'PUT', `/v2/images/${id}/file`, bytes);
  return id;
}

/** The bytes of the demo image. */
export async function demoImage(scene: Scene): Promise<Buffer> {
  return Buffer.from(await mustRun('ctl', ['base64', '-w0', `/var/lib/devstack/glance/${scene.ground.image}`]), 'base64');
}

/** Where Glance keeps an image's bytes, in `ctl`. */
export const stored = (id: string): string => `/var/lib/devstack/glance/${id}`;

/** A tarball of a small tree without an init. */
export async function treeWithoutInit(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'haulier-image-'));
  try {
    await mkdir(join(folder, 'tree/etc'), { recursive: true });
    await writeFile(join(folder, 'tree/etc/motd'), 'nobody home\n');
    await symlink('/etc/motd', join(folder, 'tree/motd'));
    await run('tar', ['-C', join(folder, 'tree'), '-cf', join(folder, 'image.tar'), '.']);
    return await readFile(join(folder, 'image.tar'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

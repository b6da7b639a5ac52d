/** What the tests of images share: waiting for one, taking a snapshot, looking whether a host is clean. */
import type { HostName } from './host.js';
import { mustRun, until } from './machine.js';
import type { Scene } from './scene.js';
import type { Server } from './types.js';

/** An image as glance shows it. */
export interface Image { readonly id: string; readonly name: string; readonly status: string; readonly size: number | null; readonly disk_format: string; readonly container_format: string; readonly [property: string]: unknown }

/** The host where a server is. */
export const hostOf = (server: Server): HostName => server['OS-EXT-SRV-ATTR:host'] as HostName;

/** Images of a name, newest first. */
export async function images(scene: Scene, name: string): Promise<readonly Image[]> {
  return (await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?name=${name}&sort=created_at:desc`)).images;
}

/** Its images are deleted with the test. */
export function forget(scene: Scene, name: string): void {
  scene.after(async () => {
    for (const image of await images(scene, name)) await scene.admin.remove('glance', `/v2/images/${image.id}`);
  });
}

/** Waits for an image to be whole. */
export async function whole(scene: Scene, name: string): Promise<Image> {
  return until(`image ${name} active`, 60, async () => (await images(scene, name)).find((image) => image.status === 'active'), () => images(scene, name));
}

/** An image of a server, whole. */
export async function snapshot(scene: Scene, server: Server, name: string): Promise<Image> {
  forget(scene, name);
  await scene.act(server.id, { createImage: { name, metadata: { purpose: 'test' } } });
  const image = await whole(scene, name);
  await until('no task', 20, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === null);
  return image;
}

/** Nothing of a snapshot is left on a host. */
export async function clean(host: HostName, id: string): Promise<string> {
  return (await mustRun(host, ['sh', '-c', `ls -d /var/lib/nova/instances/${id}/snapshot /run/haulier/containers/${id}/frozen* 2>/dev/null; grep ${id}/snapshot /proc/self/mountinfo; losetup -a | grep ${id}/snapshot; true`])).trim();
}

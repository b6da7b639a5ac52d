/** Snapshots with memory through Nova's API: two servers go on from one, each as itself; shelve and unshelve with memory. */
import test from 'ava';
import { guest, type HostName } from './lib/host.js';
import { clean, hostOf, snapshot, type Image } from './lib/snapshots.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Server } from './lib/types.js';

const counter = '(n=0; while :; do n=$((n + 1)); echo $n >/run/count; usleep 100000; done) </dev/null >/dev/null 2>&1 & true';
const count = async (host: HostName, id: string): Promise<number> => Number((await guest(host, id, 'cat /run/count 2>/dev/null || echo 0')).trim());

async function counts(server: Server, beyond: number): Promise<void> {
  await until(`${server.id} counts on from ${beyond}`, 20, async () => (await count(hostOf(server), server.id)) > beyond);
}

const property = { 'haulier:memory': 'true' };

test.serial('two servers, on two hosts, resume from one snapshot with their own names and addresses', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1', extra: { metadata: property } });
  await guest('host1', server.id, counter);
  await counts(server, 5);
  const pid = (await scene.container(server))!.pid;
  const began = Date.now();
  const image = await snapshot(scene, server, `memory-${server.id}`);
  t.log(`image of ${image.size} bytes after ${Date.now() - began} ms`);
  const at = await count('host1', server.id);
  t.like(image, { disk_format: 'raw', container_format: 'bare', 'haulier:memory': 'true', 'haulier:memory_format': '1', 'haulier:memory_architecture': 'x64' });
  t.regex(String(image['haulier:memory_criu']), /^4\./);
  t.true(Number(image['min_ram']) > 0);
  t.like(await scene.container(server), { pid, status: 'running' });
  t.is(await clean('host1', server.id), '');

  const clones = await Promise.all((['host1', 'host2'] as const).map(async (host) => scene.active({ host, image: image.id })));
  for (const clone of clones) {
    const host = hostOf(clone);
    const seen = await count(host, clone.id);
    t.true(seen > 5, `it counts on: ${seen}`);
    await counts(clone, at);
    const addresses = scene.addresses(clone, 4);
    const inside = await guest(host, clone.id, 'hostname; cat /etc/hostname /etc/hosts; ip -o address');
    t.deepEqual(inside.split('\n').slice(0, 2), [clone.name, clone.name]);
    t.true(addresses.every((address) => inside.includes(`${address}/`)), inside);
    t.false(scene.addresses(server, 4).some((address) => inside.includes(`${address}/`)), inside);
    t.deepEqual(await scene.silent(clone), []);
  }
  t.deepEqual(await scene.silent(await scene.show(server.id)), []);
  await counts(server, at);
  // a clone stops, starts cold, and is snapshotted without its memory when that is said
  const [first] = clones as [Server, Server];
  await scene.act(first.id, { 'os-stop': null });
  await scene.reach(first.id, 'SHUTOFF');
  const stopped = await snapshot(scene, first, `stopped-${first.id}`);
  t.like(stopped, { 'haulier:memory': 'false', 'haulier:memory_format': '' });
  await scene.act(first.id, { 'os-start': null });
  await scene.reach(first.id, 'ACTIVE');
  t.is(await count(hostOf(first), first.id), 0);
});

test.serial('shelve with memory, by a hint of the boot; unshelve goes on where it was, with its ports', async (t) => {
  const scene = await Scene.begin(t);
  const id = await scene.boot({ hints: property });
  const server = await scene.reach(id, 'ACTIVE');
  const from = hostOf(server);
  await guest(from, id, counter);
  await counts(server, 5);
  const ports = (await scene.ports(id)).map((port) => [port.id, port.mac_address, port.fixed_ips]);
  await scene.act(id, { shelve: null });
  await until('shelved and offloaded', 60, async () => (await scene.show(id))['OS-EXT-STS:vm_state'] === 'shelved_offloaded', () => scene.show(id));
  const { images } = await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?instance_uuid=${id}`);
  t.like(images[0], { status: 'active', 'haulier:memory': 'true', 'haulier:memory_format': '1' });
  const other = from === 'host1' ? 'host2' : 'host1';
  const service = await scene.service(from);
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${service.id}`, { status: 'disabled' });
  scene.after(() => scene.admin.call('nova', 'PUT', `/v2.1/os-services/${service.id}`, { status: 'enabled' }));
  await scene.act(id, { unshelve: null });
  const back = await scene.reach(id, 'ACTIVE', 60);
  t.is(hostOf(back), other);
  await counts(back, 5);
  t.is((await guest(other, id, 'hostname')).trim(), server.name);
  t.deepEqual((await scene.ports(id)).map((port) => [port.id, port.mac_address, port.fixed_ips]), ports);
  await until('it answers', 20, async () => (await scene.silent(back)).length === 0);
  await until('the shelved image is gone', 10, async () => (await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?instance_uuid=${id}`)).images.length === 0);
});

test.serial('rebuild from a snapshot with memory resumes from it', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1', extra: { metadata: property } });
  await guest('host1', server.id, counter);
  await counts(server, 5);
  await guest('host1', server.id, 'echo then >/root/mark');
  const image = await snapshot(scene, server, `memory-${server.id}`);
  await guest('host1', server.id, 'echo now >/root/mark; kill $(pidof sh | tr " " "\\n" | sort -n | tail -1); true');
  await scene.act(server.id, { rebuild: { imageRef: image.id } });
  const after = await scene.reach(server.id, 'ACTIVE', 60);
  await counts(after, 5);
  t.is((await guest('host1', server.id, 'cat /root/mark; hostname')).trim(), `then\n${server.name}`);
  await until('it answers', 20, async () => (await scene.silent(after)).length === 0);
});

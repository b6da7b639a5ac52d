/** Disks as images through Nova's API: snapshot and boot from it, backups in rotation, rebuild, shelve and unshelve. */
import test from 'ava';
import { configure, container, guest, startHaulier, stopHaulier } from './lib/host.js';
import { clean, forget, hostOf, images, snapshot, type Image } from './lib/snapshots.js';
import { mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

test.serial('a snapshot of a running server boots; the server never stops', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  const before = await scene.container(server);
  await guest('host1', server.id, 'echo kept > /root/kept; chown 1000:100 /root/kept; rm /etc/profile; sync');
  const began = Date.now();
  const image = await snapshot(scene, server, `snap-${server.id}`);
  t.log(`image of ${image.size} bytes after ${Date.now() - began} ms`);
  t.like(image, { disk_format: 'raw', container_format: 'bare', image_type: 'snapshot', image_state: 'available', image_location: 'snapshot', instance_uuid: server.id, purpose: 'test' });
  t.like(await scene.container(await scene.show(server.id)), { pid: before!.pid, status: 'running' });
  t.is(await clean('host1', server.id), '');
  const action = await scene.finished(server.id, 'createImage');
  t.deepEqual(action.events.map((event) => [event.event, event.result]), [['compute_snapshot_instance', 'Success']]);

  const copy = await scene.active({ host: 'host2', image: image.id });
  t.deepEqual(await scene.silent(copy), []);
  t.is((await guest('host2', copy.id, 'cat /root/kept; stat -c %u:%g /root/kept; ls /etc/profile 2>&1; hostname')).replace(/^ls.*\n/m, '').trim(), `kept\n1000:100\n${copy.name}`);
});

test.serial('a snapshot of a stopped and of a paused server', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  await guest('host1', server.id, 'echo kept > /root/kept');
  await scene.act(server.id, { pause: null });
  await scene.reach(server.id, 'PAUSED');
  await snapshot(scene, server, `paused-${server.id}`);
  t.like(await scene.container(server), { status: 'paused' });
  await scene.act(server.id, { unpause: null });
  await scene.reach(server.id, 'ACTIVE');
  await scene.act(server.id, { 'os-stop': null });
  await scene.reach(server.id, 'SHUTOFF');
  const image = await snapshot(scene, server, `stopped-${server.id}`);
  t.is((await scene.show(server.id)).status, 'SHUTOFF');
  t.is(await clean('host1', server.id), '');
  const copy = await scene.active({ image: image.id });
  t.is((await guest(hostOf(copy), copy.id, 'cat /root/kept')).trim(), 'kept');
});

test.serial('backups: the oldest go', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active();
  const name = `backup-${server.id}`;
  forget(scene, name);
  const seen: string[] = [];
  for (let round = 0; round < 3; round++) {
    await scene.act(server.id, { createBackup: { name, backup_type: 'daily', rotation: 2 } });
    const newest = await until('another backup', 60, async () => (await images(scene, name)).find((image) => image.status === 'active' && !seen.includes(image.id)));
    t.is(newest['backup_type'], 'daily');
    seen.push(newest.id);
    await until('no task', 20, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === null);
    await scene.finished(server.id, 'createBackup');
    const made = Date.parse(String(newest['created_at']));
    await until('another second: Glance tells ages in whole ones', 5, async () => Date.now() >= made + 1000);
  }
  await until('two are left', 20, async () => (await images(scene, name)).length === 2);
  t.deepEqual((await images(scene, name)).map((image) => image.id), [seen[2], seen[1]]);
});

test.serial('rebuild: a new system with the old ports; a stopped server stays stopped', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  const ports = (await scene.ports(server.id)).map((port) => [port.id, port.mac_address, port.fixed_ips]);
  await guest('host1', server.id, 'echo one > /root/mark');
  const image = await snapshot(scene, server, `rebuild-${server.id}`);
  await guest('host1', server.id, 'echo two > /root/mark; echo lost > /root/lost');
  const pid = (await scene.container(server))!.pid;
  await scene.act(server.id, { rebuild: { imageRef: image.id } });
  const after = await scene.reach(server.id, 'ACTIVE');
  t.is((await guest('host1', server.id, 'cat /root/mark; ls /root; hostname')).trim(), `one\nmark\n${server.name}`);
  t.not((await scene.container(after))!.pid, pid);
  t.deepEqual((await scene.ports(server.id)).map((port) => [port.id, port.mac_address, port.fixed_ips]), ports);
  await until('it answers', 20, async () => (await scene.silent(after)).length === 0);
  const action = await scene.finished(server.id, 'rebuild');
  t.is(action.events.find((event) => event.event === 'compute_rebuild_instance')?.result, 'Success');

  await scene.act(server.id, { 'os-stop': null });
  await scene.reach(server.id, 'SHUTOFF');
  await scene.act(server.id, { rebuild: { imageRef: scene.ground.image } });
  await scene.reach(server.id, 'SHUTOFF');
  t.not((await scene.container(server))?.status, 'running');
  await scene.act(server.id, { 'os-start': null });
  const started = await scene.reach(server.id, 'ACTIVE');
  t.is((await guest('host1', server.id, 'ls /root')).trim(), '');
  await until('it answers', 20, async () => (await scene.silent(started)).length === 0);
});

test.serial('a rebuild with an image that is none leaves the server as it was', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  const pid = (await scene.container(server))!.pid;
  const name = `bad-${server.id}`;
  forget(scene, name);
  const { id } = await scene.admin.call<{ id: string }>('glance', 'POST', '/v2/images', { name, disk_format: 'raw', container_format: 'bare' });
  await scene.admin.call('glance', 'PUT', `/v2/images/${id}/file`, Buffer.alloc(65536, 'no archive'));
  await scene.act(server.id, { rebuild: { imageRef: id } });
  const after = await until('no task', 40, async () => {
    const now = await scene.show(server.id);
    return now['OS-EXT-STS:task_state'] === null ? now : undefined;
  });
  t.is(after.status, 'ACTIVE');
  t.is((after as unknown as { image: { id: string } }).image.id, scene.ground.image);
  t.is((await scene.container(after))?.pid, pid);
  t.is((await scene.finished(server.id, 'rebuild')).events.find((event) => event.event === 'compute_rebuild_instance')?.result, 'Error');
});

test.serial('shelve leaves the host, unshelve brings it back with its disk, ports and addresses', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  const ports = (await scene.ports(server.id)).map((port) => [port.id, port.mac_address, port.fixed_ips]);
  await guest('host1', server.id, 'echo kept > /root/kept');
  await scene.act(server.id, { shelve: null });
  await until('shelved and offloaded', 60, async () => (await scene.show(server.id))['OS-EXT-STS:vm_state'] === 'shelved_offloaded', () => scene.show(server.id));
  const shelved = await until('no host', 10, async () => {
    const now = await scene.show(server.id);
    return now['OS-EXT-SRV-ATTR:host'] === null ? now : undefined;
  });
  t.is(shelved.status, 'SHELVED_OFFLOADED');
  t.is(await scene.allocation(server.id), undefined);
  t.falsy((await scene.ports(server.id))[0]!['binding:host_id']);
  t.is(await container('host1', server.id), undefined);
  t.is((await mustRun('host1', ['sh', '-c', `ls -d /var/lib/nova/instances/${server.id} 2>/dev/null; true`])).trim(), '');
  const { images: kept } = await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?instance_uuid=${server.id}`);
  t.is(kept.length, 1);

  await scene.act(server.id, { unshelve: null });
  const back = await scene.reach(server.id, 'ACTIVE', 60);
  t.is((await guest(hostOf(back), server.id, 'cat /root/kept; hostname')).trim(), `kept\n${server.name}`);
  t.deepEqual((await scene.ports(server.id)).map((port) => [port.id, port.mac_address, port.fixed_ips]), ports);
  t.deepEqual(await scene.allocation(server.id), { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 });
  await until('it answers', 20, async () => (await scene.silent(back)).length === 0);
  await until('the shelved image is gone', 10, async () => (await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?instance_uuid=${server.id}`)).images.length === 0);
  for (const name of ['shelve', 'unshelve']) t.deepEqual((await scene.finished(server.id, name)).events.filter((event) => event.event.startsWith('compute_')).map((event) => event.result), ['Success'], name);
});

test.serial('shelved without offloading: starts again where it was, and its image goes', async (t) => {
  const scene = await Scene.begin(t);
  const restore = await configure('host1', '[DEFAULT]\nshelved_offload_time = -1');
  scene.after(async () => {
    await restore();
    await stopHaulier('host1');
    await startHaulier('host1');
  });
  await stopHaulier('host1');
  await startHaulier('host1');
  const server = await scene.active({ host: 'host1' });
  await scene.act(server.id, { shelve: null });
  await until('shelved', 60, async () => {
    const now = await scene.show(server.id);
    return now.status === 'SHELVED' && now['OS-EXT-STS:task_state'] === null;
  }, () => scene.show(server.id));
  await scene.act(server.id, { unshelve: null });
  await scene.reach(server.id, 'ACTIVE', 60);
  await until('the shelved image is gone', 10, async () => (await scene.admin.call<{ images: Image[] }>('glance', 'GET', `/v2/images?instance_uuid=${server.id}`)).images.length === 0);

  await scene.act(server.id, { shelve: null });
  await until('shelved', 60, async () => (await scene.show(server.id)).status === 'SHELVED');
  await scene.act(server.id, { shelveOffload: null });
  await until('offloaded', 60, async () => (await scene.show(server.id)).status === 'SHELVED_OFFLOADED');
  await scene.act(server.id, { unshelve: null });
  t.is((await scene.reach(server.id, 'ACTIVE', 60)).status, 'ACTIVE');
});

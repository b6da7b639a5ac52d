/** The same cut short: the service killed at every step, a server deleted meanwhile, a failure in the middle. Nothing is lost, nothing left behind. */
import test from 'ava';
import { snapshotFaultPoints } from '../../src/compute/disk-snapshot.js';
import { rebuildFaultPoints } from '../../src/compute/methods/rebuild.js';
import { shelveFaultPoints } from '../../src/compute/methods/shelve.js';
import { unshelveFaultPoints } from '../../src/compute/methods/unshelve.js';
import { diskCopyFaultPoints } from '../../src/container/snapshot/disk-copy.js';
import { container, died, guest, haulierPid, hosts } from './lib/host.js';
import { clean, forget, hostOf, images, snapshot } from './lib/snapshots.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

test.serial('a server deleted during its snapshot leaves no image and nothing on the host', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  await guest('host1', server.id, 'dd if=/dev/urandom of=/root/big bs=1M count=300 2>/dev/null');
  const name = `deleted-${server.id}`;
  forget(scene, name);
  await scene.act(server.id, { createImage: { name } });
  await until('uploading', 30, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === 'image_uploading');
  await scene.delete(server.id);
  await scene.nothingLeft(server.id);
  await until('no image', 20, async () => (await images(scene, name)).length === 0, () => images(scene, name));
  t.is(await clean('host1', server.id), '');
});

for (const point of [...snapshotFaultPoints, ...diskCopyFaultPoints]) {
  test.serial(`killed at ${point}: the server runs on, the task is cleared, the host is clean`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active({ host: 'host1' });
    const pid = (await scene.container(server))!.pid;
    // a guest that does not write is never frozen
    if (point === 'snapshot.frozen') await guest('host1', server.id, '(while :; do date | dd of=/root/now conv=fsync; done) >/dev/null 2>&1 &');
    await scene.fault('host1', `kill:${point}`);
    const name = `killed-${server.id}`;
    forget(scene, name);
    await scene.act(server.id, { createImage: { name } });
    await died('host1');
    await scene.clean('host1');
    const after = await scene.reach(server.id, 'ACTIVE');
    t.like(await scene.container(after), { pid, status: 'running' });
    t.is(await clean('host1', server.id), '');
    await until('it answers', 20, async () => (await scene.silent(after)).length === 0, () => scene.silent(after));
    t.like(await snapshot(scene, server, `again-${server.id}`), { status: 'active' });
  });
}

for (const point of unshelveFaultPoints) {
  test.serial(`killed while it unshelves, at ${point}: the server is shelved as before and can be unshelved, or it runs`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active({ host: 'host1' });
    forget(scene, `${server.name}-shelved`);
    await guest('host1', server.id, 'echo kept > /root/kept');
    await scene.act(server.id, { shelve: null });
    await until('offloaded', 60, async () => (await scene.show(server.id))['OS-EXT-SRV-ATTR:host'] === null);
    for (const host of hosts) await scene.fault(host, `kill:${point}`);
    await scene.act(server.id, { unshelve: null });
    const dead = await until('one dies', 60, async () => hosts.find((host) => !haulierPid(host)));
    for (const host of hosts) await scene.clean(host);
    if (point !== 'unshelve.saved') {
      const after = await until('shelved again', 40, async () => {
        const now = await scene.show(server.id);
        return now['OS-EXT-STS:task_state'] === null && now['OS-EXT-SRV-ATTR:host'] === null ? now : undefined;
      }, () => scene.show(server.id));
      t.is(after.status, 'SHELVED_OFFLOADED');
      t.is(await container(dead, server.id), undefined);
      t.is(await scene.allocation(server.id), undefined);
      await scene.act(server.id, { unshelve: null });
    }
    const back = await scene.reach(server.id, 'ACTIVE', 60);
    t.is((await guest(hostOf(back), server.id, 'cat /root/kept')).trim(), 'kept');
  });
}

const shelved = shelveFaultPoints.indexOf('shelve.saved');

for (const point of [...shelveFaultPoints.slice(0, shelved), ...snapshotFaultPoints.filter((step) => step !== 'snapshot.begun' && step !== 'snapshot.saved')]) {
  test.serial(`killed while it shelves, at ${point}: the server runs again`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active({ host: 'host1' });
    forget(scene, `${server.name}-shelved`);
    await guest('host1', server.id, 'echo kept > /root/kept');
    await scene.fault('host1', `kill:${point}`);
    await scene.act(server.id, { shelve: null });
    await died('host1');
    await scene.clean('host1');
    const after = await scene.reach(server.id, 'ACTIVE');
    t.is((await guest('host1', server.id, 'cat /root/kept')).trim(), 'kept');
    await until('it answers', 20, async () => (await scene.silent(after)).length === 0, () => scene.silent(after));
    t.is(await clean('host1', server.id), '');
  });
}

for (const point of shelveFaultPoints.slice(shelved)) {
  test.serial(`killed while it offloads, at ${point}: offloading is finished`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active({ host: 'host1' });
    await guest('host1', server.id, 'echo kept > /root/kept');
    await scene.fault('host1', `kill:${point}`);
    await scene.act(server.id, { shelve: null });
    await died('host1');
    await scene.clean('host1');
    await until('offloaded', 40, async () => {
      const now = await scene.show(server.id);
      return now.status === 'SHELVED_OFFLOADED' && now['OS-EXT-SRV-ATTR:host'] === null;
    }, () => scene.show(server.id));
    t.is(await scene.allocation(server.id), undefined);
    await scene.act(server.id, { unshelve: null });
    const back = await scene.reach(server.id, 'ACTIVE', 60);
    t.is((await guest(hostOf(back), server.id, 'cat /root/kept')).trim(), 'kept');
  });
}

for (const point of rebuildFaultPoints) {
  test.serial(`killed while it rebuilds, at ${point}: the server is in error and can be rebuilt, or it runs`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active({ host: 'host1' });
    await guest('host1', server.id, 'echo old > /root/old');
    await scene.fault('host1', `kill:${point}`);
    await scene.act(server.id, { rebuild: { imageRef: scene.ground.image } });
    await died('host1');
    await scene.clean('host1');
    if (point !== 'rebuild.saved') {
      await scene.reach(server.id, 'ERROR');
      if (point === 'rebuild.image') t.is((await guest('host1', server.id, 'cat /root/old')).trim(), 'old', 'nothing of it was touched');
      await scene.act(server.id, { rebuild: { imageRef: scene.ground.image } });
    }
    const after = await scene.reach(server.id, 'ACTIVE');
    await until('it answers', 20, async () => (await scene.silent(after)).length === 0);
    t.like(await scene.container(after), { status: 'running' });
    t.is((await guest('host1', server.id, 'cat /root/old 2>/dev/null; true')).trim(), '');
  });
}

test.serial('a snapshot that fails in the middle: no image, the task is cleared, the server runs', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  await scene.fault('host1', 'fail:snapshot.described:1');
  const name = `failed-${server.id}`;
  forget(scene, name);
  await scene.act(server.id, { createImage: { name } });
  await until('no image', 30, async () => (await images(scene, name)).length === 0, () => images(scene, name));
  await scene.reach(server.id, 'ACTIVE');
  t.is((await scene.finished(server.id, 'createImage')).events.find((event) => event.event === 'compute_snapshot_instance')?.result, 'Error');
  t.is(await clean('host1', server.id), '');
  t.like(await snapshot(scene, server, `again-${server.id}`), { status: 'active' });
});

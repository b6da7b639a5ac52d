/** Builds that cannot succeed: the user is told why, or another host does it; nothing stays. */
import test, { type ExecutionContext } from 'ava';
import { randomBytes } from 'node:crypto';
import { demoImage, stored, treeWithoutInit, upload } from './lib/images.js';
import { configure, startHaulier, stopHaulier } from './lib/host.js';
import { mustRun } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Port } from './lib/types.js';

/** An empty qcow2 disk of 1 GiB: version 3, clusters of 64 KiB. */
function disk(): Buffer {
  const header = Buffer.alloc(256 * 1024);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(1n << 30n, 24);
  header.writeUInt32BE(2, 36);
  header.writeBigUInt64BE(0x30000n, 40);
  header.writeBigUInt64BE(0x10000n, 48);
  header.writeUInt32BE(1, 56);
  header.writeUInt32BE(4, 96);
  header.writeUInt32BE(104, 100);
  return header;
}

/** In error with a fault that says why, bound to no host, and nothing left of it although it still exists. */
async function failsWith(t: ExecutionContext, scene: Scene, id: string, why: RegExp): Promise<void> {
  const server = await scene.reach(id, 'ERROR', 60);
  t.regex(server.fault?.message ?? '', why);
  t.is(server['OS-EXT-SRV-ATTR:host'], null);
  t.deepEqual(server.addresses, {});
  const create = await scene.finished(id, 'create');
  t.true(create.events.some((event) => event.event === 'compute__do_build_and_run_instance' && event.result === 'Error'), 'the event tells');
  await scene.nothingLeft(id);
}

test.serial('images that are no root file systems', async (t) => {
  const scene = await Scene.begin(t);
  const good = await demoImage(scene);
  const spoilt = await upload(scene, good, { name: 'ct-spoilt' });
  const [offset, size] = [Math.floor(good.length / 2), 512];
  await mustRun('ctl', ['dd', 'if=/dev/urandom', `of=${stored(spoilt)}`, 'bs=1', `seek=${offset}`, `count=${size}`, 'conv=notrunc']);
  const vanished = await upload(scene, good, { name: 'ct-vanished' });
  await mustRun('ctl', ['rm', stored(vanished)]);
  const cases: readonly (readonly [string, RegExp])[] = [
    [await upload(scene, randomBytes(300_000)), /unacceptable: .*(tar|format)/i],
    [await upload(scene, good.subarray(0, good.length - 200_000)), /unacceptable: .*(end|trunc|incomplete|damaged|corrupt)/i],
    [await upload(scene, await treeWithoutInit()), /unacceptable: .*no \/sbin\/init/],
    [await upload(scene, disk(), { disk_format: 'qcow2' }), /unacceptable: it is all zeros/],
    [spoilt, /unacceptable: .*(checksum|sha|hash)/i],
    [vanished, /could not be found|glance|unacceptable/i],
  ];
  const servers = await Promise.all(cases.map(([image]) => scene.boot({ zone: 'nova:host2', image })));
  for (const [index, [, why]] of cases.entries()) await failsWith(t, scene, servers[index]!, why);
  const queued = await scene.admin.raw('nova', 'POST', '/v2.1/servers', { server: { name: 'ct-queued', imageRef: await upload(scene, undefined), flavorRef: await scene.flavor('h1.tiny'), networks: 'none' } });
  t.is(queued.status, 400, 'an image without data: the API refuses');
  const before = await scene.active({ host: 'host2' });
  t.truthy(before, 'and the host is as good as before');
});

test.serial('networks that give no port', async (t) => {
  const scene = await Scene.begin(t);
  const flavorRef = await scene.flavor('h1.tiny');
  const unknown = await scene.admin.raw('nova', 'POST', '/v2.1/servers', { server: { name: 'ct-no', imageRef: scene.ground.image, flavorRef, networks: [{ uuid: '00000000-0000-4000-8000-000000000000' }] } });
  t.is(unknown.status, 400, unknown.text);

  const { network } = await scene.admin.call<{ network: { id: string } }>('neutron', 'POST', '/v2.0/networks', { network: { name: 'ct-tiny' } });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/networks/${network.id}`));
  await scene.admin.call('neutron', 'POST', '/v2.0/subnets', { subnet: { network_id: network.id, ip_version: 4, cidr: '10.75.0.0/29', gateway_ip: null, enable_dhcp: false, allocation_pools: [{ start: '10.75.0.2', end: '10.75.0.2' }] } });
  await scene.active({ host: 'host2', networks: [{ uuid: network.id }] });
  const full = await scene.boot({ zone: 'nova:host2', networks: [{ uuid: scene.ground.publicNetwork }, { uuid: network.id }] });
  await failsWith(t, scene, full, /No more IP addresses|no.*fixed IP/i);

  const { port } = await scene.ground.demo.call<{ port: Port }>('neutron', 'POST', '/v2.0/ports', { port: { network_id: scene.ground.publicNetwork } });
  scene.after(() => scene.ground.demo.remove('neutron', `/v2.0/ports/${port.id}`));
  const foreign = await scene.boot({ zone: 'nova:host2', networks: [{ port: port.id }] });
  await failsWith(t, scene, foreign, /not usable/);
  t.is((await scene.ground.demo.call<{ port: Port }>('neutron', 'GET', `/v2.0/ports/${port.id}`)).port.device_id, '', 'it was not touched');
});

test.serial('no space on the host\'s disk', async (t) => {
  const scene = await Scene.begin(t);
  // a file system of 4 GiB that has hardly any inodes left: full for the unpacking, yet large enough for the scheduler
  await stopHaulier('host2');
  scene.after(async () => {
    await stopHaulier('host2');
    await mustRun('host2', ['sh', '-c', 'umount /var/lib/nova/instances; rm -f /tmp/small.img']);
    await startHaulier('host2');
  });
  await mustRun('host2', ['sh', '-ec', `cd /tmp; truncate -s 4G small.img; mkfs.ext4 -q -N 512 small.img; mount -o loop small.img /var/lib/nova/instances
    cd /var/lib/nova/instances; mkdir fill; i=0; while touch fill/$i 2>/dev/null; do i=$((i + 1)); done; i=0; while [ $i -lt 60 ]; do rm fill/$i; i=$((i + 1)); done`]);
  await startHaulier('host2');
  await failsWith(t, scene, await scene.boot({ zone: 'nova:host2' }), /No space left/);
});

test.serial('an image larger than the operator allows', async (t) => {
  const scene = await Scene.begin(t);
  await stopHaulier('host2');
  const restore = await configure('host2', '[haulier]\nimage_max_bytes = 1048576');
  scene.after(async () => {
    await stopHaulier('host2');
    await restore();
    await startHaulier('host2');
  });
  await startHaulier('host2');
  // its own copy: the demo image itself is cached
  const image = await upload(scene, await demoImage(scene));
  await failsWith(t, scene, await scene.boot({ zone: 'nova:host2', image }), /too large|larger|bytes/);
});

test.serial('the first host fails: the server is built on the other', async (t) => {
  const scene = await Scene.begin(t);
  await scene.active({ host: 'host1' }); // so that host2 has more memory and is tried first
  for (const point of ['boot.networked', 'container.start.run']) {
    await scene.fault('host2', `fail:${point}`);
    const id = await scene.boot();
    const server = await scene.reach(id, 'ACTIVE', 60);
    t.is(server['OS-EXT-SRV-ATTR:host'], 'host1', point);
    t.deepEqual(await scene.silent(server), [], point);
    t.is((await scene.ports(id)).length, 1, point);
    t.deepEqual(await scene.allocation(id), { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 }, point);
    // nova's database finishes the first event of a name, whichever host asks: with two builds only their number is certain
    const create = await scene.action(id, 'create');
    t.deepEqual(create.events.filter((event) => event.event === 'compute__do_build_and_run_instance').map((event) => event.host).sort(), ['host1', 'host2'], point);
    t.is(create.message, null, `${point}: the action is no error`);
    t.true(create.events.every((event) => event.result !== 'Error'), JSON.stringify(create.events));
    await scene.delete(id);
  }
});

test.serial('every host fails: the server is in error, and the fault says so', async (t) => {
  const scene = await Scene.begin(t);
  await Promise.all([scene.fault('host1', 'fail:container.start.run:1'), scene.fault('host2', 'fail:container.start.run:1')]);
  const id = await scene.boot();
  const server = await scene.reach(id, 'ERROR', 60);
  t.regex(server.fault?.message ?? '', /Exceeded maximum number of retries|Fault injected/);
  t.is(await scene.allocation(id), undefined);
  t.deepEqual(await scene.ports(id), []);
  await scene.delete(id);
});

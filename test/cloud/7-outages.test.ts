/** Parts of the control plane go away while the service works: it recovers by itself, and no result is lost. */
import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { container, haulierPid } from './lib/host.js';
import { outage, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Server } from './lib/types.js';

const patience = 120;

test.serial('keystone dies during a build, and during a delete', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const building = await scene.boot({ host: 'host2' });
  await scene.admin.remove('nova', `/v2.1/servers/${server.id}`);
  await outage('keystone', () => sleep(3000));
  await scene.gone(server.id, patience);
  const built = await until('the build is decided', patience, async () => {
    const seen = await scene.show(building);
    return seen['OS-EXT-STS:task_state'] === null && seen.status !== 'BUILD' ? seen : undefined;
  }, () => scene.show(building));
  t.log(`the build ended ${built.status}: ${built.fault?.message ?? ''}`);
  if (built.status === 'ERROR') await scene.nothingLeft(building);
  const after = await scene.active({ host: 'host2' });
  t.deepEqual(await scene.silent(after), []);
});

for (const [service, seconds] of [['nova-conductor', 4], ['rabbitmq', 2]] as const) {
  test.serial(`${service} dies during a stop and a build`, async (t) => {
    const scene = await Scene.begin(t);
    const [server, bystander] = (await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host2' })])) as [Server, Server];
    const pid = haulierPid('host2');
    const before = (await container('host2', bystander.id))?.pid;
    const building = await scene.boot({ host: 'host2' });
    await until('the build has begun', 10, async () => (await scene.show(building))['OS-EXT-SRV-ATTR:host'] === 'host2');
    await scene.act(server.id, { 'os-stop': null });
    await until('the stop has begun', 10, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === 'powering-off');
    await sleep(300);
    await outage(service, () => sleep(seconds * 1000));
    const began = Date.now();
    await scene.reach(server.id, 'SHUTOFF', patience);
    t.log(`the stop's result was there ${Date.now() - began} ms after the end of the outage`);
    const built = await until('the build is decided', patience, async () => {
      const seen = await scene.show(building);
      return seen['OS-EXT-STS:task_state'] === null && seen.status !== 'BUILD' ? seen : undefined;
    }, () => scene.show(building));
    t.log(`the build ended ${built.status} after ${Date.now() - began} ms: ${built.fault?.message ?? ''}`);
    if (built.status === 'ERROR') await scene.nothingLeft(building);
    else t.is((await container('host2', building))?.status, 'running');
    t.is(haulierPid('host2'), pid, 'the service did not end');
    t.is((await container('host2', bystander.id))?.pid, before);
    await until('host2 up', 60, async () => (await scene.service('host2')).state === 'up');
    await scene.act(server.id, { 'os-start': null });
    await scene.reach(server.id, 'ACTIVE', 60);
    // neutron's agent takes its time to find the broker again: not ours, but without it no port is wired
    t.deepEqual(await scene.silent(server, patience), []);
  });
}

/** Rescue: the server's disk in another system, mended there, and back; what fails or dies in between leaves the server as it was. */
import test from 'ava';
import { rescueFaultPoints } from '../../src/compute/methods/rescue.js';
import { died, guest, startHaulier, stopHaulier } from './lib/host.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

const rescue = { rescue: { adminPass: 'secret' } };

test.serial('rescued from its own image, over a restart of the service, and unrescued: what was mended is mended; deleted while rescued nothing is left', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  await guest('host2', server.id, 'echo broken >/etc/marker');
  await scene.act(server.id, rescue);
  const rescued = await scene.reach(server.id, 'RESCUE');
  t.like(rescued, { 'OS-EXT-STS:vm_state': 'rescued', 'OS-EXT-STS:power_state': 1 });
  t.deepEqual(await scene.silent(rescued), []);
  t.is(await guest('host2', server.id, 'cat /mnt/rescue/etc/marker; hostname; ls /etc/marker 2>/dev/null; chroot /mnt/rescue /bin/sh -c "echo mended >/etc/marker"'), `broken\n${server.name}\n`);
  t.is((await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, { reboot: { type: 'HARD' } })).status, 409, 'as the API has it');
  await stopHaulier('host2');
  await startHaulier('host2');
  t.is(await guest('host2', server.id, 'cat /mnt/rescue/etc/marker'), 'mended\n');
  t.is((await scene.finished(server.id, 'rescue')).message, null);
  await scene.act(server.id, { unrescue: null });
  t.like(await scene.reach(server.id, 'ACTIVE'), { 'OS-EXT-STS:vm_state': 'active', 'OS-EXT-STS:power_state': 1 });
  t.is(await guest('host2', server.id, 'cat /etc/marker; ls -d /mnt/rescue 2>/dev/null || true'), 'mended\n');
  t.deepEqual(await scene.silent(server), []);

  await scene.act(server.id, rescue);
  await scene.reach(server.id, 'RESCUE');
  await scene.delete(server.id);
  await scene.nothingLeft();
});

test.serial('a failure at any step leaves it running; the end of the service in the middle of either is recovered', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  await guest('host2', server.id, 'echo own >/etc/marker');
  const isOwn = async (): Promise<unknown> => t.is(await guest('host2', server.id, 'cat /etc/marker'), 'own\n');
  const points = rescueFaultPoints.filter((point) => point.startsWith('rescue.'));
  await scene.fault('host2', [...points.map((point) => `fail:${point}:1`), 'fail:unrescue.started:1'].join());
  for (const point of points) {
    await scene.act(server.id, rescue);
    const action = await until(`${point} fails`, 40, async () => (await scene.action(server.id, 'rescue')).events.find((event) => event.result !== null));
    t.is(action.result, 'Error', point);
    await scene.reach(server.id, 'ACTIVE');
    await isOwn();
  }
  await scene.act(server.id, rescue);
  await scene.reach(server.id, 'RESCUE');
  await scene.act(server.id, { unrescue: null });
  await scene.reach(server.id, 'ERROR');
  await scene.act(server.id, { reboot: { type: 'HARD' } });
  await scene.reach(server.id, 'ACTIVE');
  await isOwn();

  await scene.fault('host2', 'kill:rescue.created');
  await scene.act(server.id, rescue);
  await died('host2');
  await scene.clean('host2');
  await scene.reach(server.id, 'ACTIVE');
  await isOwn();
  await scene.act(server.id, rescue);
  await scene.reach(server.id, 'RESCUE');
  await scene.fault('host2', 'kill:unrescue.restored');
  await scene.act(server.id, { unrescue: null });
  await died('host2');
  await scene.clean('host2');
  t.deepEqual(await scene.silent(await scene.reach(server.id, 'ACTIVE')), []);
  await isOwn();
});

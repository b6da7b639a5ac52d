/** Rescue: the server's disk in another system, mended there, and back; what fails or dies in between leaves the server as it was. */
import test from 'ava';
import { rescueFaultPoints } from '../../src/compute/methods/rescue.js';
import { died, guest, startHaulier, stopHaulier } from './lib/host.js';
import { keyPair } from './lib/key-pair.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

const rescue = { rescue: { adminPass: 'secret' } };

/** Root's password and keys as they stand in a tree, and the config drive's password. */
const secrets = (id: string, root = ''): Promise<string> => guest('host2', id, `cat ${root}/etc/shadow ${root}/etc/passwd 2>/dev/null | grep ^root: | head -n 1 | cut -d: -f2; cat ${root}/root/.ssh/authorized_keys; grep -o '"admin_pass":"[^"]*"' /config-drive/openstack/latest/meta_data.json`);

test.serial('rescued from its own image, over a restart of the service, and unrescued: what was mended is mended; deleted while rescued nothing is left', async (t) => {
  const scene = await Scene.begin(t);
  const key = await keyPair(scene, 'ct-rescue');
  const script = Buffer.from('#!/bin/sh\necho run >>/root/runs\n').toString('base64');
  const server = await scene.active({ host: 'host2', extra: { config_drive: true, key_name: 'ct-rescue', adminPass: 'own', user_data: script } });
  await until('its script has run', 60, async () => (await guest('host2', server.id, 'cat /root/runs 2>/dev/null; true')) === 'run\n');
  await guest('host2', server.id, 'echo broken >/etc/marker');
  const [own = ''] = (await secrets(server.id)).split('\n');
  await scene.act(server.id, rescue);
  const rescued = await scene.reach(server.id, 'RESCUE');
  t.like(rescued, { 'OS-EXT-STS:vm_state': 'rescued', 'OS-EXT-STS:power_state': 1 });
  t.deepEqual(await scene.silent(rescued), []);
  t.is(await guest('host2', server.id, 'cat /mnt/rescue/etc/marker; hostname; ls /etc/marker 2>/dev/null; chroot /mnt/rescue /bin/sh -c "echo mended >/etc/marker"'), `broken\n${server.name}\n`);
  const [hash = '', ...rest] = (await secrets(server.id)).split('\n');
  t.regex(hash, /^\$6\$/);
  t.not(hash, own);
  t.deepEqual(rest, [key, '"admin_pass":"secret"', ''], 'the password, key pair and config drive of the rescue');
  t.is((await secrets(server.id, '/mnt/rescue')).split('\n')[0], own);
  t.is(await guest('host2', server.id, 'ls /root/runs /var/lib/haulier 2>/dev/null; true'), '', 'no user data script');
  t.is((await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, { reboot: { type: 'HARD' } })).status, 409, 'as the API has it');
  await stopHaulier('host2');
  await startHaulier('host2');
  t.is(await guest('host2', server.id, 'cat /mnt/rescue/etc/marker'), 'mended\n');
  t.is((await scene.finished(server.id, 'rescue')).message, null);
  await scene.act(server.id, { unrescue: null });
  t.like(await scene.reach(server.id, 'ACTIVE'), { 'OS-EXT-STS:vm_state': 'active', 'OS-EXT-STS:power_state': 1 });
  t.is(await guest('host2', server.id, 'cat /etc/marker; ls -d /mnt/rescue 2>/dev/null || true'), 'mended\n');
  t.is(await secrets(server.id), `${own}\n${key}\n"admin_pass":"own"\n`);
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

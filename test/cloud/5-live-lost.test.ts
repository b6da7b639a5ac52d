/**
 * Live migration through Nova's API where an operator has to decide, because the destination is gone after the source had let go, and
 * between two hosts that share their instances_path: what Nova, neutron and placement say in the end.
 */
import test from 'ava';
import { count, countsOn, startCounter } from './lib/counter.js';
import { configure, container, died, guest, restartHaulier, startHaulier, stopHaulier, type HostName } from './lib/host.js';
import { ask, over, runsAt } from './lib/live.js';
import { haulierLog, inside, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

/** `haulier haul decide`, until it counts: the source must have asked in vain before. */
async function decide(host: HostName, id: string, place: 'here' | 'there', word: string): Promise<void> {
  const command = ['node', '/opt/haulier/dist/src/main.js', '--config-file', '/etc/nova/nova.conf', 'haul', 'decide', id, place, word];
  let said = '';
  await until('the decision counts', 60, async () => {
    const { code, stdout, stderr } = await inside(host, command, { timeoutMs: 60_000 });
    said = stdout + stderr;
    return code === 0;
  }, () => said);
}

test.serial('a destination that is gone for good, and an operator who decides: here, and the migration is taken back; there, and it is completed', async (t) => {
  const scene = await Scene.begin(t);
  const { id } = await scene.active({ host: 'host1' });
  await startCounter('host1', id);
  const before = await count('host1', id);
  await scene.fault('host2', 'kill:haul.destination.restoring');
  await ask(scene, id, 'host2');
  await died('host2', 60);
  await decide('host1', id, 'here', '--the-other-host-is-dead');
  t.is((await over(scene, id)).migration.status, 'failed');
  await countsOn('host1', id, before);
  // as an operator must see to it before that host comes back: it never came to a restore
  await mustRun('host2', ['sh', '-c', 'sed -i s/restoring/preparing/ /var/lib/nova/instances/_hauls/*.destination']);
  await scene.fault('host2', 'kill:haul.destination.running');
  await runsAt(t, scene, id, 'host1');

  const last = await count('host1', id);
  await ask(scene, id, 'host2');
  await died('host2', 60);
  await decide('host1', id, 'there', '--the-other-host-has-it');
  t.is(await container('host1', id), undefined);
  await scene.clean('host2');
  t.is((await over(scene, id)).migration.status, 'completed');
  await runsAt(t, scene, id, 'host2');
  await countsOn('host2', id, last);
});

const shared = '/var/lib/nova/shared';

/** One file system, seen by both hosts. */
async function sharedFolder(scene: Scene): Promise<void> {
  const image = '/var/lib/nova/shared.img';
  const device = (await mustRun('host1', ['sh', '-c', `truncate -s 3G ${image} && mkfs.ext4 -q ${image} && losetup --find --show ${image}`])).trim();
  scene.after(async () => {
    await mustRun('host1', ['losetup', '-d', device]);
    await mustRun('host1', ['rm', image]);
  });
  for (const host of ['host1', 'host2'] as const) {
    scene.after(async () => void (await mustRun(host, ['sh', '-c', `umount -R ${shared}; rmdir ${shared}`])));
    await mustRun(host, ['sh', '-c', `mkdir -p ${shared} && mount ${device} ${shared} && chmod 755 ${shared}`]);
  }
  for (const host of ['host1', 'host2'] as const) {
    const undo = await configure(host, `[DEFAULT]\ninstances_path = ${shared}\n`);
    scene.after(async () => { await stopHaulier(host); await undo(); });
    await restartHaulier(host);
  }
}

test.serial('hosts that share their instances_path: the disk stays where it is, there and back; a copy of the disk is refused', async (t) => {
  const scene = await Scene.begin(t);
  scene.after(async () => { for (const host of ['host1', 'host2'] as const) await startHaulier(host); });
  await sharedFolder(scene);
  const server = await scene.active({ host: 'host1' });
  await startCounter('host1', server.id);
  await guest('host1', server.id, 'echo kept >/root/word');
  await scene.act(server.id, { 'os-migrateLive': { host: 'host2', block_migration: true } });
  t.is((await over(scene, server.id)).migration.status, 'error');
  t.regex((await scene.finished(server.id, 'live-migration')).events.map((event) => event.traceback ?? '').join('\n'), /Block migration can not be used with shared storage/);
  for (const [from, to, how] of [['host1', 'host2', 'auto'], ['host2', 'host1', false]] as const) {
    const before = await count(from, server.id);
    const mark = Buffer.byteLength(haulierLog(from));
    await scene.act(server.id, { 'os-migrateLive': { host: to, block_migration: how } });
    t.is((await over(scene, server.id)).migration.status, 'completed');
    await runsAt(t, scene, server.id, to);
    await countsOn(to, server.id, before);
    t.is((await guest(to, server.id, 'cat /root/word')).trim(), 'kept');
    t.regex(haulierLog(from).slice(mark), /"diskBytes":0\b/);
    t.regex(haulierLog(from).slice(mark), /both hosts see its disk/);
  }
});

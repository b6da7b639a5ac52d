/** Live migration through Nova's API, between two hosts: what the client outside notices, what Nova and neutron and placement say, and what lies where. */
import test from 'ava';
import { count, countsOn, startCounter } from './lib/counter.js';
import { configure, container, died, guest, restartHaulier, startHaulier, type HostName } from './lib/host.js';
import { demoImage, upload } from './lib/images.js';
import { ask, migrations, otherOf, over, runsAt, underWay } from './lib/live.js';
import { haulierLog, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import { hostOf } from './lib/snapshots.js';
import { NumberStream, startNumbers } from './lib/stream.js';
import type { Server } from './lib/types.js';

/** A server that counts, and sends numbers to a client outside. */
async function talking(scene: Scene, host: HostName, image?: string): Promise<{ server: Server; stream: NumberStream }> {
  const server = await scene.active({ host, ...(image ? { image } : {}) });
  await startCounter(host, server.id);
  await startNumbers(host, server.id);
  const stream = await NumberStream.open(scene.addresses(server, 4)[0]!);
  scene.after(async () => stream.end());
  return { server, stream };
}

const events = ['compute_check_can_live_migrate_destination', 'compute_check_can_live_migrate_source', 'compute_live_migration', 'compute_post_live_migration_at_destination', 'compute_pre_live_migration'];

test.serial('there and back, to a named host and to one of the scheduler\'s choice, while a client outside reads', async (t) => {
  const scene = await Scene.begin(t);
  const image = await upload(scene, await demoImage(scene)); // the destination lacks it
  const { server, stream } = await talking(scene, 'host1', image);
  let before = await count('host1', server.id);
  let at: HostName = 'host1';
  for (const named of [true, false, true, false]) {
    const to = otherOf(at);
    const mark = Buffer.byteLength(haulierLog(to));
    stream.quiet();
    await ask(scene, server.id, named ? to : undefined);
    const { migration } = await over(scene, server.id);
    t.like(migration, { status: 'completed', migration_type: 'live-migration', source_compute: at, dest_compute: to });
    await stream.goesOn(50);
    const [, frozen] = /"frozenMs":(\d+),"totalMs"/.exec(haulierLog(at).slice(-8000)) ?? [];
    t.log(`${at} -> ${to}: the client hears nothing for ${stream.silenceMs} ms; frozen for ${frozen} ms`);
    const now = await runsAt(t, scene, server.id, to);
    t.deepEqual(now.addresses, server.addresses);
    await countsOn(to, server.id, before);
    before = await count(to, server.id);
    t.deepEqual(await scene.silent(now), []);
    const action = await scene.finished(server.id, 'live-migration');
    t.deepEqual(action.events.filter(({ event }) => event.startsWith('compute_')).map(({ event, result }) => [event, result]).sort(), events.map((event) => [event, 'Success']));
    t.false(/"token":"[\w-]{43}"/.test(haulierLog('host1') + haulierLog('host2')), 'no token in a log');
    if (at === 'host1' && named) t.is(haulierLog(to).slice(mark).includes('"cached":false'), before > 0 && migration.id === (await migrations(scene, server.id)).at(-1)!.id);
    at = to;
  }
});

/** The source sends no more than 1 MiB a second. */
async function slowly(scene: Scene, host: HostName, more = ''): Promise<void> {
  const undo = await configure(host, `[haulier]\nhaul_bandwidth = 1\n${more}`);
  scene.after(async () => { await undo(); await restartHaulier(host); });
  await restartHaulier(host);
}

const fill = async (host: HostName, id: string, mib: number): Promise<string> => guest(host, id, `dd if=/dev/urandom of=/root/blob bs=1M count=${mib} 2>/dev/null; sync`);

test.serial('its figures are true; one that runs and one that waits are aborted; one is forced', async (t) => {
  const scene = await Scene.begin(t);
  await slowly(scene, 'host1');
  const { server, stream } = await talking(scene, 'host1');
  const waiting = await scene.active({ host: 'host1' });
  const size = 600; // MiB, at one a second: it is still under way when the other one has been aborted
  await fill('host1', server.id, size);

  await ask(scene, server.id, 'host2');
  const figures = await until('figures', 60, async () => {
    const [running] = await underWay(scene, server.id);
    return running?.status === 'running' && (running.disk_processed_bytes ?? 0) > 1024 ** 2 ? running : undefined;
  }, () => underWay(scene, server.id));
  t.log(figures);
  t.true(figures.disk_total_bytes! >= size * 1024 ** 2 && figures.disk_total_bytes! < 1.5 * size * 1024 ** 2);
  t.is(figures.disk_processed_bytes! + figures.disk_remaining_bytes!, figures.disk_total_bytes!);
  t.true(figures.memory_total_bytes! >= 0 && figures.memory_remaining_bytes! <= figures.memory_total_bytes!);

  await ask(scene, waiting.id, 'host2');
  const queued = await until('it waits', 30, async () => (await underWay(scene, waiting.id)).find((item) => item.status === 'queued'), () => underWay(scene, waiting.id));
  await scene.admin.remove('nova', `/v2.1/servers/${waiting.id}/migrations/${queued.id}`);
  t.is((await over(scene, waiting.id)).migration.status, 'cancelled');
  await runsAt(t, scene, waiting.id, 'host1');
  t.is((await underWay(scene, server.id))[0]?.status, 'running', 'the other one goes on');

  await scene.admin.remove('nova', `/v2.1/servers/${server.id}/migrations/${figures.id}`);
  t.is((await over(scene, server.id)).migration.status, 'cancelled');
  await stream.goesOn();
  await runsAt(t, scene, server.id, 'host1');
  const action = await scene.finished(server.id, 'live_migration_cancel');
  t.deepEqual(action.events.map(({ event, result }) => [event, result]), [['compute_live_migration_abort', 'Success']]);

  await guest('host1', server.id, 'rm /root/blob');
  await fill('host1', server.id, 16);
  await ask(scene, server.id, 'host2');
  const running = await until('it runs', 60, async () => (await underWay(scene, server.id)).find((item) => item.status === 'running'));
  await scene.admin.call('nova', 'POST', `/v2.1/servers/${server.id}/migrations/${running.id}/action`, { force_complete: null });
  t.is((await over(scene, server.id)).migration.status, 'completed');
  await stream.goesOn();
  await runsAt(t, scene, server.id, 'host2');
});

test.serial('one that takes too long is given up', async (t) => {
  const scene = await Scene.begin(t);
  await slowly(scene, 'host1', '[libvirt]\nlive_migration_completion_timeout = 1\n');
  const { server, stream } = await talking(scene, 'host1');
  await fill('host1', server.id, 40);
  await ask(scene, server.id, 'host2');
  t.is((await over(scene, server.id)).migration.status, 'cancelled');
  await stream.goesOn();
  await runsAt(t, scene, server.id, 'host1');
  t.true((await scene.finished(server.id, 'live-migration')).events.some(({ event, result }) => event === 'compute_live_migration' && result === 'Error'));
});

test.serial('what cannot move is refused with the reason, and goes on', async (t) => {
  const scene = await Scene.begin(t);
  const { server, stream } = await talking(scene, 'host1');
  const refused = async (reason: RegExp): Promise<void> => {
    await ask(scene, server.id, 'host2');
    t.is((await over(scene, server.id)).migration.status, 'error');
    const action = await scene.finished(server.id, 'live-migration');
    t.regex(action.events.map((event) => event.traceback ?? '').join('\n'), reason);
  };
  await guest('host1', server.id, 'mkdir -p /run/a /run/b; mount -t tmpfs none /run/a; mkdir /run/a/c; mount --bind /run/a/c /run/b; umount -l /run/a');
  await refused(/cannot be frozen: .*\/run\/b is the folder/);
  await guest('host1', server.id, 'umount /run/b');
  await stream.goesOn();
  await runsAt(t, scene, server.id, 'host1');
});

test.serial('where it is permitted, what cannot move is shut down and booted at the other host, and the action says so', async (t) => {
  const scene = await Scene.begin(t);
  const undo = await configure('host1', '[haulier]\nhaul_permit_restart = true\n');
  scene.after(async () => { await undo(); await restartHaulier('host1'); });
  await restartHaulier('host1');
  const { server, stream } = await talking(scene, 'host1');
  await guest('host1', server.id, 'echo kept >/root/word; echo lost >/run/word; mkdir -p /run/a /run/b; mount -t tmpfs none /run/a; mkdir /run/a/c; mount --bind /run/a/c /run/b; umount -l /run/a');
  stream.end();
  await ask(scene, server.id, 'host2');
  t.is((await over(scene, server.id)).migration.status, 'completed');
  const now = await runsAt(t, scene, server.id, 'host2');
  t.is((await guest('host2', server.id, 'cat /root/word; ls /run/word 2>/dev/null || echo forgotten')).trim(), 'kept\nforgotten');
  const { events: told } = await scene.finished(server.id, 'live-migration');
  t.deepEqual(told.filter(({ event }) => event === 'compute_live_migration_by_restart').map(({ result }) => result), ['Success']);
  t.regex(haulierLog('host1'), /hauled by restart, which the operator permits: .*it cannot be frozen: .*\/run\/b/);
  t.deepEqual(await scene.silent(now), []);
});

test.serial('a paused server moves paused, and goes on at the other host when it is told to', async (t) => {
  const scene = await Scene.begin(t);
  const { server, stream } = await talking(scene, 'host1');
  await scene.act(server.id, { pause: null });
  await scene.reach(server.id, 'PAUSED');
  await ask(scene, server.id, 'host2');
  const { migration } = await over(scene, server.id);
  t.is(migration.status, 'completed');
  t.like(await scene.show(server.id), { status: 'PAUSED', 'OS-EXT-SRV-ATTR:host': 'host2', 'OS-EXT-STS:power_state': 3 });
  t.is((await container('host2', server.id))?.status, 'paused');
  await scene.act(server.id, { unpause: null });
  await scene.reach(server.id, 'ACTIVE');
  await stream.goesOn();
  await runsAt(t, scene, server.id, 'host2');
});

test.serial('a destination that fails in the middle: the server goes on at its source, and nothing is left', async (t) => {
  const scene = await Scene.begin(t);
  const { server, stream } = await talking(scene, 'host1');
  for (const point of ['live.plugged', 'haul.destination.layer', 'haul.destination.memory', 'haul.destination.restore']) {
    await scene.fault('host2', `fail:${point}`);
    stream.quiet();
    await ask(scene, server.id, 'host2');
    const { migration } = await over(scene, server.id);
    t.is(migration.status, 'failed', point);
    await stream.goesOn();
    t.log(`${point}: the client hears nothing for ${stream.silenceMs} ms`);
    await runsAt(t, scene, server.id, 'host1');
    await scene.clean('host2');
  }
  await ask(scene, server.id, 'host2');
  t.is((await over(scene, server.id)).migration.status, 'completed', 'afterwards it works');
  await runsAt(t, scene, server.id, 'host2');
  await stream.goesOn();
});

/** Where the service dies, and where the server is afterwards. */
const deaths: readonly (readonly [victim: 'source' | 'destination', point: string, ends: 'source' | 'destination' | 'one of the two'])[] = [
  ['source', 'live.running', 'source'],
  ['source', 'haul.source.copy', 'source'],
  ['source', 'haul.source.memory', 'source'],
  ['source', 'haul.source.offered', 'source'],
  ['source', 'haul.source.committed', 'destination'],
  ['source', 'live.hauled', 'destination'],
  ['source', 'live.taken-over', 'destination'],
  ['destination', 'haul.destination.layer', 'source'],
  ['destination', 'haul.destination.restoring', 'one of the two'], // it may have been restored ahead of that
  ['destination', 'haul.destination.restored', 'destination'],
  ['destination', 'haul.destination.committed', 'destination'],
  ['destination', 'live.taken', 'destination'],
];

for (const [victim, point, ends] of deaths) {
  test.serial(`kill -9 of the ${victim}'s service at ${point}: the server runs at ${ends === 'one of the two' ? '' : 'the '}${ends}, once`, async (t) => {
    const scene = await Scene.begin(t);
    const { server, stream } = await talking(scene, 'host1');
    const before = await count('host1', server.id);
    const host = victim === 'source' ? 'host1' : 'host2';
    await scene.fault(host, `kill:${point}`);
    await ask(scene, server.id, 'host2');
    await died(host, 60);
    await scene.clean(host);
    await startHaulier(host);
    const { migration } = await over(scene, server.id);
    const at = ends === 'one of the two' ? (migration.status === 'completed' ? 'host2' : 'host1') : ends === 'source' ? 'host1' : 'host2';
    t.is(migration.status, at === 'host2' ? 'completed' : victim === 'source' ? 'error' : 'failed');
    await stream.goesOn();
    t.is(hostOf(await runsAt(t, scene, server.id, at)), at);
    await countsOn(at, server.id, before);
  });
}

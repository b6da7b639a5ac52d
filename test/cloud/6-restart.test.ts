/** The service goes away and comes back: containers run on, what was asked meanwhile is done. */
import test from 'ava';
import { setTimeout as sleep } from 'node:timers/promises';
import { configure, container, haulierPid, killHaulier, startHaulier, stopHaulier } from './lib/host.js';
import { answers, haulierLog, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

test.serial('restart and kill -9 leave running and paused containers as they are', async (t) => {
  const scene = await Scene.begin(t);
  const [running, paused] = await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host2' })]);
  await scene.act(paused.id, { pause: null });
  await scene.reach(paused.id, 'PAUSED');
  const pids = async (): Promise<unknown[]> => Promise.all([running, paused].map(async ({ id }) => { const now = await container('host2', id); return [now?.pid, now?.status]; }));
  const before = await pids();
  for (const end of [stopHaulier, killHaulier]) {
    await end('host2');
    t.deepEqual(await pids(), before, 'while it is down');
    t.true(await answers(scene.addresses(running, 4)[0]!), 'the network works without the service');
    await startHaulier('host2');
    t.deepEqual(await pids(), before, 'after its start');
    t.is((await scene.show(running.id)).status, 'ACTIVE');
    t.is((await scene.show(paused.id)).status, 'PAUSED');
  }
  const { output } = await scene.admin.call<{ output: string }>('nova', 'POST', `/v2.1/servers/${running.id}/action`, { 'os-getConsoleOutput': {} });
  t.true(output.includes('haulier demo ready'));
  await scene.act(paused.id, { unpause: null });
  await scene.reach(paused.id, 'ACTIVE');
  await scene.act(running.id, { reboot: { type: 'HARD' } });
  await scene.reach(running.id, 'ACTIVE');
  t.deepEqual(await scene.silent(running), []);
});

test.serial('a container that ends while the service is down is SHUTOFF soon after its start', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  await killHaulier('host2');
  await mustRun('host2', ['kill', '-9', String((await container('host2', server.id))!.pid)]);
  await startHaulier('host2');
  await scene.reach(server.id, 'SHUTOFF', 20);
  await scene.act(server.id, { 'os-start': null });
  await scene.reach(server.id, 'ACTIVE');
  t.deepEqual(await scene.silent(server), []);
});

test.serial('stop, start and delete that were sent while the service was down are done at its start', async (t) => {
  const scene = await Scene.begin(t);
  const [stopped, started, deleted] = await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host2' }), scene.active({ host: 'host2' })]);
  await scene.act(started.id, { 'os-stop': null });
  await scene.reach(started.id, 'SHUTOFF');
  await killHaulier('host2');
  await scene.act(stopped.id, { 'os-stop': null });
  await scene.act(started.id, { 'os-start': null });
  await scene.admin.remove('nova', `/v2.1/servers/${deleted.id}`);
  await startHaulier('host2');
  await scene.reach(stopped.id, 'SHUTOFF');
  await scene.reach(started.id, 'ACTIVE');
  await scene.gone(deleted.id);
  t.is(await container('host2', stopped.id), undefined);
  t.deepEqual(await scene.silent(started), []);
  // the messages that waited came after the recovery had done the work: they must not have disturbed it
  await sleep(1500);
  t.like(await scene.show(stopped.id), { status: 'SHUTOFF', 'OS-EXT-STS:task_state': null });
  t.like(await scene.show(started.id), { status: 'ACTIVE', 'OS-EXT-STS:task_state': null });
});

test.serial('deleted behind its back (the API does it where the service is down): the container is reaped', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const { id } = await scene.service('host2');
  const restore = await configure('host2', '[DEFAULT]\nrunning_deleted_instance_poll_interval = 3\nrunning_deleted_instance_timeout = 0\nperiodic_fuzzy_delay = 0');
  scene.after(async () => {
    await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: false });
    await stopHaulier('host2');
    await restore();
    await startHaulier('host2');
  });
  await stopHaulier('host2');
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: true });
  await scene.admin.remove('nova', `/v2.1/servers/${server.id}`);
  await scene.gone(server.id, 10);
  t.is((await container('host2', server.id))?.status, 'running', 'nobody told the host');
  await startHaulier('host2');
  await until('the container is reaped', 15, async () => (await container('host2', server.id)) === undefined);
  await scene.nothingLeft(server.id);
});

test.serial('a graceful stop ends what runs: a stop is finished, a build is finished or given up cleanly', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const log = Buffer.byteLength(haulierLog('host2'));
  await scene.act(server.id, { 'os-stop': null });
  const building = await scene.boot({ host: 'host2' });
  await until('the build has begun', 10, async () => (await scene.show(building))['OS-EXT-SRV-ATTR:host'] === 'host2');
  await stopHaulier('host2');
  t.is(haulierPid('host2'), undefined);
  t.regex(haulierLog('host2', log), /"msg":"stopped"/);
  t.is((await scene.show(server.id)).status, 'SHUTOFF', 'before it ended, not after');
  const after = await until('the build is decided', 20, async () => {
    const seen = await scene.show(building);
    return seen['OS-EXT-STS:task_state'] === null && seen.status !== 'BUILD' ? seen : undefined;
  }, () => scene.show(building));
  if (after.status === 'ERROR') await scene.nothingLeft(building);
  else t.is(after.status, 'ACTIVE');
  await startHaulier('host2');
  t.is((await scene.show(building)).status, after.status);
});

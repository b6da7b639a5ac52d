/** Resize, cold migration and evacuation through Nova's API, between two hosts: what the user sees, and what lies where. */
import test from 'ava';
import { evacuateFaultPoints } from '../../src/compute/methods/evacuate.js';
import { diskHaulFaultPoints } from '../../src/haul/disk/receive.js';
import { container, died, guest, hosts, killHaulier, startHaulier, stopHaulier, type HostName } from './lib/host.js';
import { haulierLog, inside, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import { hostOf } from './lib/snapshots.js';
import type { Server } from './lib/types.js';

interface Migration { readonly uuid: string; readonly status: string; readonly migration_type: string; readonly source_compute: string; readonly dest_compute: string | null }

const otherOf = (host: HostName): HostName => hosts.find((item) => item !== host)!;
const instances = '/var/lib/nova/instances';

async function migrations(scene: Scene, id: string): Promise<Migration[]> {
  return (await scene.admin.call<{ migrations: Migration[] }>('nova', 'GET', `/v2.1/os-migrations?instance_uuid=${id}`)).migrations;
}

/** From now on the scheduler knows only this host. */
async function only(scene: Scene, host: HostName): Promise<void> {
  const set = async (name: HostName, status: string): Promise<void> => { await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${(await scene.service(name)).id}`, { status }); };
  scene.after(async () => { for (const name of hosts) await set(name, 'enabled'); });
  await set(host, 'enabled');
  await set(otherOf(host), 'disabled');
}

/** Directories of a server on a host, by what follows its id. */
const folders = async (host: HostName, id: string): Promise<string[]> => (await inside(host, ['sh', '-c', `cd ${instances}; ls -d ${id}* 2>/dev/null`])).stdout.trim().split('\n').filter(Boolean).map((name) => name.slice(36)).sort();
/** MiB of memory that the container may use, and of disk that the guest sees. */
async function size(host: HostName, id: string): Promise<{ memory: number; disk: number; vcpus: number }> {
  const limits = JSON.parse(await mustRun(host, ['cat', `${instances}/${id}/bundle/config.json`])) as { linux: { resources: { memory: { limit: number }; cpu: { quota: number; period: number } } } };
  const disk = Number((await guest(host, id, 'df -m / | tail -1')).trim().split(/\s+/)[1]);
  const real = Number((await mustRun(host, ['sh', '-c', `cat $(find /sys/fs/cgroup -type d -name ${id} | head -1)/memory.limit_in_bytes 2>/dev/null || cat $(find /sys/fs/cgroup -path '*memory*' -type d -name ${id} | head -1)/memory.limit_in_bytes 2>/dev/null || cat $(find /sys/fs/cgroup -type d -name ${id} | head -1)/memory.max`])).trim());
  const { memory, cpu } = limits.linux.resources;
  if (real !== memory.limit) throw new Error(`the cgroup has ${real}, the configuration ${memory.limit}`);
  return { memory: real / 1024 / 1024, disk, vcpus: cpu.quota / cpu.period };
}

const addresses = (server: Server): unknown => Object.values(server.addresses).flat().map((item) => [item.addr, item['OS-EXT-IPS-MAC:mac_addr']]).sort();

/** A server with a file of known content. */
async function written(scene: Scene, host: HostName, flavor = 'h1.tiny'): Promise<Server> {
  const server = await scene.active({ host, flavor });
  await guest(host, server.id, 'echo before > /root/file; chown 1000:100 /root/file; mkfifo /root/fifo; ln /root/file /root/link; dd if=/dev/urandom of=/root/blob bs=1M count=8 2>/dev/null; sync');
  return server;
}
const content = async (host: HostName, id: string): Promise<string> => (await guest(host, id, 'cat /root/file; stat -c %u:%g:%h /root/file; test -p /root/fifo && echo fifo; sha256sum /root/blob')).trim();

const resize = async (scene: Scene, id: string, flavor: string): Promise<Server> => {
  await scene.act(id, { resize: { flavorRef: await scene.flavor(flavor) } });
  return scene.reach(id, 'VERIFY_RESIZE', 60);
};
const confirm = async (scene: Scene, id: string): Promise<Server> => {
  await scene.act(id, { confirmResize: null });
  return scene.reach(id, 'ACTIVE');
};
const revert = async (scene: Scene, id: string): Promise<Server> => {
  await scene.act(id, { revertResize: null });
  return scene.reach(id, 'ACTIVE', 60);
};

test.serial('a resize on the same host, reverted, then confirmed', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const before = await content('host1', server.id);
  const [small, allocated] = [await size('host1', server.id), await scene.allocation(server.id)];
  await only(scene, 'host1');

  const resized = await resize(scene, server.id, 'h1.small');
  t.is(hostOf(resized), 'host1');
  t.deepEqual(addresses(resized), addresses(server));
  t.deepEqual(await scene.silent(resized), []);
  t.is(await content('host1', server.id), before);
  const large = await size('host1', server.id);
  t.is(large.memory, 512);
  t.true(large.disk > 1.8 * small.disk, `${small.disk} to ${large.disk} MiB`);
  t.deepEqual(await folders('host1', server.id), ['', '_resize']);
  const [migration] = await migrations(scene, server.id);
  t.like(migration, { status: 'finished', migration_type: 'resize', source_compute: 'host1', dest_compute: 'host1' });
  t.deepEqual([await scene.allocation(server.id), await scene.allocation(migration!.uuid)], [{ VCPU: 1, MEMORY_MB: 512, DISK_GB: 2 }, allocated!]);
  const action = await scene.finished(server.id, 'resize');
  t.deepEqual(action.events.map((event) => [event.event, event.result]).sort(), [['compute_finish_resize', 'Success'], ['compute_prep_resize', 'Success'], ['compute_resize_instance', 'Success'], ['cold_migrate', 'Success'], ['conductor_migrate_server', 'Success']].filter(([event]) => action.events.some((item) => item.event === event)).sort());
  await guest('host1', server.id, 'echo after > /root/file; rm /root/blob; sync');

  const back = await revert(scene, server.id);
  t.deepEqual([hostOf(back), await content('host1', server.id), await size('host1', server.id)], ['host1', before, small]);
  t.deepEqual([await folders('host1', server.id), await scene.allocation(server.id), await scene.allocation(migration!.uuid)], [[''], allocated, undefined]);
  t.deepEqual(await scene.silent(back), []);
  await scene.finished(server.id, 'revertResize');

  await resize(scene, server.id, 'h1.small');
  await guest('host1', server.id, 'echo after > /root/file; sync');
  await confirm(scene, server.id);
  t.deepEqual([await folders('host1', server.id), await scene.allocation(server.id)], [[''], { VCPU: 1, MEMORY_MB: 512, DISK_GB: 2 }]);
  t.is((await guest('host1', server.id, 'cat /root/file')).trim(), 'after');
  t.deepEqual((await migrations(scene, server.id)).map((item) => item.status).sort(), ['confirmed', 'reverted']);
  await scene.act(server.id, { reboot: { type: 'HARD' } });
  await scene.reach(server.id, 'ACTIVE');
  t.is((await size('host1', server.id)).memory, 512);
});

test.serial('a resize to another host, reverted, then confirmed', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const before = await content('host1', server.id);
  const [small, allocated] = [await size('host1', server.id), await scene.allocation(server.id)];
  await only(scene, 'host2');

  const resized = await resize(scene, server.id, 'h1.small');
  t.is(hostOf(resized), 'host2');
  t.deepEqual([addresses(resized), await scene.silent(resized), await content('host2', server.id)], [addresses(server), [], before]);
  t.is((await size('host2', server.id)).memory, 512);
  t.true((await size('host2', server.id)).disk > 1.8 * small.disk);
  t.deepEqual([await folders('host1', server.id), await folders('host2', server.id), await container('host1', server.id)], [['_resize'], [''], undefined]);
  t.deepEqual((await scene.ports(server.id)).map((port) => port['binding:host_id']), ['host2']);
  await guest('host2', server.id, 'echo after > /root/file; sync');

  const back = await revert(scene, server.id);
  t.deepEqual([hostOf(back), addresses(back), await scene.silent(back), await content('host1', server.id), await size('host1', server.id)], ['host1', addresses(server), [], before, small]);
  t.deepEqual([await folders('host1', server.id), await folders('host2', server.id), await container('host2', server.id), await scene.allocation(server.id)], [[''], [], undefined, allocated]);
  t.deepEqual((await scene.ports(server.id)).map((port) => port['binding:host_id']), ['host1']);

  await resize(scene, server.id, 'h1.small');
  const confirmed = await confirm(scene, server.id);
  t.deepEqual([hostOf(confirmed), await scene.silent(confirmed), await content('host2', server.id), await folders('host1', server.id)], ['host2', [], before, []]);
  for (const migration of await migrations(scene, server.id)) t.is(await scene.allocation(migration.uuid), undefined);
});

test.serial('a cold migration of a stopped server, to a named host and back', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const before = await content('host1', server.id);
  await scene.act(server.id, { 'os-stop': null });
  await scene.reach(server.id, 'SHUTOFF');
  for (const [from, to] of [['host1', 'host2'], ['host2', 'host1']] as const) {
    await scene.act(server.id, { migrate: { host: to } });
    const moved = await scene.reach(server.id, 'VERIFY_RESIZE', 60);
    t.deepEqual([hostOf(moved), moved['OS-EXT-STS:power_state'], await container(to, server.id)], [to, 4, undefined]);
    await scene.act(server.id, { confirmResize: null });
    await scene.reach(server.id, 'SHUTOFF');
    t.deepEqual([await folders(from, server.id), await folders(to, server.id)], [[], ['']]);
  }
  await scene.act(server.id, { 'os-start': null });
  t.deepEqual(await scene.silent(await scene.reach(server.id, 'ACTIVE')), []);
  t.is(await content('host1', server.id), before);
  await scene.act(server.id, { suspend: null });
  await scene.reach(server.id, 'SUSPENDED', 60);
  t.is((await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, { migrate: { host: 'host2' } })).status, 409, 'Nova moves active and stopped servers only');
});

test.serial('a smaller disk is refused, and the guest does not notice', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host1' });
  await only(scene, 'host1');
  // the API itself refuses less than what the server was booted with
  await resize(scene, server.id, 'h1.small');
  const { pid } = (await scene.container(await confirm(scene, server.id)))!;
  await scene.act(server.id, { resize: { flavorRef: await scene.flavor('h1.tiny') } });
  await until('the refusal', 30, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === null && (await migrations(scene, server.id)).some((item) => item.status === 'error'));
  const after = await scene.reach(server.id, 'ACTIVE');
  t.is((await scene.container(after))?.pid, pid);
  t.deepEqual([await scene.allocation(server.id), await folders('host1', server.id)], [{ VCPU: 1, MEMORY_MB: 512, DISK_GB: 2 }, ['']]);
  t.true((await scene.action(server.id, 'resize')).events.some((event) => event.result === 'Error'));
});

/** The server runs at its old host as before, and nothing is left of the move. */
async function asBefore(t: import('ava').ExecutionContext, scene: Scene, server: Server, before: string): Promise<void> {
  const after = await until('the move is off', 60, async () => {
    const now = await scene.show(server.id);
    return now['OS-EXT-STS:task_state'] === null ? now : undefined;
  }, () => haulierLog('host1').slice(-1500));
  t.deepEqual([after.status, hostOf(after)], ['ACTIVE', 'host1'], after.fault?.message);
  t.is(await content('host1', server.id), before);
  t.deepEqual(await scene.silent(after), []);
  t.deepEqual([await folders('host1', server.id), await scene.allocation(server.id)], [[''], { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 }]);
  await until('nothing at the other host', 20, async () => (await folders('host2', server.id)).length === 0, () => folders('host2', server.id));
  const [migration] = (await migrations(scene, server.id)).filter((item) => !['confirmed', 'reverted', 'error'].includes(item.status));
  t.is(migration, undefined);
}

test.serial('a destination that fails, or dies, leaves the server running at its source', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const before = await content('host1', server.id);
  await only(scene, 'host2');
  for (const fault of ['fail:haul.disk.written', ...diskHaulFaultPoints.map((point) => `kill:${point}`)]) {
    await scene.fault('host2', fault);
    await scene.act(server.id, { resize: { flavorRef: await scene.flavor('h1.small') } });
    if (fault.startsWith('kill:')) await died('host2', 60);
    else await until('the failure', 60, async () => ((found) => found.length > 0 && found.every((item) => item.status === 'error'))(await migrations(scene, server.id)));
    await until('given up', 60, async () => (await scene.show(server.id))['OS-EXT-STS:task_state'] === null);
    await scene.clean('host2');
    await asBefore(t, scene, server, before);
  }
});

test.serial('a source that dies in a move finishes it or takes it back at its next start', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const before = await content('host1', server.id);
  await only(scene, 'host2');
  for (const point of ['resize.stopped', 'resize.moved']) {
    await scene.fault('host1', `kill:${point}`);
    await scene.act(server.id, { resize: { flavorRef: await scene.flavor('h1.small') } });
    await died('host1', 60);
    await scene.clean('host1');
    if (point === 'resize.moved') { // what came is thrown away at the destination's next start at the latest
      await stopHaulier('host2');
      await startHaulier('host2');
    }
    await asBefore(t, scene, server, before);
  }
  await scene.fault('host1', 'kill:resize.saved');
  await scene.act(server.id, { resize: { flavorRef: await scene.flavor('h1.small') } });
  await died('host1', 60);
  await scene.clean('host1');
  const moved = await scene.reach(server.id, 'VERIFY_RESIZE', 60);
  t.deepEqual([hostOf(moved), await content('host2', server.id), await scene.silent(moved)], ['host2', before, []]);
  await scene.fault('host2', 'kill:revert.saved');
  await scene.act(server.id, { revertResize: null });
  await died('host2', 30);
  await scene.clean('host2');
  t.is(hostOf(await scene.reach(server.id, 'ACTIVE', 60)), 'host1');
  await asBefore(t, scene, server, before);
});

/** The server's host is dead: its service, and what ran on it. */
async function dies(scene: Scene, server: Server): Promise<void> {
  const { id } = await scene.service('host1');
  scene.after(async () => {
    await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: false });
    const { updated_at: before } = await scene.service('host1');
    await startHaulier('host1');
    await until('a new beat of host1', 20, async () => ((now) => now.updated_at !== before && now.state === 'up')(await scene.service('host1')));
  });
  await killHaulier('host1');
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: true });
  await mustRun('host1', ['runc', '--root', '/run/haulier/runc', 'kill', server.id, 'KILL']);
}

for (const point of evacuateFaultPoints) {
  test.serial(`a host that dies while it takes a server over, at ${point}: it has it, or takes it over at the next try`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await written(scene, 'host1');
    await scene.fault('host2', `kill:${point}`);
    await dies(scene, server);
    await scene.act(server.id, { evacuate: {} });
    await died('host2', 60);
    await scene.clean('host2');
    const after = await until('decided', 60, async () => ((now) => (now['OS-EXT-STS:task_state'] === null ? now : undefined))(await scene.show(server.id)), () => scene.show(server.id));
    if (hostOf(after) === 'host1') {
      // its files may stay: nobody knows whether they are the dead host's own, and the next try uses them
      t.deepEqual([after.status, await container('host2', server.id)], ['ERROR', undefined]);
      await scene.act(server.id, { evacuate: {} });
    }
    const there = await scene.reach(server.id, 'ACTIVE', 60);
    t.is(hostOf(there), 'host2');
    await until('it answers', 20, async () => (await scene.silent(there)).length === 0, () => scene.silent(there));
  });
}

test.serial('evacuation: the server runs on another host; the dead one throws its copy away when it is back', async (t) => {
  const scene = await Scene.begin(t);
  const server = await written(scene, 'host1');
  const bystander = await scene.active({ host: 'host1' });
  const { id } = await scene.service('host1');
  scene.after(() => scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: false }));
  await killHaulier('host1');
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: true });
  // the machine is dead, not only its service
  await mustRun('host1', ['runc', '--root', '/run/haulier/runc', 'kill', server.id, 'KILL']);
  await mustRun('host1', ['sh', '-c', `ovs-vsctl --if-exists del-port br-int $(ls /sys/class/net | grep ^tap${(await scene.ports(server.id))[0]!.id.slice(0, 11)} || echo none)`]);
  await scene.act(server.id, { evacuate: {} });
  const there = await until('evacuated', 60, async () => {
    const now = await scene.show(server.id);
    return now['OS-EXT-STS:task_state'] === null && hostOf(now) === 'host2' ? now : undefined;
  }, () => haulierLog('host2').slice(-1500));
  t.deepEqual([there.status, addresses(there), await scene.silent(there)], ['ACTIVE', addresses(server), []]);
  t.is((await guest('host2', server.id, 'cat /root/file 2>/dev/null; hostname')).trim(), server.name);
  t.deepEqual((await scene.ports(server.id)).map((port) => port['binding:host_id']), ['host2']);
  t.like((await migrations(scene, server.id))[0], { status: 'done', migration_type: 'evacuation' });
  t.deepEqual(await folders('host1', server.id), [''], 'still there');
  await startHaulier('host1');
  await until('the copy is gone', 20, async () => (await folders('host1', server.id)).length === 0);
  t.like((await migrations(scene, server.id))[0], { status: 'completed' });
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { forced_down: false });
  t.deepEqual([await folders('host1', bystander.id), await scene.silent(bystander), await scene.silent(there)], [[''], [], []]);
  t.is(Object.keys((await scene.admin.call<{ allocations: object }>('placement', 'GET', `/allocations/${server.id}`)).allocations).length, 1);
});

/** A server's life through Nova's API: boot, look, power, delete. */
import test from 'ava';
import { container, guest, guestStatus, hosts } from './lib/host.js';
import { mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Server } from './lib/types.js';

const power = (server: Server): [string, number] => [server['OS-EXT-STS:vm_state'], server['OS-EXT-STS:power_state']];

for (const [host, how] of [['host1', { zone: 'nova:host1' }], ['host2', { host: 'host2' }]] as const) {
  test.serial(`boot on ${host}: addresses answer, the inside is right, and a delete leaves nothing`, async (t) => {
    const scene = await Scene.begin(t);
    const server = await scene.active(how);
    t.is(server['OS-EXT-SRV-ATTR:host'], host);
    t.deepEqual(power(server), ['active', 1]);
    t.deepEqual(await scene.silent(server), []);
    t.is(scene.addresses(server, 4).length, 1);
    t.is(scene.addresses(server, 6).length, 1);

    const [port] = await scene.ports(server.id);
    t.like(port, { status: 'ACTIVE', 'binding:host_id': host, 'binding:vif_type': 'ovs', device_owner: 'compute:nova' });
    t.deepEqual(await scene.allocation(server.id), { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 });

    const [v4] = scene.addresses(server, 4);
    const [v6] = scene.addresses(server, 6);
    const inside = await guest(host, server.id, 'hostname; cat /etc/hosts; cat /proc/self/uid_map; ip -o addr show eth0; ip route; ip -6 route; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu');
    t.true(inside.startsWith(`${server.name}\n`), inside);
    t.regex(inside, new RegExp(`^(${v4}|127\\.0\\.1\\.1)\\s+.*${server.name}`, 'm'), 'own name in /etc/hosts');
    t.true(inside.includes(`${v4}/24`) && inside.includes(`${v6}/64`), inside);
    t.true(inside.includes('default via 10.71.0.1') && inside.includes('default via fd71::1'), inside);
    t.true(inside.includes(port!.mac_address));
    t.regex(inside, /^1500$/m);
    const [, mapped] = /^ +0 +(\d+) +65536$/m.exec(inside) ?? [];
    t.true(Number(mapped) >= 0x70000000, `a range of its own, not ${mapped}`);

    const pid = (await container(host, server.id))!.pid;
    t.regex(await mustRun(host, ['cat', `/proc/${pid}/status`]), new RegExp(`^Uid:\\s+${mapped}\\s`, 'm'), 'PID 1 is nobody on the host');

    const { output } = await scene.admin.call<{ output: string }>('nova', 'POST', `/v2.1/servers/${server.id}/action`, { 'os-getConsoleOutput': {} });
    t.true(output.includes(`host name ${server.name}`) && output.includes('haulier demo ready'), output);
    const tail = await scene.admin.call<{ output: string }>('nova', 'POST', `/v2.1/servers/${server.id}/action`, { 'os-getConsoleOutput': { length: 1 } });
    t.is(tail.output.trimEnd().split('\n').length, 1);

    const create = await scene.finished(server.id, 'create');
    t.deepEqual([create.events.map((event) => event.result), create.message], [create.events.map(() => 'Success'), null]);
    t.true(create.events.some((event) => event.event === 'compute__do_build_and_run_instance' && event.host === host));

    await scene.delete(server.id);
    await scene.nothingLeft();
  });
}

test.serial('limits: disk, memory, processes', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const kib = Number((await guest('host2', server.id, 'df -k / | tail -1')).split(/\s+/)[1]);
  t.true(kib > 0.85 * 1024 * 1024 && kib <= 1024 * 1024, `the root disk has ${kib} KiB, not 1 GiB`);
  t.not(await guestStatus('host2', server.id, 'dd if=/dev/zero of=/fill bs=1M count=1100'), 0);
  t.is(await guestStatus('host2', server.id, 'rm /fill; echo ok >/small && cat /small'), 0, 'a full disk can be emptied again');

  t.not(await guestStatus('host2', server.id, 'dd if=/dev/zero of=/dev/null bs=200M count=1'), 0, '200 MiB in a server of 128');
  t.is((await scene.show(server.id)).status, 'ACTIVE', 'too much memory ends the program, not the server');
  t.is((await container('host2', server.id))?.status, 'running');
  t.regex(await mustRun('host2', ['find', '/sys/fs/cgroup', '-path', `*/${server.id}/pids.max`, '-exec', 'cat', '{}', '+']), /^4096$/m);
});

test.serial('stop, start, reboot soft and hard, pause, unpause: states, address, actions', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const pid = async (): Promise<number | undefined> => (await container('host2', server.id))?.pid;
  const step = async (body: Record<string, unknown>, status: string, action: string, states: [string, number]): Promise<Server> => {
    await scene.act(server.id, body);
    const after = await scene.reach(server.id, status);
    t.deepEqual(power(after), states, action);
    t.deepEqual(after.addresses, server.addresses, action);
    const done = await scene.finished(server.id, action);
    t.deepEqual([done.message, done.events.map((event) => event.result)], [null, ['Success']], action);
    return after;
  };
  await guest('host2', server.id, 'echo kept >/root/file');

  await step({ 'os-stop': null }, 'SHUTOFF', 'stop', ['stopped', 4]);
  t.is(await pid(), undefined);
  t.is((await scene.admin.raw('nova', 'GET', `/v2.1/servers/${server.id}/diagnostics`)).status, 409, 'no diagnostics of what is off');
  await step({ 'os-start': null }, 'ACTIVE', 'start', ['active', 1]);
  t.is(await guest('host2', server.id, 'cat /root/file'), 'kept\n');
  t.deepEqual(await scene.silent(server), []);

  for (const type of ['SOFT', 'HARD']) {
    const before = await pid();
    await step({ reboot: { type } }, 'ACTIVE', 'reboot', ['active', 1]);
    t.not(await pid(), before, type);
    t.deepEqual(await scene.silent(server), [], type);
  }

  const same = await pid();
  await step({ pause: null }, 'PAUSED', 'pause', ['paused', 3]);
  t.is((await container('host2', server.id))?.status, 'paused');
  await step({ unpause: null }, 'ACTIVE', 'unpause', ['active', 1]);
  t.is(await pid(), same);
  t.deepEqual(await scene.silent(server), []);

  await scene.act(server.id, { pause: null });
  await scene.reach(server.id, 'PAUSED');
  await scene.delete(server.id); // frozen processes are no obstacle
  await scene.nothingLeft();
});

test.serial('diagnostics, old and new', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const path = `/v2.1/servers/${server.id}/diagnostics`;
  const old = await scene.admin.call<Record<string, number>>('nova', 'GET', path, undefined, '2.1');
  t.is(old['memory'], 128 * 1024);
  t.true(old['cpu0_time']! > 0 && old['memory-rss']! > 0 && old['vnet0_rx']! >= 0);
  const now = await scene.admin.call<{ state: string; driver: string; hypervisor: string; uptime: number; num_cpus: number; nic_details: { mac_address: string }[]; memory_details: { maximum: number; used: number } }>('nova', 'GET', path, undefined, '2.48');
  t.like(now, { state: 'running', hypervisor: 'haulier', num_cpus: 1 });
  t.is(now.memory_details.maximum, 128);
  t.is(now.nic_details[0]?.mac_address, (await scene.ports(server.id))[0]?.mac_address);
});

test.serial('a container that ends by itself is SHUTOFF, with an action; started again it works', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  for (const end of ['poweroff', 'kill'] as const) {
    if (end === 'poweroff') await guest('host2', server.id, 'poweroff').catch(() => undefined);
    else await mustRun('host2', ['kill', '-9', String((await container('host2', server.id))!.pid)]);
    const off = await scene.reach(server.id, 'SHUTOFF', 20);
    t.is(off['OS-EXT-STS:power_state'], end === 'kill' ? 6 : 4, 'off, or crashed');
    await scene.action(server.id, 'stop');
    await scene.act(server.id, { 'os-start': null });
    await scene.reach(server.id, 'ACTIVE');
    t.deepEqual(await scene.silent(server), [], end);
  }
});

test.serial('a guest that reboots comes back by itself', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const before = (await container('host2', server.id))!.pid;
  await guest('host2', server.id, 'reboot').catch(() => undefined);
  await until('a new PID 1', 20, async () => {
    const now = await container('host2', server.id);
    return now !== undefined && now.pid !== before && now.status === 'running';
  });
  t.like(await scene.reach(server.id, 'ACTIVE'), { status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
  t.deepEqual(await scene.silent(server), []);
});

test.serial('delete: forced, while stopped, and while building', async (t) => {
  const scene = await Scene.begin(t);
  const [forced, stopped] = await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host1' })]);
  await scene.delete(forced.id, 'forceDelete');
  await scene.act(stopped.id, { 'os-stop': null });
  await scene.reach(stopped.id, 'SHUTOFF');
  await scene.delete(stopped.id);
  // at several moments of a build
  for (const delay of [0, 300, 600, 900, 1200]) {
    const id = await scene.boot({ host: hosts[(delay / 300) % 2] });
    await new Promise((resolve) => setTimeout(resolve, delay));
    await scene.delete(id);
  }
  await scene.nothingLeft();
  t.pass();
});

test.serial('soft delete is not configured: a delete is final, restore is refused', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  t.is((await scene.admin.raw('nova', 'POST', `/v2.1/servers/${server.id}/action`, { restore: null })).status, 409);
  await scene.delete(server.id);
  t.is(await scene.find(server.id), undefined);
});

/** Ports, networks, security groups. */
import test from 'ava';
import { guest, guestStatus } from './lib/host.js';
import { answers, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Port, Server } from './lib/types.js';

async function vlan(scene: Scene, cidr: string, pool?: { start: string; end: string }): Promise<string> {
  const { network } = await scene.admin.call<{ network: { id: string } }>('neutron', 'POST', '/v2.0/networks', { network: { name: 'ct-vlan', 'provider:network_type': 'vlan', 'provider:physical_network': 'physnet1' } });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/networks/${network.id}`));
  await scene.admin.call('neutron', 'POST', '/v2.0/subnets', { subnet: { network_id: network.id, ip_version: 4, cidr, gateway_ip: null, enable_dhcp: false, dns_nameservers: ['10.9.9.9'], ...(pool ? { allocation_pools: [pool] } : {}) } });
  return network.id;
}

async function port(scene: Scene, body: Record<string, unknown>): Promise<Port> {
  const { port: made } = await scene.admin.call<{ port: Port }>('neutron', 'POST', '/v2.0/ports', { port: body });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/ports/${made.id}`));
  return made;
}

test.serial('several ports in order: one that the user brought, one with a wished address; his own survives the delete', async (t) => {
  const scene = await Scene.begin(t);
  const network = await vlan(scene, '10.73.0.0/24');
  const own = await port(scene, { network_id: scene.ground.publicNetwork, name: 'ct-own', description: 'kept' });
  const server = await scene.active({ host: 'host2', networks: [{ port: own.id }, { uuid: network, fixed_ip: '10.73.0.77' }] });
  const inside = await guest('host2', server.id, 'ip -o -4 addr; cat /etc/resolv.conf; ip route');
  t.regex(inside, new RegExp(`eth0 +inet ${own.fixed_ips.find((ip) => ip.ip_address.includes('.'))!.ip_address}/24`));
  t.regex(inside, /eth1 +inet 10\.73\.0\.77\/24/);
  t.true(inside.includes('nameserver 10.9.9.9'), inside);
  t.is(inside.match(/^default /gm)?.length, 1);
  t.deepEqual((await scene.ports(server.id)).map((item) => item.status), ['ACTIVE', 'ACTIVE']);
  t.true(await answers(own.fixed_ips.find((ip) => ip.ip_address.includes('.'))!.ip_address));

  await scene.delete(server.id);
  const { port: kept } = await scene.admin.call<{ port: Port }>('neutron', 'GET', `/v2.0/ports/${own.id}`);
  t.like(kept, { name: 'ct-own', device_id: '', device_owner: '', 'binding:host_id': '', 'binding:vif_type': 'unbound', mac_address: own.mac_address });
  t.deepEqual(kept.fixed_ips, own.fixed_ips);
});

test.serial('the user\'s own port is also given back when the build fails, and can be used again', async (t) => {
  const scene = await Scene.begin(t);
  const own = await port(scene, { network_id: scene.ground.publicNetwork });
  await scene.fault('host2', 'fail:container.start.run:1');
  const failed = await scene.boot({ zone: 'nova:host2', networks: [{ port: own.id }] });
  await scene.reach(failed, 'ERROR');
  t.like((await scene.admin.call<{ port: Port }>('neutron', 'GET', `/v2.0/ports/${own.id}`)).port, { device_id: '', 'binding:vif_type': 'unbound' });
  await scene.delete(failed);
  const server = await scene.active({ host: 'host2', networks: [{ port: own.id }] });
  t.deepEqual(await scene.silent(server), []);
});

test.serial('a VLAN network joins containers of two hosts, and only them', async (t) => {
  const scene = await Scene.begin(t);
  const network = await vlan(scene, '10.74.0.0/24');
  const [one, two] = (await Promise.all([scene.active({ host: 'host1', networks: [{ uuid: network }] }), scene.active({ host: 'host2', networks: [{ uuid: network }] })])) as [Server, Server];
  const [there] = scene.addresses(two, 4);
  const [here] = scene.addresses(one, 4);
  await until('container to container', 10, async () => (await guestStatus('host1', one.id, `ping -c 1 -W 1 ${there}`)) === 0);
  t.is(await guestStatus('host2', two.id, `ping -c 1 -W 1 ${here}`), 0);
  t.is(await guestStatus('host2', two.id, 'ping -c 1 -W 1 10.71.0.2'), 1, 'nothing else is reached');
  t.regex(await guest('host2', two.id, `wget -q -O - http://${here}/`), /haulier demo/);
});

test.serial('a security group blocks until a rule allows', async (t) => {
  const scene = await Scene.begin(t);
  const { security_group: group } = await scene.admin.call<{ security_group: { id: string } }>('neutron', 'POST', '/v2.0/security-groups', { security_group: { name: 'ct-closed' } });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/security-groups/${group.id}`));
  const server = await scene.active({ host: 'host2', extra: { security_groups: [{ name: 'ct-closed' }] } });
  const [v4] = scene.addresses(server, 4);
  t.false(await answers(v4!, 3), 'no rule, no answer');
  t.is(await guestStatus('host2', server.id, 'ping -c 1 -W 2 10.71.0.2'), 0, 'outwards is open');
  await scene.admin.call('neutron', 'POST', '/v2.0/security-group-rules', { security_group_rule: { security_group_id: group.id, direction: 'ingress', ethertype: 'IPv4', protocol: 'icmp' } });
  t.true(await answers(v4!, 15), 'with the rule');
});

test.serial('spoofed addresses do not get out', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  t.is(await guestStatus('host2', server.id, 'ping -c 1 -W 2 10.71.0.2'), 0);
  await guest('host2', server.id, 'ip addr add 10.71.0.9/24 dev eth0').catch(() => undefined);
  t.not(await guestStatus('host2', server.id, 'ping -c 1 -W 2 -I 10.71.0.9 10.71.0.2'), 0);
});

test.serial('four servers with one request', async (t) => {
  const scene = await Scene.begin(t);
  const first = await scene.boot({ count: 4 });
  const { name } = await scene.show(first);
  const base = name.replace(/-\d+$/, '');
  const all = await Promise.all((await scene.servers(base)).map((server) => scene.reach(server.id, 'ACTIVE', 60)));
  t.is(all.length, 4);
  t.is(new Set(all.flatMap((server) => scene.addresses(server, 4))).size, 4);
  t.deepEqual((await Promise.all(all.map((server) => scene.silent(server)))).flat(), []);
  await Promise.all(all.map((server) => scene.delete(server.id)));
  await scene.nothingLeft();
});

test.serial('an address that had another owner answers at once, although it is remembered with the old MAC', async (t) => {
  const scene = await Scene.begin(t);
  const first = await scene.active({ host: 'host2' });
  const addresses = Object.values(first.addresses).flat();
  t.deepEqual(addresses.map(({ version }) => version).sort(), [4, 6]);
  t.deepEqual(await scene.silent(first), []);
  const [old] = addresses;
  await scene.delete(first.id);
  // the neighbour's memory of the first owner, as fresh as can be
  for (const { addr } of addresses) await mustRun('ctl', ['ip', 'neigh', 'replace', addr, 'lladdr', old!['OS-EXT-IPS-MAC:mac_addr'], 'dev', 'data0', 'nud', 'reachable']);
  const mine = await port(scene, { network_id: scene.ground.publicNetwork, fixed_ips: addresses.map(({ addr }) => ({ ip_address: addr })) });
  t.not(mine.mac_address, old!['OS-EXT-IPS-MAC:mac_addr']);
  const second = await scene.active({ host: 'host1', networks: [{ port: mine.id }] });
  for (const { addr } of addresses) {
    await until(`${addr} is known to be ${mine.mac_address}`, 3, async () => (await mustRun('ctl', ['ip', 'neigh', 'show', addr, 'dev', 'data0'])).includes(mine.mac_address), () => mustRun('ctl', ['ip', 'neigh', 'show', addr, 'dev', 'data0']));
    t.true(await answers(addr, 2), addr);
  }
  t.deepEqual(await scene.silent(second), []);
});

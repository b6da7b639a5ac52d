/** Interfaces that are attached to, and detached from, a server that runs, is suspended, moved and rebooted in between. */
import test from 'ava';
import { interfaceFaultPoints } from '../../src/compute/methods/interfaces.js';
import { container, guest, guestStatus } from './lib/host.js';
import { ask, over } from './lib/live.js';
import { until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Port } from './lib/types.js';

interface Attachment { readonly interfaceAttachment: { readonly port_id: string; readonly mac_addr: string; readonly fixed_ips: readonly { readonly ip_address: string }[] } }

const path = (id: string): string => `/v2.1/servers/${id}/os-interface`;

async function vlan(scene: Scene, cidr: string): Promise<string> {
  const { network } = await scene.admin.call<{ network: { id: string } }>('neutron', 'POST', '/v2.0/networks', { network: { name: 'ct-attach', 'provider:network_type': 'vlan', 'provider:physical_network': 'physnet1' } });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/networks/${network.id}`));
  await scene.admin.call('neutron', 'POST', '/v2.0/subnets', { subnet: { network_id: network.id, ip_version: 4, cidr, gateway_ip: null, enable_dhcp: false } });
  return network.id;
}

test.serial('attached while it runs: address, name and number inside stay through suspend, live migration and a hard reboot; the user\'s own port comes back', async (t) => {
  const scene = await Scene.begin(t);
  const network = await vlan(scene, '10.75.0.0/24');
  const [server, peer] = await Promise.all([scene.active({ host: 'host2' }), scene.active({ host: 'host1', networks: [{ uuid: network }] })]);
  const { port: own } = await scene.admin.call<{ port: Port }>('neutron', 'POST', '/v2.0/ports', { port: { network_id: scene.ground.publicNetwork } });
  scene.after(() => scene.admin.remove('neutron', `/v2.0/ports/${own.id}`));
  const [there] = scene.addresses(peer, 4);
  const before = (await container('host2', server.id))!.pid;

  const made = (await scene.admin.call<Attachment>('nova', 'POST', path(server.id), { interfaceAttachment: { net_id: network, fixed_ips: [{ ip_address: '10.75.0.77' }] } })).interfaceAttachment;
  const given = (await scene.admin.call<Attachment>('nova', 'POST', path(server.id), { interfaceAttachment: { port_id: own.id } })).interfaceAttachment;
  t.is(given.port_id, own.id);
  const again = await scene.admin.raw('nova', 'POST', path(server.id), { interfaceAttachment: { port_id: own.id } });
  t.is(again.status, 409, again.text);
  const rightInside = async (host: 'host1' | 'host2'): Promise<void> => {
    const inside = await guest(host, server.id, 'ip -o -4 addr; cat /sys/class/net/eth1/address /sys/class/net/eth1/ifindex /sys/class/net/eth2/ifindex; ip route');
    t.regex(inside, /eth1 +inet 10\.75\.0\.77\/24/);
    t.regex(inside, new RegExp(`^${made.mac_addr}\n101\n102$`, 'm'));
    t.is(inside.match(/^default /gm)?.length, 1, inside);
    await until('the peer on the other network', 20, async () => (await guestStatus(host, server.id, `ping -c 1 -W 1 ${there}`)) === 0);
    for (const { ip_address: address } of own.fixed_ips) t.true((await guest(host, server.id, 'ip -o addr show dev eth2')).includes(` ${address}/`), address);
    // asked from there: an answer to it would leave by eth0, with an address that is not eth0's
    await until('the gateway through eth2', 20, async () => (await guestStatus(host, server.id, 'ping -c 1 -W 1 -I eth2 10.71.0.2')) === 0);
  };
  await rightInside('host2');
  t.is((await container('host2', server.id))?.pid, before, 'it was not restarted');
  await until('all ports are active', 20, async () => (await scene.ports(server.id)).every(({ status }) => status === 'ACTIVE'), () => scene.ports(server.id));
  t.deepEqual(Object.values((await scene.show(server.id)).addresses).flat().map(({ addr }) => addr).filter((addr) => addr === '10.75.0.77'), ['10.75.0.77']);

  await scene.act(server.id, { suspend: null });
  await scene.reach(server.id, 'SUSPENDED');
  await scene.act(server.id, { resume: null });
  await scene.reach(server.id, 'ACTIVE');
  await rightInside('host2');
  await ask(scene, server.id, 'host1');
  t.is((await over(scene, server.id)).migration.status, 'completed');
  await rightInside('host1');
  await scene.act(server.id, { reboot: { type: 'HARD' } });
  await scene.reach(server.id, 'ACTIVE');
  await rightInside('host1');

  for (const id of [own.id, made.port_id]) {
    await scene.admin.call('nova', 'DELETE', `${path(server.id)}/${id}`);
    await until(`${id} is detached`, 20, async () => (await scene.ports(server.id)).every((port) => port.id !== id), async () => [await scene.ports(server.id), await scene.finished(server.id, 'detach_interface')]);
  }
  t.is((await scene.finished(server.id, 'detach_interface')).message, null);
  t.notRegex(await guest('host1', server.id, 'ls /sys/class/net'), /eth[12]/);
  t.like((await scene.admin.call<{ port: Port }>('neutron', 'GET', `/v2.0/ports/${own.id}`)).port, { device_id: '', 'binding:vif_type': 'unbound' });
  t.is((await scene.admin.raw('neutron', 'GET', `/v2.0/ports/${made.port_id}`)).status, 404);
  t.deepEqual(await scene.silent(await scene.show(server.id)), []);
  await scene.delete(server.id);
  await scene.nothingLeft(server.id, own.id.slice(0, 11), made.port_id.slice(0, 11));
});

test.serial('a failure at any step of an attachment leaves the server as it was; one of a detachment can be repeated', async (t) => {
  const scene = await Scene.begin(t);
  const server = await scene.active({ host: 'host2' });
  const [first] = await scene.ports(server.id);
  const attach = (): ReturnType<typeof scene.admin.raw> => scene.admin.raw('nova', 'POST', path(server.id), { interfaceAttachment: { net_id: scene.ground.publicNetwork } });
  const ports = async (): Promise<string[]> => (await scene.ports(server.id)).map(({ id }) => id);
  await scene.fault('host2', interfaceFaultPoints.map((point) => `fail:${point}:1`).join());
  for (const point of interfaceFaultPoints.filter((name) => name.startsWith('attach.'))) {
    t.is((await attach()).status, 500, point);
    t.deepEqual(await ports(), [first!.id], point);
    t.notRegex(await guest('host2', server.id, 'ls /sys/class/net'), /eth1/, point);
  }
  const { interfaceAttachment: made } = JSON.parse((await attach()).text) as Attachment;
  t.is((await ports()).length, 2);
  // unplugged, then failed; out of neutron, then failed: what is gone is not missed at the next try
  await scene.admin.call('nova', 'DELETE', `${path(server.id)}/${made.port_id}`);
  t.is((await scene.finished(server.id, 'detach_interface')).message, 'Error');
  t.is((await ports()).length, 2);
  await scene.admin.call('nova', 'DELETE', `${path(server.id)}/${made.port_id}`);
  await until('it is gone', 20, async () => (await ports()).length === 1);
  await until('the cache follows', 20, async () => Object.values((await scene.show(server.id)).addresses).flat().length === 2);
  t.like(await scene.reach(server.id, 'ACTIVE'), { 'OS-EXT-STS:task_state': null });
  t.deepEqual(await scene.silent(await scene.show(server.id)), []);
});

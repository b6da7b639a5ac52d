import test from 'ava';
import { Operation } from '../../../src/base/operation.js';
import { silentLog } from '../../../src/base/log.js';
import { containerSpec, limitsOf } from '../../../src/compute/container-spec.js';
import { isInCidr, prefixLengthOf } from '../../../src/compute/network/cidr.js';
import { vifModel, type ModelOptions, type NetworkRecords } from '../../../src/compute/network/network-model.js';
import { resolveRequested, securityGroupIds } from '../../../src/compute/network/requested.js';
import { refreshVifs } from '../../../src/compute/network/info-cache.js';
import { vifSpecs } from '../../../src/compute/network/vif-spec.js';
import type { VifInfo } from '../../../src/nova/network-info.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';
import type { Network, Port, Subnet } from '../../../src/openstack/types.js';
import { wire } from './fake-nova.js';
import { answer, context, messages, uuid, world, type World } from './world.js';

/** The texts that a stock service stored in a flow. */
function stored(flow: string): string[] {
  return messages(flow).flatMap(({ args }) => (args?.objmethod === 'save' && args.objinst?.['nova_object.name'] === 'InstanceInfoCache' ? [String(args.objinst['nova_object.data']['network_info'])] : []));
}
const options: ModelOptions = { preserved: new Set(), ovsBridge: 'br-int', shouldCreateBridge: true, dhcpFlag: true };
const recorded = (): { port: Port; records: NetworkRecords } => ({
  port: answer<Port[]>('boot', 'GET', '/v2.0/ports?tenant_id', 'ports')[0]!,
  records: { networks: answer<Network[]>('boot', 'GET', '/v2.0/networks?id', 'networks'), subnets: answer<Subnet[]>('boot', 'GET', '/v2.0/subnets', 'subnets'), servicePorts: [], floatingIps: [] },
});
const vif = (change: Partial<Port> = {}, records: Partial<NetworkRecords> = {}, more: Partial<ModelOptions> = {}): VifInfo => {
  const known = recorded();
  return vifModel({ ...known.port, ...change }, { ...known.records, ...records }, { ...options, ...more });
};

test('the model of the recorded neutron answers is the recorded text, in the order of its keys', (t) => {
  const texts = stored('boot').filter((text) => text !== '[]');
  t.true(texts.length > 0);
  for (const text of texts) t.is(JSON.stringify([vif()]), JSON.stringify(JSON.parse(text)));
});

test('every recorded model has the members of ours: what the recordings without neutron\'s answers can show', (t) => {
  const keys = (value: unknown): unknown => (Array.isArray(value) ? value.slice(0, 1).map(keys) : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === 'details' || key === 'profile' ? 0 : keys(item)])) : 0);
  const texts = ['boot', 'vif-plugged', 'unshelve', 'interface-attach'].flatMap(stored).filter((text) => text !== '[]');
  for (const text of texts) for (const item of JSON.parse(text) as unknown[]) t.deepEqual(keys(item), keys(vif()));
});

test('model: states, bridges, types', (t) => {
  t.deepEqual([vif({ status: 'ACTIVE' }).active, vif({ status: 'DOWN', admin_state_up: false }).active, vif().active], [true, true, false]);
  const bridge = vif({ 'binding:vif_type': 'bridge', 'binding:vif_details': {} });
  t.deepEqual([bridge.network.bridge, bridge.network.should_create_bridge, bridge.ovs_interfaceid], ['brq1197b85a-3e', true, null]);
  t.false('should_create_bridge' in vif({ 'binding:vif_type': 'bridge' }, {}, { shouldCreateBridge: false }).network);
  t.is(vif({ 'binding:vif_details': {} }).network.bridge, 'br-int');
  t.is(vif({ 'binding:vif_type': 'tap' }).network.bridge, null);
  t.true(vif({}, {}, { preserved: new Set(['4c62ff61-efe1-4e3e-8f84-a8121c228fbb']) }).preserve_on_delete);
  const tunneled = { networks: [{ ...recorded().records.networks[0]!, 'provider:network_type': 'vxlan', 'provider:physical_network': null }] };
  t.deepEqual([vif({}, tunneled).network.meta['tunneled'], vif({}, tunneled).network.meta['physical_network']], [true, null]);
});

test('model: DHCP as each release has it, floating addresses, routes, IPv6, no gateway', (t) => {
  const { records, port } = recorded();
  const subnet = records.subnets[0]!;
  const dhcp = [{ ...port, id: 'd', device_owner: 'network:dhcp', fixed_ips: [{ subnet_id: subnet.id, ip_address: '10.77.0.2' }] }];
  t.deepEqual(vif({}, { servicePorts: dhcp }).network.subnets[0]?.meta, { enable_dhcp: true, dhcp_server: '10.77.0.2', metadata_gateway: '10.77.0.2' });
  const owned = (owner: string, address: string): Port => ({ ...dhcp[0]!, device_owner: owner, fixed_ips: [{ subnet_id: subnet.id, ip_address: address }] });
  t.deepEqual(vif({}, { servicePorts: [...dhcp, owned('network:router_interface', '10.77.0.1')] }).network.subnets[0]?.meta, { enable_dhcp: true, dhcp_server: '10.77.0.2' }, 'a router answers for the metadata service');
  t.deepEqual(vif({}, { servicePorts: [owned('network:distributed', '10.77.0.3'), owned('network:router_interface', '10.77.0.1')] }).network.subnets[0]?.meta, { enable_dhcp: true, metadata_gateway: '10.77.0.3' }, 'OVN');
  t.deepEqual(vifSpecs([vif({}, { servicePorts: dhcp })])[0]?.routes.filter(({ destination }) => destination === '169.254.169.254/32'), [{ destination: '169.254.169.254/32', gateway: '10.77.0.2' }]);
  t.deepEqual(vif({}, {}, { dhcpFlag: false }).network.subnets[0]?.meta, { dhcp_server: '10.77.0.1' });
  t.deepEqual(vif({}, { subnets: [{ ...subnet, enable_dhcp: false }] }, { dhcpFlag: false }).network.subnets[0]?.meta, {});
  const rich = vif({}, {
    subnets: [{ ...subnet, gateway_ip: null, host_routes: [{ destination: '10.9.0.0/16', nexthop: '10.77.0.9' }], dns_nameservers: ['8.8.8.8', '2001:db8::8'] }],
    floatingIps: [{ id: 'f', floating_ip_address: '203.0.113.7', fixed_ip_address: '10.77.2.7', port_id: port.id }, { id: 'g', floating_ip_address: '203.0.113.8', fixed_ip_address: '10.77.2.7', port_id: 'other' }],
  }).network.subnets[0]!;
  t.deepEqual(rich.gateway, { address: null, type: 'gateway', version: null, meta: {} });
  t.deepEqual(rich.ips[0]?.floating_ips.map((ip) => [ip.address, ip.type]), [['203.0.113.7', 'floating']]);
  t.deepEqual(rich.routes, [{ cidr: '10.9.0.0/16', gateway: { address: '10.77.0.9', type: 'gateway', version: 4, meta: {} }, interface: null, meta: {} }]);
  t.deepEqual(rich.dns.map((ip) => ip.version), [4, 6]);
});

test('cidr', (t) => {
  t.deepEqual([isInCidr('10.0.0.5', '10.0.0.0/24'), isInCidr('10.0.1.5', '10.0.0.0/24'), isInCidr('fd00::5', 'fd00::/64'), isInCidr('fd00::5', '10.0.0.0/24'), prefixLengthOf('fd00::/64')], [true, false, true, false, 64]);
});

test('vif specs: names, MTU, addresses, one default route a family, DNS once', (t) => {
  const { records, port } = recorded();
  const v6: Subnet = { ...records.subnets[0]!, id: 's6', cidr: 'fd00::/64', ip_version: 6, gateway_ip: 'fd00::1', dns_nameservers: ['fd00::53'] };
  const v4 = { ...records.subnets[0]!, dns_nameservers: ['8.8.8.8', '8.8.8.8'] };
  const dual = vif({ fixed_ips: [...port.fixed_ips, { subnet_id: 's6', ip_address: 'fd00::5' }] }, { subnets: [v4, v6] });
  const [first, second] = vifSpecs([dual, { ...vif(), id: 'b', devname: null }]);
  t.deepEqual([first?.guestDevice, first?.hostDevice, first?.mtu, second?.guestDevice, second?.hostDevice], ['eth0', 'tap4c62ff61-ef', 1500, 'eth1', 'tapb']);
  t.deepEqual(first?.addresses, [{ address: '10.77.2.7', prefixLength: 20 }, { address: 'fd00::5', prefixLength: 64 }]);
  t.deepEqual(first?.routes, [{ destination: '0.0.0.0/0', gateway: '10.77.0.1' }, { destination: '::/0', gateway: 'fd00::1' }]);
  t.deepEqual(second?.routes, []);
  t.deepEqual(first?.dns, ['8.8.8.8', 'fd00::53']);
  t.deepEqual(first?.plug, { type: 'ovs', bridge: 'br-int-2', hybrid: false, createPort: true, datapathType: 'netdev' });
  t.is(vifSpecs([dual], 3)[0]?.guestDevice, 'eth3');
});

test('vif specs: a subnet\'s own default route wins; bridges; types that cannot be plugged', (t) => {
  const own = vif({}, { subnets: [{ ...recorded().records.subnets[0]!, host_routes: [{ destination: '0.0.0.0/0', nexthop: '10.77.0.9' }] }] });
  t.deepEqual(vifSpecs([own])[0]?.routes, [{ destination: '0.0.0.0/0', gateway: '10.77.0.9' }]);
  t.deepEqual(vifSpecs([vif({ 'binding:vif_type': 'bridge', 'binding:vif_details': {} })])[0]?.plug, { type: 'bridge', bridge: 'brq1197b85a-3e', createBridge: true });
  t.is(vifSpecs([{ ...vif(), network: { ...vif().network, meta: { mtu: 0 } } }])[0]?.mtu, undefined);
  for (const type of ['unbound', 'binding_failed', 'hw_veb', 'tap']) t.throws(() => vifSpecs([vif({ 'binding:vif_type': type })]), { code: 'VIF_UNSUPPORTED' });
});

function flavor(specs: Record<string, string>, fields: Record<string, unknown> = {}): NovaObject {
  const object = new NovaObject('Flavor', '1.2');
  for (const [field, value] of Object.entries({ vcpus: 3, memory_mb: 512, swap: 64, root_gb: 2, extra_specs: specs, ...fields })) object.load(field, value);
  return object;
}

test('limits: quota is per vCPU, negative means none, nonsense is ignored', (t) => {
  t.deepEqual(limitsOf(flavor({}), 99), { vcpus: 3, cpuShares: 3072, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 64, pids: 99, rootGiB: 2 });
  const some = limitsOf(flavor({ 'quota:cpu_quota': '20000', 'quota:cpu_period': '50000', 'quota:cpu_shares': '500' }), 1);
  t.deepEqual([some.cpuQuota, some.cpuPeriod, some.cpuShares], [60_000, 50_000, 500]);
  t.is(limitsOf(flavor({ 'quota:cpu_quota': '-1' }), 1).cpuQuota, -1);
  t.is(limitsOf(flavor({ 'quota:cpu_quota': 'much' }), 1).cpuQuota, undefined);
});

test('the container of the recorded server', async (t) => {
  const w = await world();
  const spec = containerSpec(w.compute, NovaObject.from(w.bootArgs()['instance'] as Primitive), 'image', [vif()]);
  t.deepEqual([spec.id, spec.name, spec.hostname, spec.imageId, spec.labels['display_name'], spec.labels['flavor'], spec.vifs.length], [uuid, 'instance-00000002', 'wire', 'image', 'wire', 'm1.nano', 1]);
  t.throws(() => containerSpec(w.compute, NovaObject.from(wire('Instance', '2.8', { uuid, id: 1 })), 'i', []), { message: /without its flavor/ });
});

const requests = (...fields: Record<string, unknown>[]): NovaObject[] => fields.map((data) => NovaObject.from(wire('NetworkRequest', '1.3', data)));
const resolve = (w: World, list: NovaObject[], about = context): ReturnType<typeof resolveRequested> => resolveRequested(w.compute, about, NovaObject.from(w.bootArgs()['instance'] as Primitive), list);

test('requested networks', async (t) => {
  const w = await world();
  const [net] = w.neutron.networkList;
  t.deepEqual((await resolve(w, requests({ network_id: net!.id, address: '10.77.2.50', tag: 'x' }))).map((item) => [item.network.id, item.address, item.tag]), [[net!.id, '10.77.2.50', 'x']]);
  t.deepEqual(await resolve(w, requests({ network_id: 'none' })), []);
  t.is((await resolve(w, [])).length, 1);
  await t.throwsAsync(resolve(w, requests({ network_id: 'auto' })), { code: 'UNSUPPORTED' });
  await t.throwsAsync(resolve(w, requests({ network_id: 'missing' })), { code: 'NETWORK_NOT_FOUND' });
  await t.throwsAsync(resolve(w, requests({ port_id: 'missing' })), { code: 'PORT_NOT_FOUND' });
  w.neutron.own('free');
  t.is((await resolve(w, requests({ port_id: 'free' })))[0]?.port?.id, 'free');
  w.neutron.own('mine', { device_id: uuid });
  t.is((await resolve(w, requests({ port_id: 'mine' })))[0]?.port?.id, 'mine');
  w.neutron.own('used', { device_id: 'other' });
  await t.throwsAsync(resolve(w, requests({ port_id: 'used' })), { code: 'PORT_IN_USE' });
  w.neutron.own('broken', { 'binding:vif_type': 'binding_failed' });
  await t.throwsAsync(resolve(w, requests({ port_id: 'broken' })), { code: 'PORT_BINDING_FAILED' });
  w.neutron.own('foreign', { tenant_id: 'other' });
  await t.throwsAsync(resolve(w, requests({ port_id: 'foreign' })), { message: /not usable for instance/ });
  w.neutron.networkList = [net!, { ...net!, id: 'second' }];
  await t.throwsAsync(resolve(w, []), { code: 'NETWORK_AMBIGUOUS' });
  w.neutron.networkList = [];
  t.deepEqual(await resolve(w, []), []);
});

test('external networks are for administrators, unless shared', async (t) => {
  const w = await world();
  const [net] = w.neutron.networkList;
  w.neutron.networkList = [{ ...net!, 'router:external': true, shared: false }];
  const user = { ...context, is_admin: false };
  const wanted = requests({ network_id: net!.id });
  await t.throwsAsync(resolve(w, wanted, user), { message: /not allowed to create an interface on external network/ });
  t.is((await resolve(w, wanted)).length, 1);
  w.neutron.networkList = [{ ...net!, 'router:external': true, shared: true }];
  t.is((await resolve(w, wanted, user)).length, 1);
});

test('security groups by id and name', async (t) => {
  const w = await world();
  const groups = (...names: string[]): ReturnType<typeof securityGroupIds> => securityGroupIds(w.compute, context, 'p', names);
  t.deepEqual([await groups(), await groups('default'), await groups('web', 'g3')], [[], [], ['g1', 'g3']]);
  await t.throwsAsync(groups('twice'), { message: /Multiple security groups/ });
  await t.throwsAsync(groups('unknown'), { message: /unknown not found/ });
});

test('users do not see the provider\'s attributes of a network: the model asks again with the service\'s rights', async (t) => {
  const w = await world();
  const full = w.neutron.networkList;
  w.neutron.networks = async (scope) => (scope.identity.kind === 'service' ? full : full.map((network) => Object.fromEntries(Object.entries(network).filter(([key]) => !key.startsWith('provider:'))) as unknown as Network));
  await w.boot();
  t.deepEqual([w.cache()[0]?.network.meta['physical_network'], w.cache()[0]?.network.meta['tunneled']], ['physnet1', false]);
});

test('a refresh keeps the order and preserve_on_delete, takes new ports last, drops gone ones, and saves only a change', async (t) => {
  const w = await world();
  await w.boot();
  const [port] = [...w.neutron.stored.values()];
  w.nova.caches.set(uuid, JSON.stringify(w.cache().map((item) => ({ ...item, preserve_on_delete: true }))));
  w.steps.clear();
  await refreshVifs(w.compute, context, uuid);
  t.is(w.steps.count('InstanceInfoCache.save'), 0);
  w.neutron.stored.clear();
  w.neutron.own('new-port', { device_id: uuid, 'binding:vif_type': 'ovs' });
  w.neutron.stored.set(port!.id, { ...port!, status: 'ACTIVE' });
  await refreshVifs(w.compute, context, uuid);
  t.deepEqual(w.cache().map((item) => [item.id, item.preserve_on_delete, item.active]), [[port!.id, true, true], ['new-port', false, false]]);
  w.neutron.stored.delete(port!.id);
  await refreshVifs(w.compute, context, uuid, port!.id);
  t.deepEqual(w.cache().map((item) => item.id), ['new-port']);
  await refreshVifs(w.compute, context, uuid, 'unheard-of');
  t.deepEqual(w.cache().map((item) => item.id), ['new-port']);
});

test('an operation that is given up makes no port', async (t) => {
  const w = await world();
  const operation = new Operation({ name: 'o', log: silentLog() });
  operation.abort(new Error('given up'));
  const { allocateNetworks, lookUpNetworks } = await import('../../../src/compute/network/allocate.js');
  const demand = { context, instance: NovaObject.from(w.bootArgs()['instance'] as Primitive), operation, requests: [], securityGroups: [] };
  await t.throwsAsync(allocateNetworks(w.compute, demand, lookUpNetworks(w.compute, demand)), { message: 'given up' });
  t.is(w.neutron.stored.size, 0);
});

/** attach_interface and detach_interface over the fakes: what is made, in which order, and that a failure at any step leaves the server as it was. */
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { interfaceFaultPoints } from '../../../src/compute/methods/interfaces.js';
import type { VifInfo } from '../../../src/nova/network-info.js';
import { messages, uuid, world, type World } from './world.js';

const recorded = messages('interface-attach').find((message) => message.method === 'attach_interface')!;

async function booted(): Promise<{ readonly w: World; readonly attach: (change?: Record<string, unknown>) => Promise<VifInfo>; readonly detach: (port: string) => Promise<unknown> }> {
  const w = await world();
  await w.boot();
  w.steps.clear();
  return {
    w,
    attach: async (change = {}) => (await w.send('attach_interface', { ...structuredClone(recorded.args), instance: w.instance(), ...change })) as VifInfo,
    detach: (port) => w.send('detach_interface', { instance: w.instance(), port_id: port }),
  };
}

/** All that an attachment could leave. */
const state = (w: World): unknown => ({
  ports: [...w.neutron.stored.values()].map(({ id, device_id }) => [id, device_id]), rows: w.nova.vifs.map((vif) => vif['uuid']), cache: w.cache().map((vif) => [vif.id, vif.preserve_on_delete]),
  spec: w.containers.made.get(uuid)?.spec.vifs.map((vif) => vif.id), plugged: [...(w.containers.plugged.get(uuid) ?? [])], clashes: w.containers.clashes,
  held: [w.compute.locks.held(uuid), w.compute.cacheLocks.held(uuid)], states: [w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state']],
});

test('a port is made, bound, recorded and plugged, behind those that are there; its detachment leaves nothing of it', async (t) => {
  const { w, attach, detach } = await booted();
  const before = state(w);
  const [first] = w.cache();
  const vif = await attach();
  const steps = w.steps.of('neutron.createPort', 'neutron.bind', 'VirtualInterface.create', 'InstanceInfoCache.save', 'containers.changeVifs');
  t.deepEqual([steps[0], steps.slice(1, 3).sort(), steps.slice(3)], ['neutron.createPort', ['VirtualInterface.create', 'neutron.bind'], ['InstanceInfoCache.save', 'containers.changeVifs']]);
  t.deepEqual(w.cache().map(({ id }) => id), [first?.id, vif.id]);
  t.is(JSON.stringify(w.cache()[1]), JSON.stringify(vif));
  t.deepEqual(w.containers.made.get(uuid)?.spec.vifs.map(({ id, guestDevice }) => [id, guestDevice]), [[first?.id, 'eth0'], [vif.id, 'eth1']]);
  t.like(w.neutron.stored.get(vif.id), { device_id: uuid, 'binding:host_id': w.compute.settings.host });
  t.deepEqual(w.neutron.scopes.filter(({ call }) => call === 'createPort').map(({ kind }) => kind), ['user', 'user']);
  t.deepEqual(w.nova.events.map(({ name, error, done }) => [name, error, done]).at(-1), ['compute_attach_interface', null, true]);
  await detach(vif.id);
  t.deepEqual(state(w), before);
  t.deepEqual(w.nova.faults, []);
});

test('the user\'s own port goes back to him, and is not taken twice', async (t) => {
  const { w, attach, detach } = await booted();
  w.neutron.own('aaaaaaaa-0000-4000-8000-000000000001');
  const given = { network_id: null, port_id: 'aaaaaaaa-0000-4000-8000-000000000001' };
  const before = state(w);
  t.true((await attach(given)).preserve_on_delete);
  const error = await t.throwsAsync(attach(given), { code: 'PORT_IN_USE' });
  t.like(error, { nova: { class: 'PortInUse', code: 409 } });
  t.is(w.cache().length, 2, 'the port that is there stays');
  await detach('aaaaaaaa-0000-4000-8000-000000000001');
  t.deepEqual(state(w), before);
  t.like(w.neutron.stored.get('aaaaaaaa-0000-4000-8000-000000000001'), { device_id: '', 'binding:host_id': null });
});

test('neither network nor port: the project\'s only one, if it is the only one', async (t) => {
  const { w, attach } = await booted();
  const any = { network_id: null, port_id: null };
  t.is((await attach(any)).network.id, w.neutron.networkList[0]!.id);
  const other = { ...w.neutron.networkList[0]!, id: 'bbbbbbbb-0000-4000-8000-000000000001' };
  w.neutron.networkList = [...w.neutron.networkList, other];
  await t.throwsAsync(attach(any), { code: 'NETWORK_AMBIGUOUS' });
  w.neutron.networkList = [];
  await t.throwsAsync(attach(any), { code: 'INTERFACE_ATTACH_FAILED' });
  t.is(w.cache().length, 2);
});

test('what is refused before anything is made', async (t) => {
  const { w, attach, detach } = await booted();
  const before = state(w);
  t.like(await t.throwsAsync(attach({ tag: 'mgmt' })), { nova: { class: 'NetworkInterfaceTaggedAttachNotSupported', code: 400 } });
  t.like(await t.throwsAsync(attach({ network_id: null, port_id: 'cccccccc-0000-4000-8000-000000000001' })), { nova: { class: 'PortNotFound', code: 404 } });
  t.like(await t.throwsAsync(detach('cccccccc-0000-4000-8000-000000000001')), { nova: { class: 'PortNotFound', code: 404 } });
  t.is(w.steps.count('neutron.createPort'), 0);
  t.deepEqual(state(w), before);
  t.regex(JSON.stringify(w.nova.faults.at(-1)), /could not be found/);
});

const refused = (type: string): HaulierError => new HaulierError('REST_FAILED', { service: 'neutron', method: 'POST', path: '/v2.0/ports', status: 409, reason: type, type });
for (const [step, error, name] of [
  ['neutron.createPort', refused('OverQuota'), 'PortLimitExceeded'],
  ['neutron.createPort', refused('IpAddressGenerationFailure'), 'NoMoreFixedIps'],
  ['neutron.createPort', refused('IpAddressAlreadyAllocated'), 'FixedIpAlreadyInUse'],
  ['neutron.bind', new HaulierError('REST_UNREACHABLE', { service: 'neutron', reason: 'gone' }), 'NovaException'],
  ['VirtualInterface.create', new HaulierError('REST_UNREACHABLE', { service: 'conductor', reason: 'gone' }), 'NovaException'],
  ['neutron.subnets', new HaulierError('REST_UNREACHABLE', { service: 'neutron', reason: 'gone' }), 'NovaException'],
  ['InstanceInfoCache.save', new HaulierError('REST_UNREACHABLE', { service: 'conductor', reason: 'gone' }), 'NovaException'],
  ['containers.changeVifs', new HaulierError('VIF_PLUG_FAILED', { reason: 'no bridge' }), 'InterfaceAttachFailed'],
] as const) {
  test(`a failure of ${step} (${name}): the server is as before when the caller hears of it`, async (t) => {
    const { w, attach } = await booted();
    const before = state(w);
    w.steps.fail(step, error);
    t.like(await t.throwsAsync(attach()), { nova: { class: name } });
    t.deepEqual(state(w), before);
    t.is(w.nova.faults.length, 1);
    t.true((await attach()).id.length > 0, 'and the next try works');
  });
}

test('a failed detachment is told, and can be repeated', async (t) => {
  const { w, attach, detach } = await booted();
  const before = state(w);
  const { id } = await attach();
  w.steps.fail('containers.changeVifs', new HaulierError('COMMAND_FAILED', { command: 'ovs-vsctl', outcome: 'exit 1', stderr: 'busy' }));
  t.like(await t.throwsAsync(detach(id)), { nova: { class: 'InterfaceDetachFailed' } });
  t.is(w.cache().length, 2);
  w.steps.fail('neutron.deletePort', refused('Conflict'));
  await t.throwsAsync(detach(id), { code: 'REST_FAILED' });
  await detach(id);
  t.deepEqual(state(w), before);
});

test('the event of the deleted port that comes meanwhile changes nothing twice', async (t) => {
  const { w, attach, detach } = await booted();
  const before = state(w);
  const { id } = await attach();
  const deleting = w.steps.block('neutron.deletePort');
  const detached = detach(id);
  await deleting.reached;
  const event = w.event('network-vif-deleted', id);
  deleting.release();
  await Promise.all([detached, event]);
  t.deepEqual(state(w), before);
  t.is(interfaceFaultPoints.length, 4);
});

test('a stopped server gets its port with its next start', async (t) => {
  const { w, attach } = await booted();
  await w.compute.operations.run({ name: 'stop' }, (operation) => w.containers.stopContainer(uuid, { timeoutMs: 0, retryMs: 0 }, operation));
  const { id } = await attach();
  t.deepEqual([...(w.containers.plugged.get(uuid) ?? [])], []);
  t.is(w.containers.made.get(uuid)?.spec.vifs.at(-1)?.id, id);
});

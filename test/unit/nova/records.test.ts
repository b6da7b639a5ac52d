import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import { adminContext } from '../../../src/messaging/context.js';
import { blockDevices, ephemeralDevices, isVolumeBacked, rootDevice, swapDevices } from '../../../src/nova/block-device.js';
import { computeNodesOfHost, updateComputeNode } from '../../../src/nova/compute-node.js';
import { NovaConductor } from '../../../src/nova/conductor.js';
import { novaTime } from '../../../src/nova/context.js';
import { authorizeConsole, createFault, errorText, finishEvent, startEvent } from '../../../src/nova/faults.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';
import { requestedNetworks } from '../../../src/nova/requested-networks.js';
import { createService, updateServiceVersion } from '../../../src/nova/service.js';
import { FakeRpc, failure, type Step } from './fake-rpc.js';

const context = adminContext();

async function connected(...script: Step[]): Promise<{ rpc: FakeRpc; conductor: NovaConductor }> {
  const rpc = new FakeRpc([{}, 68, ...script]);
  const conductor = new NovaConductor(rpc, silentLog());
  await conductor.connect(new AbortController().signal);
  rpc.sent.length = 0;
  return { rpc, conductor };
}

function list(name: string, members: Record<string, unknown>[]): NovaObject {
  const object = new NovaObject(`${name}List`, '1.0');
  object.load('objects', members.map((fields) => {
    const member = new NovaObject(name, '1.0');
    for (const [field, value] of Object.entries(fields)) member.load(field, value);
    return member;
  }));
  return object;
}

test('a fault is cut at 255 characters and tells users no more than Nova would', async (t) => {
  const { rpc, conductor } = await connected([{}, null]);
  await createFault(conductor, context, 'u', 'h', new HaulierError('IMAGE_UNACCEPTABLE', { image: 'i', reason: '😀'.repeat(300) }));
  const sent = (rpc.sent[0]?.args['objinst'] as Primitive)['nova_object.data'];
  t.is([...String(sent['message'])].length, 255);
  t.deepEqual([sent['code'], sent['host'], sent['instance_uuid']], [400, 'h', 'u']);
  t.is(errorText(new TypeError('x is undefined')).message, 'TypeError');
  t.like(errorText(failure('PortInUse', { code: 409 })), { code: 409, message: 'PortInUse happened' });
  t.like(errorText('text'), { code: 500, message: 'Error', details: 'text' });
});

test('an event without an action is no error, other failures are', async (t) => {
  const { rpc, conductor } = await connected(failure('InstanceActionNotFound'), failure('InstanceActionNotFound'), failure('DBError'), null);
  await startEvent(conductor, context, 'u', 'compute_start_instance', 'h');
  await finishEvent(conductor, context, 'u', 'compute_start_instance', new Error('no'));
  await t.throwsAsync(startEvent(conductor, context, 'u', 'compute_start_instance', 'h'), { name: 'DBError' });
  await finishEvent(conductor, context, 'u', 'compute_start_instance', new HaulierError('DISK_FULL', { path: '/x', reason: 'r' }));
  const kwargs = rpc.sent[3]?.args['kwargs'] as Record<string, string>;
  t.is(kwargs['exc_val'], 'No space left on /x: r');
  t.regex(String(kwargs['exc_tb']), /DISK_FULL/);
});

test('noVNC wants its token inside path', async (t) => {
  const { conductor } = await connected([{}, 'tok']);
  const answer = await authorizeConsole(conductor, context, 'u', { type: 'novnc', host: 'h', port: 1, baseUrl: 'http://x/vnc.html' }, 600);
  t.is(answer.access_url, 'http://x/vnc.html?path=%3Ftoken%3Dtok');
});

test('a service that another start made first is used', async (t) => {
  const existing = { 'nova_object.name': 'Service', 'nova_object.namespace': 'nova', 'nova_object.version': '1.22', 'nova_object.data': { id: 9, version: 66 } };
  const { rpc, conductor } = await connected(failure('ServiceBinaryExists'), existing, [{}, null]);
  const service = await createService(conductor, context, 'h');
  t.is(service.number('id'), 9);
  await updateServiceVersion(conductor, context, service);
  await updateServiceVersion(conductor, context, service);
  t.is(rpc.sent.length, 3);
  t.deepEqual((rpc.sent[2]?.args['objinst'] as Primitive)['nova_object.changes'], ['version']);
});

test('a node is saved only if something changed', async (t) => {
  const { rpc, conductor } = await connected([{}, null]);
  const node = new NovaObject('ComputeNode', '1.19');
  const spec = new NovaObject('HVSpec', '1.2');
  for (const [field, value] of Object.entries({ arch: 'x86_64', hv_type: 'lxc', vm_mode: 'exe' })) spec.load(field, value);
  node.load('vcpus', 4);
  node.load('stats', { b: '1', a: '2' });
  node.load('supported_hv_specs', [spec]);
  const supported = [{ vm_mode: 'exe', arch: 'x86_64', hv_type: 'lxc' }];
  t.false(await updateComputeNode(conductor, context, node, { vcpus: 4, stats: { a: '2', b: '1' }, supported }));
  t.true(await updateComputeNode(conductor, context, node, { vcpus: 8 }));
  t.deepEqual((rpc.sent[0]?.args['objinst'] as Primitive)['nova_object.changes'], ['vcpus']);
});

test('a host without nodes', async (t) => {
  const { conductor } = await connected(failure('ComputeHostNotFound'));
  t.deepEqual(await computeNodesOfHost(conductor, context, 'h'), []);
});

test('requested networks', (t) => {
  t.is(requestedNetworks(undefined), 'auto');
  t.is(requestedNetworks(list('NetworkRequest', [])), 'auto');
  t.is(requestedNetworks(list('NetworkRequest', [{ network_id: 'none' }])), 'none');
  t.is(requestedNetworks(list('NetworkRequest', [{ network_id: 'auto' }])), 'auto');
  const found = requestedNetworks(list('NetworkRequest', [{ network_id: 'n', port_id: null, address: '10.0.0.1' }, { port_id: 'p' }]));
  t.like(found, [{ networkId: 'n', portId: undefined, address: '10.0.0.1' }, { portId: 'p' }]);
});

test('block devices', (t) => {
  const devices = blockDevices(list('BlockDeviceMapping', [
    { uuid: 'a', boot_index: 0, source_type: 'image', destination_type: 'local', delete_on_termination: true },
    { uuid: 'b', boot_index: -1, source_type: 'blank', destination_type: 'local', guest_format: 'swap', volume_size: 64 },
    { uuid: 'c', boot_index: -1, source_type: 'blank', destination_type: 'local', guest_format: 'ext4', volume_size: 1 },
    { uuid: 'd', no_device: true },
  ]));
  t.is(devices.length, 3);
  t.is(rootDevice(devices)?.uuid, 'a');
  t.deepEqual([swapDevices(devices)[0]?.uuid, ephemeralDevices(devices)[0]?.uuid, isVolumeBacked(devices)], ['b', 'c', false]);
});

test('times', (t) => {
  t.is(novaTime(new Date('2026-11-22T01:19:31.126Z')), '2026-11-22T01:19:31Z');
});

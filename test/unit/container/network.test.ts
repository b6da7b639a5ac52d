/** Names, batches and arguments of ports. */
import test from 'ava';
import { keepNames } from '../../../src/container/network/guest-devices.js';
import { hookFiles } from '../../../src/container/network/hook-files.js';
import { bridgeMac } from '../../../src/container/network/linux-bridge.js';
import { addPortArguments } from '../../../src/container/network/ovs.js';
import { checkVif, hybridDevices } from '../../../src/container/network/plug.js';
import { parkedDevice } from '../../../src/container/network/veth.js';
import { hostsText, resolvText } from '../../../src/container/guest-files.js';
import { kernelHostName } from '../../../src/container/host-name.js';
import type { ContainerSpec, VifSpec } from '../../../src/container/spec.js';

const vif: VifSpec = {
  id: '0c6b8b53-7a3c-4a52-8a8f-7d8f2f1f3b11', hostDevice: 'tap0c6b8b53-7a', guestDevice: 'eth0', mac: 'fa:16:3e:01:02:03', mtu: 1450,
  plug: { type: 'ovs', bridge: 'br-int', hybrid: false, createPort: true, datapathType: 'system' },
  addresses: [{ address: '10.0.0.5', prefixLength: 24 }, { address: 'fd00::5', prefixLength: 64 }],
  routes: [{ destination: '0.0.0.0/0', gateway: '10.0.0.1' }, { destination: '10.9.0.0/16', gateway: undefined }], dns: ['10.0.0.2', '10.0.0.2'],
};

test('names fit into an interface name', (t) => {
  t.is(parkedDevice(vif), 'hgu0c6b8b53-7a');
  t.deepEqual(hybridDevices(vif), { bridge: 'qbr0c6b8b53-7a', bridgeEnd: 'qvb0c6b8b53-7a', switchEnd: 'qvo0c6b8b53-7a' });
  t.regex(bridgeMac('brq1'), /^02(:[0-9a-f]{2}){5}$/);
});

test('hook files', (t) => {
  const files = hookFiles([vif], 1500);
  t.is(files.move, 'link set dev hgu0c6b8b53-7a netns @PID@ name eth0 index 100\n');
  t.is(files.knobs, 'ipv6/conf/eth0/accept_dad 0\n');
  t.deepEqual(files.inside.trim().split('\n'), [
    'link set dev lo up',
    'link set dev eth0 addrgenmode eui64',
    'link set dev eth0 address fa:16:3e:01:02:03 mtu 1450 up',
    'address replace 10.0.0.5/24 broadcast + dev eth0',
    'address replace fd00::5/64 dev eth0 nodad',
    'route replace 0.0.0.0/0 via 10.0.0.1 dev eth0 onlink metric 100',
    'route replace 10.9.0.0/16 dev eth0',
  ]);
  t.deepEqual(hookFiles([], 1500), { move: '', inside: 'link set dev lo up\n', knobs: '' });
});

test('a port keeps its name and its number whatever comes and goes; a new one has the first that is free', (t) => {
  const port = (id: string, guestDevice: string): VifSpec => ({ ...vif, id, guestDevice });
  const names = (vifs: readonly VifSpec[]): string[] => vifs.map(({ id, guestDevice }) => `${id} ${guestDevice}`);
  t.deepEqual(names(keepNames([port('a', 'eth0'), port('b', 'eth1')], [])), ['a eth0', 'b eth1']);
  t.deepEqual(names(keepNames([port('b', 'eth0')], [port('a', 'eth0'), port('b', 'eth1')])), ['b eth1']);
  t.deepEqual(names(keepNames([port('b', 'eth0'), port('c', 'eth1')], [port('b', 'eth1')])), ['b eth1', 'c eth0']);
  t.deepEqual(names(keepNames([port('c', 'eth0'), port('d', 'eth1'), port('b', 'eth2')], [port('b', 'eth1')])), ['c eth0', 'd eth2', 'b eth1']);
  const [first] = hookFiles([port('b', 'eth7')], 1500).move.split('\n');
  t.regex(first ?? '', /name eth7 index 107$/);
  t.regex(hookFiles([port('b', 'eth7')], 1500).inside, /route replace 0\.0\.0\.0\/0 via 10\.0\.0\.1 dev eth7 onlink metric 107/);
});

test('an OVS port is one transaction with the ids that neutron looks for', (t) => {
  t.is(addPortArguments({ bridge: 'br-int', device: 'tap1', portId: 'p', mac: 'fa:16:3e:01:02:03', instance: 'u', mtu: 1450, datapathType: 'system' }).join(' '),
    '-- --may-exist add-br br-int -- set Bridge br-int datapath_type=system -- --may-exist add-port br-int tap1 -- set Interface tap1 '
    + 'external_ids:iface-id=p external_ids:iface-status=active external_ids:attached-mac="fa:16:3e:01:02:03" external_ids:vm-uuid=u mtu_request=1450');
});

test('values that are no names, MACs or addresses are refused before they reach a command', (t) => {
  t.notThrows(() => checkVif(vif));
  const bad: readonly Partial<VifSpec>[] = [
    { id: 'x\ny' }, { hostDevice: 'tap1 up' }, { guestDevice: '../eth0' }, { mac: 'fa:16' }, { addresses: [{ address: '1.2.3.4 dev lo', prefixLength: 24 }] },
    { routes: [{ destination: 'default', gateway: undefined }] }, { routes: [{ destination: '::/0', gateway: 'a b' }] }, { dns: ['x\ny'] },
    { plug: { type: 'bridge', bridge: 'a/b', createBridge: true } },
  ];
  for (const change of bad) t.throws(() => checkVif({ ...vif, ...change }), { message: /is not acceptable/ }, JSON.stringify(change));
});

test('a host name that the kernel does not take is cut to its first label', (t) => {
  const label = `${'x'.repeat(52)}-guest-test`;
  t.is(kernelHostName(`${label}.domaintest.com`), label);
  t.is(kernelHostName('web.example.org'), 'web.example.org');
  t.is(kernelHostName('y'.repeat(64)), 'y'.repeat(64));
  t.is(kernelHostName('y'.repeat(255)), 'y'.repeat(63));
  t.is(kernelHostName(`${'y'.repeat(62)}-${'z'.repeat(10)}`), 'y'.repeat(62));
  t.regex(hostsText({ hostname: `${label}.domaintest.com`, vifs: [vif] } as unknown as ContainerSpec), new RegExp(`^10\\.0\\.0\\.5 ${label}\\.domaintest\\.com ${label}$`, 'm'));
});

test('hosts and resolv.conf', (t) => {
  const spec = { hostname: 'web.example.org', vifs: [vif] } as unknown as ContainerSpec;
  t.regex(hostsText(spec), /^127\.0\.0\.1 localhost$/m);
  t.regex(hostsText(spec), /^10\.0\.0\.5 web\.example\.org web$/m);
  t.regex(hostsText({ ...spec, vifs: [] }), /^127\.0\.1\.1 web\.example\.org web$/m);
  t.is(resolvText(spec), 'nameserver 10.0.0.2\n');
  t.is(resolvText({ ...spec, vifs: [] }), undefined);
});

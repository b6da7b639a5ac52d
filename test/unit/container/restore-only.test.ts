/** What a container has only while it is restored: the former addresses on loopback, and its identity in two of criu's images. */
import test from 'ava';
import { usernsImage, utsImage } from '../../../src/container/checkpoint/criu-image.js';
import { imageCriuConfig, imageRuntimeOptions } from '../../../src/container/checkpoint/criu-options.js';
import { hookFiles } from '../../../src/container/network/hook-files.js';
import { restoreOnly, restoreOnlyKnobs, restoreOnlyRemoval } from '../../../src/container/network/restore-only.js';
import type { VifSpec } from '../../../src/container/spec.js';

const vif = { guestDevice: 'eth0', hostDevice: 'tapabc', id: 'abc', mac: 'fa:16:3e:00:00:01', mtu: undefined, routes: [], addresses: [{ address: '10.0.0.9', prefixLength: 24 }] } as unknown as VifSpec;

test('former addresses come before the restore, in silence, and go after it', (t) => {
  const former = [{ address: '10.0.0.5' }, { address: 'fd00::5' }, { address: 'fe80::1' }, { address: '169.254.3.3' }, { address: '10.0.0.9' }];
  t.deepEqual(restoreOnly([vif], former), [
    'address replace 10.0.0.5/32 dev lo scope host', 'address replace 169.254.3.3/32 dev lo scope host',
    'route replace 0.0.0.0/0 dev lo metric 4294967290', 'route replace ::/0 dev lo metric 4294967290',
  ]);
  t.deepEqual(restoreOnlyRemoval([vif], former), [
    'route delete ::/0 dev lo metric 4294967290', 'route delete 0.0.0.0/0 dev lo metric 4294967290',
    'address delete 169.254.3.3/32 dev lo', 'address delete 10.0.0.5/32 dev lo',
  ]);
  t.deepEqual(restoreOnlyKnobs([vif], former), [['ipv6/ip_nonlocal_bind', '1'], ['ipv4/conf/eth0/arp_ignore', '3'], ['ipv4/conf/eth0/arp_announce', '2']]);
  const own = [{ address: '10.0.0.9' }];
  t.deepEqual([restoreOnly([vif], own), restoreOnlyKnobs([vif], own)], [[], [['ipv6/ip_nonlocal_bind', '1']]]);
  t.deepEqual(restoreOnly([], [{ address: 'fe80::1' }]), ['route replace ::/0 dev lo metric 4294967290']);
  t.is(hookFiles([vif], 1500, { lines: [], knobs: restoreOnlyKnobs([vif], former) }).knobs, 'ipv6/conf/eth0/accept_dad 0\nipv6/ip_nonlocal_bind 1\nipv4/conf/eth0/arp_ignore 3\nipv4/conf/eth0/arp_announce 2\n');
});

test('criu\'s images of host name and id range, byte for byte as criu writes them', (t) => {
  const uts = Buffer.from('194356540332475410000000' + '0a06' + Buffer.from('guest1').toString('hex') + '1206' + Buffer.from('(none)').toString('hex'), 'hex');
  t.deepEqual(utsImage(uts, 'guest1'), uts);
  t.is(utsImage(uts, 'a-longer-name').toString('latin1').includes('a-longer-name'), true);
  const userns = Buffer.from('194356540649475518000000' + '0a0a080010c0843d1880800412' + '0a080010c0843d18808004', 'hex');
  t.deepEqual(usernsImage(userns, 1_000_000), userns);
  t.is(usernsImage(userns, 0x7000_0000).readUInt32LE(8), usernsImage(userns, 0x7000_0000).length - 12);
});

test('criu is told that connections are over, and on cgroup v2 where the groups are', (t) => {
  const layout = { pureCgroup2: false, unified: undefined, v1: new Map(), swapLimits: false };
  t.regex(imageCriuConfig(layout, '/haulier/x'), /^tcp-close$/m);
  t.notRegex(imageCriuConfig(layout, '/haulier/x'), /cgroup-root/);
  t.regex(imageCriuConfig({ ...layout, pureCgroup2: true }, '/haulier/x'), /^cgroup-root \/haulier\/x$/m);
  t.false(imageRuntimeOptions.includes('--tcp-established'));
});

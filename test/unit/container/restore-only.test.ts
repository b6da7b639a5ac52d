/** What a container has only while it is restored: the former addresses on loopback, and its identity in two of criu's images. */
import test from 'ava';
import { usernsImage, utsImage } from '../../../src/container/checkpoint/criu-image.js';
import { imageCriuConfig, imageRuntimeOptions } from '../../../src/container/checkpoint/criu-options.js';
import { restoreOnly, restoreOnlyRemoval } from '../../../src/container/network/restore-only.js';
import type { VifSpec } from '../../../src/container/spec.js';

const vif = { guestDevice: 'eth0', addresses: [{ address: '10.0.0.9', prefixLength: 24 }] } as unknown as VifSpec;

test('former addresses come before the restore and go after it', (t) => {
  const former = [{ address: '10.0.0.5', scope: 'global' }, { address: 'fd00::5', scope: 'global' }, { address: 'fe80::1', scope: 'link' }, { address: '10.0.0.9', scope: 'global' }];
  t.deepEqual(restoreOnly([vif], former), [
    'address replace 10.0.0.5/32 dev lo', 'address replace fd00::5/128 dev lo nodad', 'address replace fe80::1/64 dev eth0 nodad',
    'route replace 0.0.0.0/0 dev lo metric 4294967290', 'route replace ::/0 dev lo metric 4294967290',
  ]);
  t.deepEqual(restoreOnlyRemoval([vif], former), [
    'route delete ::/0 dev lo metric 4294967290', 'route delete 0.0.0.0/0 dev lo metric 4294967290',
    'address delete fe80::1/64 dev eth0', 'address delete fd00::5/128 dev lo', 'address delete 10.0.0.5/32 dev lo',
  ]);
  t.deepEqual(restoreOnly([vif], [{ address: '10.0.0.9', scope: 'global' }]), []);
  t.deepEqual(restoreOnly([], [{ address: 'fe80::1', scope: 'link' }]), ['route replace ::/0 dev lo metric 4294967290'].slice(1));
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

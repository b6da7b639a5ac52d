/** Boot data: what a config drive says, who gets one, and that a password is where it belongs and nowhere else. */
import test from 'ava';
import { driveFiles, type DriveContent } from '../../../src/compute/boot-data/config-drive.js';
import { netmask, networkData } from '../../../src/compute/boot-data/network-data.js';
import type { ComputeSettings } from '../../../src/compute/settings.js';
import { HaulierError } from '../../../src/base/errors.js';
import type { VifInfo } from '../../../src/nova/network-info.js';
import { NovaObject, type Primitive } from '../../../src/nova/object.js';
import { messages, uuid, world, type World } from './world.js';

const key = 'ssh-ed25519 AAAAC3Nza test';
const script = '#!/bin/sh\necho hello\n';

function load(name: string, fields: Record<string, unknown>): NovaObject {
  const object = new NovaObject(name, '1.0');
  for (const [field, value] of Object.entries(fields)) object.load(field, value);
  return object;
}

const ip = (address: string | null): Record<string, unknown> => ({ address, type: 'fixed', version: 4, meta: {} });
const subnet = (change: Record<string, unknown> = {}): Record<string, unknown> => ({
  cidr: '10.0.0.0/24', version: 4, gateway: ip('10.0.0.1'), dns: [ip('8.8.8.8')], ips: [{ ...ip('10.0.0.5'), floating_ips: [] }],
  routes: [{ cidr: '10.9.0.0/16', gateway: ip('10.0.0.254'), interface: null, meta: {} }], meta: {}, ...change,
});
const vif = (...subnets: Record<string, unknown>[]): VifInfo => ({
  id: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', address: 'fa:16:3e:00:00:01', type: 'ovs', devname: 'tapaaaaaaaa-aa',
  network: { id: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', bridge: 'br-int', label: 'n', meta: { mtu: 1442 }, subnets },
}) as unknown as VifInfo;

test('network data: as Nova\'s generator gives it for the same models', (t) => {
  t.deepEqual(networkData([vif(subnet())]), {
    links: [{ ethernet_mac_address: 'fa:16:3e:00:00:01', id: 'tapaaaaaaaa-aa', mtu: 1442, type: 'ovs', vif_id: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa' }],
    networks: [{
      id: 'network0', ip_address: '10.0.0.5', link: 'tapaaaaaaaa-aa', netmask: '255.255.255.0', network_id: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', type: 'ipv4', services: [{ address: '8.8.8.8', type: 'dns' }],
      routes: [{ gateway: '10.0.0.1', netmask: '0.0.0.0', network: '0.0.0.0' }, { gateway: '10.0.0.254', netmask: '255.255.0.0', network: '10.9.0.0' }],
    }],
    services: [{ address: '8.8.8.8', type: 'dns' }],
  });
  const dhcp = networkData([vif(subnet({ meta: { dhcp_server: '10.0.0.2' } }))]);
  t.deepEqual([dhcp['links'], dhcp['networks']], [
    [{ ethernet_mac_address: 'fa:16:3e:00:00:01', id: 'tapaaaaaaaa-aa', mtu: null, type: 'ovs', vif_id: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa' }],
    [{ id: 'network0', link: 'tapaaaaaaaa-aa', network_id: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', type: 'ipv4_dhcp' }],
  ]);
  const six = subnet({ cidr: 'fd00::/64', version: 6, gateway: { ...ip('fd00::1'), version: 6 }, routes: [], dns: [], ips: [{ ...ip('fd00::5'), version: 6, floating_ips: [] }] });
  const [, second] = networkData([vif(subnet(), six)])['networks'] as Record<string, unknown>[];
  t.like(second, { id: 'network1', type: 'ipv6', netmask: 'ffff:ffff:ffff:ffff::', routes: [{ network: '::', netmask: '::', gateway: 'fd00::1' }] });
  t.like((networkData([vif({ ...six, meta: { ipv6_address_mode: 'slaac' } })])['networks'] as Record<string, unknown>[])[0], { type: 'ipv6_slaac', ip_address: 'fd00::5' });
  t.deepEqual(networkData([]), {});
  t.deepEqual([netmask(20, 4), netmask(0, 4), netmask(0, 6), netmask(128, 6), netmask(60, 6)], ['255.255.240.0', '0.0.0.0', '::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'ffff:ffff:ffff:fff0::']);
});

const content = (change: Partial<DriveContent> = {}): DriveContent => ({
  instance: load('Instance', {
    uuid, hostname: 'web', display_name: 'Web', project_id: 'p', key_name: 'k', key_data: key, metadata: { role: 'x' }, launch_index: 1, availability_zone: 'nova', root_device_name: '/dev/vda', reservation_id: 'r-1',
    keypairs: load('KeyPairList', { objects: [load('KeyPair', { name: 'k', type: 'ssh', public_key: key })] }), ec2_ids: load('EC2Ids', { instance_id: 'i-1', ami_id: 'ami-1', kernel_id: null, ramdisk_id: null }), flavor: load('Flavor', { name: 'm1' }),
  }),
  vifs: [vif(subnet())], securityGroups: ['default'], userData: Buffer.from(script), files: [{ path: '/etc/a', content: Buffer.from('A') }], adminPassword: 'pw',
  vendor: { first: { v: 1 }, second: { static: { v: 1 } } }, domain: 'novalocal', skippedVersions: ['1.0', '2007-01-19'], release: '2025.1', ...change,
});
const read = (files: ReadonlyMap<string, Buffer>, path: string): Record<string, unknown> => JSON.parse(files.get(path)?.toString() ?? 'null') as Record<string, unknown>;

test('a config drive: which files, and what each version says', (t) => {
  const files = driveFiles(content());
  const { random_seed: seed, ...latest } = read(files, 'openstack/latest/meta_data.json');
  t.is(Buffer.from(String(seed), 'base64').length, 512);
  t.deepEqual(latest, {
    uuid, meta: { role: 'x' }, files: [{ path: '/etc/a', content_path: '/content/0000' }], admin_pass: 'pw', public_keys: { k: key }, keys: [{ name: 'k', type: 'ssh', data: key }],
    hostname: 'web.novalocal', name: 'Web', launch_index: 1, availability_zone: 'nova', project_id: 'p', devices: [], dedicated_cpus: [],
  });
  const oldest = read(files, 'openstack/2012-08-10/meta_data.json');
  t.deepEqual(['random_seed', 'project_id', 'devices', 'dedicated_cpus'].filter((field) => field in oldest), []);
  t.deepEqual([...files.keys()].filter((path) => path.startsWith('openstack/2012-08-10/')).sort(), ['openstack/2012-08-10/meta_data.json', 'openstack/2012-08-10/user_data']);
  t.is(files.get('openstack/content/0000')?.toString(), 'A');
  t.is(files.get('openstack/latest/user_data')?.toString(), script);
  t.deepEqual([read(files, 'openstack/latest/vendor_data.json'), read(files, 'openstack/latest/vendor_data2.json')], [{ v: 1 }, { static: { v: 1 } }]);
  t.deepEqual([...new Set([...files.keys()].filter((path) => path.startsWith('ec2/')).map((path) => path.split('/')[1]))], ['2007-03-01', '2007-08-29', '2007-10-10', '2007-12-15', '2008-02-01', '2008-09-01', '2009-04-04', 'latest']);
  t.like(read(files, 'ec2/latest/meta-data.json'), { 'instance-id': 'i-1', 'local-ipv4': '10.0.0.5', 'instance-type': 'm1', 'public-keys': { 0: { 'openssh-key': key } }, 'block-device-mapping': { ami: 'vda', root: '/dev/vda' }, 'security-groups': ['default'] });
  t.false([...driveFiles(content({ release: 'zed' })).keys()].some((path) => path.includes('2025')));
  t.false('admin_pass' in read(driveFiles(content({ adminPassword: undefined })), 'openstack/latest/meta_data.json'));
  t.false(driveFiles(content({ vendor: { first: undefined, second: {} } })).has('openstack/latest/vendor_data.json'));
});

/** The recorded boot with other fields of the instance. */
async function booted(fields: Record<string, unknown> = {}, settings: Partial<ComputeSettings> = {}, system: Record<string, string> = {}): Promise<World> {
  const w = await world(settings);
  Object.assign(w.nova.row(uuid), fields, { system_metadata: { ...(w.nova.row(uuid)['system_metadata'] as Record<string, string>), ...system } });
  const args = w.bootArgs({ admin_password: 'Sesame-9f3a', injected_files: [['/etc/motd', Buffer.from('hi').toString('base64')]] });
  const sent = args['instance'] as Primitive;
  Object.assign(sent['nova_object.data'], fields, { system_metadata: { ...(sent['nova_object.data']['system_metadata'] as Record<string, string>), ...system } });
  w.plugWhenAsked();
  await w.send('build_and_run_instance', args);
  return w;
}

test('a boot: password, key, script and files before the start; no config drive unasked', async (t) => {
  const w = await booted({ key_data: `${key}\n`, user_data: Buffer.from(script).toString('base64') });
  t.is(w.nova.row(uuid)['vm_state'], 'active');
  t.deepEqual(w.containers.bootData, [{ configDrive: undefined, adminUser: 'root', adminPassword: 'Sesame-9f3a', publicKeys: [key], userData: Buffer.from(script), files: [{ path: '/etc/motd', content: Buffer.from('hi') }] }]);
  t.true(w.steps.seen.indexOf('containers.giveBootData') < w.steps.seen.indexOf('containers.startContainer'));
  t.falsy(w.nova.row(uuid)['config_drive']);
});

test('who gets a config drive: asked for, forced for new servers, the image\'s wish', async (t) => {
  for (const [fields, settings, system, wanted] of [
    [{ config_drive: 'True' }, {}, {}, true],
    [{}, { forceConfigDrive: true }, {}, true],
    [{}, {}, { image_img_config_drive: 'mandatory' }, true],
    [{}, {}, { image_img_config_drive: 'optional' }, false],
  ] as const) {
    const w = await booted(fields, settings, system);
    const given = w.containers.bootData.filter(({ configDrive }) => configDrive !== undefined);
    t.is(given.length, wanted ? 1 : 0, JSON.stringify([fields, settings, system]));
    t.is(Boolean(w.nova.row(uuid)['config_drive']), wanted);
    if (wanted) t.like(JSON.parse(given[0]?.configDrive?.get('openstack/latest/meta_data.json')?.toString() ?? '{}'), { uuid, admin_pass: 'Sesame-9f3a' });
  }
});

test('the image names the account', async (t) => {
  const w = await booted({ key_data: key }, {}, { image_os_admin_user: 'debian' });
  t.is(w.containers.bootData[0]?.adminUser, 'debian');
});

test('vendor data that cannot be had fails the boot, as in Nova', async (t) => {
  const w = await booted({ config_drive: 'True' }, { vendorData: { providers: ['StaticJSON'], file: '/nowhere/vendor.json', targets: [], failureFatal: false } });
  t.not(w.nova.row(uuid)['vm_state'], 'active');
  t.is(w.steps.count('containers.run'), 0);
});

const passwordArgs = (w: World): Record<string, unknown> => {
  Object.assign(w.nova.row(uuid), { task_state: 'updating_password' });
  return { instance: w.instance(), new_pass: 'Sesame-9f3a' };
};

test('set_admin_password: set in the guest, task cleared, state kept', async (t) => {
  const w = await world();
  await w.boot();
  await w.send('set_admin_password', passwordArgs(w));
  t.deepEqual([w.containers.passwords, w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state']], [['root:Sesame-9f3a'], 'active', null]);
  t.deepEqual(w.nova.demands.at(-1), { expected_task_state: ['updating_password'] });
});

test('set_admin_password that fails says why, without the password, and leaves no task', async (t) => {
  for (const [error, message] of [
    [new HaulierError('PASSWORD_FAILED', { instance: uuid, reason: 'there is no account root in it' }), /no account root/],
    [new Error('careless words: Sesame-9f3a'), /error setting admin password/],
  ] as const) {
    const w = await world();
    await w.boot();
    w.steps.fail('containers.setPassword', error);
    await t.throwsAsync(w.send('set_admin_password', passwordArgs(w)), { code: 'PASSWORD_FAILED', message });
    t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state']], ['active', null]);
    t.false(JSON.stringify([w.nova.faults, w.nova.events]).includes('Sesame'));
  }
  const w = await world();
  await w.boot();
  w.containers.made.get(uuid)!.state = 'stopped';
  await t.throwsAsync(w.send('set_admin_password', passwordArgs(w)), { code: 'PASSWORD_FAILED', message: /is not running/ });
  t.deepEqual([w.containers.passwords, w.nova.row(uuid)['task_state']], [[], null]);
});

test('a rebuild gives it all anew, with the new password', async (t) => {
  const w = await booted({ key_data: key });
  const image = '0a0b6f0e-3b3c-4c64-a0d5-7f6c0c2f0a11';
  w.glance.records.push({ id: image, name: null, status: 'active', size: 1, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties: {} });
  const recorded = messages('rebuild').find((message) => message.method === 'rebuild_instance' && 'accel_uuids' in message.args)!;
  Object.assign(w.nova.row(uuid), { task_state: 'rebuilding', image_ref: image, config_drive: 'True' });
  w.containers.bootData.length = 0;
  await w.send('rebuild_instance', { ...structuredClone(recorded.args), instance: w.instance(), image_ref: image, recreate: false, new_pass: 'Another-1' });
  const [tree, drive] = w.containers.bootData;
  t.like(tree, { adminPassword: 'Another-1', publicKeys: [key] });
  t.like(JSON.parse(drive?.configDrive?.get('openstack/latest/meta_data.json')?.toString() ?? '{}'), { admin_pass: 'Another-1' });
});

/** The files of a config drive (nova/api/metadata/base.py `metadata_for_config_drive`). */
import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { networkData } from './network-data.js';
import type { VendorData } from './vendor-data.js';
import type { InjectedFile } from '../../container/boot-data/injected-files.js';
import type { VifInfo } from '../../nova/network-info.js';
import type { NovaObject } from '../../nova/object.js';
import type { Release } from '../../nova/types.js';

const ec2Versions = ['1.0', '2007-01-19', '2007-03-01', '2007-08-29', '2007-10-10', '2007-12-15', '2008-02-01', '2008-09-01', '2009-04-04'];
/** Dates are compared as texts. `2025-04-04` came with 2025.1. */
const openstackVersions = ['2012-08-10', '2013-04-04', '2013-10-17', '2015-10-15', '2016-06-30', '2016-10-06', '2017-02-22', '2018-08-27', '2020-10-14', '2025-04-04'];
const seedBytes = 512;

/** All that is on it. */
export interface DriveContent {
  /** With `keypairs`, `ec2_ids`, `metadata` and `flavor`. */
  readonly instance: NovaObject;
  readonly vifs: readonly VifInfo[];
  readonly securityGroups: readonly string[];
  readonly userData: Buffer | undefined;
  readonly files: readonly InjectedFile[];
  readonly adminPassword: string | undefined;
  readonly vendor: VendorData;
  /** `[api] dhcp_domain`. */
  readonly domain: string;
  /** `[api] config_drive_skip_versions`. */
  readonly skippedVersions: readonly string[];
  readonly release: Release;
}

type Json = Readonly<Record<string, unknown>>;

/** Contents by path. */
export function driveFiles(content: DriveContent): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const json = (path: string, value: unknown): void => { files.set(path, Buffer.from(JSON.stringify(value))); };
  const { userData, vendor } = content;
  for (const version of [...ec2Versions, 'latest']) {
    if (content.skippedVersions.includes(version)) continue;
    json(`ec2/${version}/meta-data.json`, ec2Metadata(content, version === 'latest' ? '9' : version));
    if (userData) files.set(`ec2/${version}/user-data`, userData);
  }
  const known = openstackVersions.filter((version) => content.release !== 'zed' || version < '2025');
  for (const folder of [...known, 'latest']) {
    const version = folder === 'latest' ? '9' : folder;
    json(`openstack/${folder}/meta_data.json`, metadata(content, version));
    if (userData) files.set(`openstack/${folder}/user_data`, userData);
    if (version >= '2013-10-17' && vendor.first !== undefined) json(`openstack/${folder}/vendor_data.json`, vendor.first);
    if (version >= '2015-10-15') json(`openstack/${folder}/network_data.json`, networkData(content.vifs));
    if (version >= '2016-10-06') json(`openstack/${folder}/vendor_data2.json`, vendor.second);
  }
  content.files.forEach(({ content: bytes }, index) => files.set(`openstack${contentPath(index)}`, bytes));
  return files;
}

const contentPath = (index: number): string => posix.join('/content', String(index).padStart(4, '0'));
const hostName = ({ instance, domain }: DriveContent): string => [instance.text('hostname') ?? '', domain].filter(Boolean).join('.');

function metadata(content: DriveContent, version: string): Json {
  const { instance, files, adminPassword } = content;
  const meta = instance.strings('metadata');
  const [pair] = instance.text('key_name') ? instance.object('keypairs')?.objects() ?? [] : [];
  const name = pair?.text('name') ?? '';
  const data = pair?.text('public_key') ?? '';
  return {
    uuid: instance.text('uuid'),
    ...(Object.keys(meta).length > 0 ? { meta } : {}),
    ...(files.length > 0 ? { files: files.map(({ path }, index) => ({ path, content_path: contentPath(index) })) } : {}),
    ...(adminPassword === undefined ? {} : { admin_pass: adminPassword }),
    ...(pair ? { public_keys: { [name]: data }, keys: [{ name, type: pair.text('type') ?? 'ssh', data }] } : {}),
    hostname: hostName(content),
    name: instance.text('display_name') ?? null,
    launch_index: instance.number('launch_index') ?? 0,
    availability_zone: instance.text('availability_zone') ?? null,
    ...(version >= '2013-04-04' ? { random_seed: randomBytes(seedBytes).toString('base64') } : {}),
    ...(version >= '2015-10-15' ? { project_id: instance.text('project_id') } : {}),
    ...(version >= '2016-06-30' ? { devices: [] } : {}), // only tagged ones are told, and a boot with such is refused
    ...(version >= '2020-10-14' ? { dedicated_cpus: [] } : {}),
  };
}

function ec2Metadata(content: DriveContent, version: string): Json {
  const { instance, vifs } = content;
  const ids = instance.object('ec2_ids');
  const addresses = vifs.flatMap(({ network }) => network.subnets.flatMap(({ ips }) => ips));
  const floating = addresses.flatMap(({ floating_ips }) => floating_ips)[0]?.address ?? '';
  const kernel = ids?.text('kernel_id');
  const ramdisk = ids?.text('ramdisk_id');
  return {
    'ami-id': ids?.text('ami_id') ?? null,
    'ami-launch-index': instance.number('launch_index') ?? 0,
    'ami-manifest-path': 'FIXME', // so in Nova
    'instance-id': ids?.text('instance_id') ?? null,
    hostname: hostName(content),
    'local-ipv4': addresses.find((address) => address.version === 4)?.address ?? null,
    'reservation-id': instance.text('reservation_id') ?? null,
    'security-groups': content.securityGroups,
    ...(instance.text('key_name') ? { 'public-keys': { 0: { 'openssh-key': instance.text('key_data') ?? null } } } : {}),
    ...(version >= '2007-01-19' ? { 'local-hostname': hostName(content), 'public-hostname': hostName(content), 'public-ipv4': floating } : {}),
    ...(version >= '2007-08-29' ? { 'instance-type': instance.object('flavor')?.text('name') ?? null } : {}),
    ...(version >= '2007-12-15' ? { 'block-device-mapping': deviceMapping(instance), ...(kernel ? { 'kernel-id': kernel } : {}), ...(ramdisk ? { 'ramdisk-id': ramdisk } : {}) } : {}),
    ...(version >= '2008-02-01' ? { placement: { 'availability-zone': instance.text('availability_zone') ?? null } } : {}),
    ...(version >= '2008-09-01' ? { 'instance-action': 'none' } : {}),
  };
}

/** nova/block_device.py `instance_block_mapping`, for servers without volumes. */
function deviceMapping(instance: NovaObject): Json {
  const root = instance.text('root_device_name');
  if (root === undefined) return { ami: 'sda1', ephemeral0: 'sda2', root: '/dev/sda1', swap: 'sda3' };
  const ephemeral = instance.text('default_ephemeral_device');
  const swap = instance.text('default_swap_device');
  return { ami: root.replace(/^\/dev\//, ''), root, ...(ephemeral ? { ephemeral0: ephemeral } : {}), ...(swap ? { swap } : {}) };
}

/** What an instance's row holds, and how it looks with some of its joined attributes (nova/objects/instance.py). */
import type { WireContext } from '../../../src/messaging/types.js';
import type { Cell } from './cell.js';
import { novaFailure } from './failures.js';
import type { Row } from './table.js';
import { fromRow, listOf, primitive, stamps } from './wire.js';

/** Plain columns. */
export const columns = [
  'id', 'user_id', 'project_id', 'image_ref', 'kernel_id', 'ramdisk_id', 'hostname', 'launch_index', 'key_name', 'key_data', 'power_state', 'vm_state', 'task_state',
  'memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb', 'ephemeral_key_uuid', 'host', 'node', 'compute_id', 'instance_type_id', 'user_data', 'reservation_id', 'launched_at',
  'terminated_at', 'availability_zone', 'display_name', 'display_description', 'launched_on', 'locked', 'locked_by', 'os_type', 'architecture', 'vm_mode', 'uuid',
  'root_device_name', 'default_ephemeral_device', 'default_swap_device', 'config_drive', 'access_ip_v4', 'access_ip_v6', 'auto_disk_config', 'progress',
  'shutdown_terminate', 'disable_terminate', 'cell_name', 'cleaned', 'hidden', ...stamps,
];

const flavors = ['flavor', 'old_flavor', 'new_flavor'];
/** Attributes that are joined when asked for. */
export const joined = [
  'metadata', 'system_metadata', 'info_cache', 'security_groups', 'pci_devices', 'tags', 'services', 'fault', ...flavors, 'ec2_ids', 'numa_topology', 'pci_requests',
  'vcpu_model', 'migration_context', 'keypairs', 'device_metadata', 'trusted_certs', 'resources',
];
/** What a build's message carries (contract C.1). */
export const forBuild = joined.filter((name) => !['pci_devices', 'services', 'fault'].includes(name));
/** What the API sends with an operation on a server. */
export const forOperation = ['metadata', 'system_metadata', 'info_cache', 'security_groups', 'numa_topology', ...flavors];

export const cacheColumns = ['instance_uuid', 'network_info', ...stamps];

/** A row of its defaults and `values`. */
export function newInstanceRow(uuid: string, values: Row): Row {
  const empty = Object.fromEntries(columns.filter((column) => !(stamps as readonly string[]).includes(column) && column !== 'id').map((column) => [column, null]));
  return {
    ...empty,
    kernel_id: '', ramdisk_id: '', launch_index: 0, power_state: 0, ephemeral_gb: 0, locked: false, config_drive: '', auto_disk_config: false, progress: 0,
    shutdown_terminate: false, disable_terminate: false, cleaned: false, hidden: false,
    metadata: {}, system_metadata: {}, old_flavor: null, new_flavor: null, numa_topology: null, vcpu_model: null, migration_context: null, device_metadata: null,
    trusted_certs: null, resources: null, fault: null,
    security_groups: listOf('SecurityGroupList', []), pci_devices: listOf('PciDeviceList', []), tags: listOf('TagList', []), services: listOf('ServiceList', []),
    keypairs: listOf('KeyPairList', []), pci_requests: primitive('InstancePCIRequests', { instance_uuid: uuid, requests: [] }),
    ec2_ids: primitive('EC2Ids', { instance_id: `i-${uuid.slice(0, 8)}`, ami_id: null, kernel_id: null, ramdisk_id: null }),
    ...values,
    uuid,
  };
}

/** The row's info cache, a row of its own inside. */
export function cacheOf(row: Row): Row {
  const cache = row['cache'] as Row | undefined;
  if (cache) return cache;
  const made: Row = { instance_uuid: row['uuid'], network_info: '[]', created_at: row['created_at'], updated_at: null, deleted_at: null, deleted: false };
  row['cache'] = made;
  return made;
}

/** One joined attribute in its wire form. */
export function attribute(cell: Cell, row: Row, name: string): unknown {
  if (name === 'info_cache') return fromRow('InstanceInfoCache', cacheOf(row), cacheColumns);
  if (name === 'fault') return cell.faults.all({ instance_uuid: row['uuid'] }).map((fault) => fromRow('InstanceFault', fault, faultColumns)).at(-1) ?? null;
  return row[name] ?? null;
}

export const faultColumns = ['id', 'instance_uuid', 'code', 'message', 'details', 'host', ...stamps];

/** The object with the attributes asked for; without a wish the info cache. One flavor asked for brings all three. */
export function instanceObject(cell: Cell, row: Row, expected: unknown = ['info_cache']): Row {
  const asked = new Set(Array.isArray(expected) ? expected as string[] : ['info_cache']);
  if (flavors.some((name) => asked.has(name))) for (const name of flavors) asked.add(name);
  const object = fromRow('Instance', row, columns);
  const extra = Object.fromEntries(joined.filter((name) => asked.has(name)).map((name) => [name, attribute(cell, row, name)]));
  return { ...object, 'nova_object.data': { ...(object['nova_object.data'] as Row), ...extra } };
}

/** The living row, or a deleted one where the context reads them. @throws InstanceNotFound */
export function instanceRow(cell: Cell, uuid: unknown, context: WireContext = {}): Row {
  const row = cell.instances.one({ uuid }, context['read_deleted'] ?? 'no');
  if (!row) throw novaFailure('InstanceNotFound', { instance_id: uuid });
  return row;
}

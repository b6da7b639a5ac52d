/** `InstanceInfoCache`, `VirtualInterface` and `BlockDeviceMapping`: what hangs on an instance. */
import { randomUUID } from 'node:crypto';
import type { NovaObject } from '../../../src/nova/object.js';
import { cacheColumns, cacheOf } from './instance-row.js';
import { novaFailure } from './failures.js';
import { changed, type Call, type Methods } from './methods.js';
import { now, type Row } from './table.js';
import { fromRow, listOf, reload, stamps } from './wire.js';

const vifColumns = ['id', 'address', 'network_id', 'instance_uuid', 'uuid', 'tag', ...stamps];
const vifFields = vifColumns.filter((column) => column !== 'network_id');
const deviceColumns = [
  'id', 'uuid', 'instance_uuid', 'source_type', 'destination_type', 'guest_format', 'device_type', 'disk_bus', 'boot_index', 'device_name', 'delete_on_termination',
  'snapshot_id', 'volume_id', 'volume_size', 'image_id', 'no_device', 'connection_info', 'tag', 'attachment_id', 'volume_type', 'encrypted', 'encryption_secret_uuid',
  'encryption_format', 'encryption_options', ...stamps,
];

/** An instance's block devices as a list object. */
export function deviceList(rows: readonly Row[]): Row {
  return listOf('BlockDeviceMappingList', rows.map((row) => fromRow('BlockDeviceMapping', row, deviceColumns)));
}

/** A device's row with its defaults. */
export function newDevice(values: Row): Row {
  const empty = Object.fromEntries(deviceColumns.filter((column) => !(stamps as readonly string[]).includes(column) && column !== 'id').map((column) => [column, null]));
  return { ...empty, uuid: randomUUID(), delete_on_termination: false, no_device: false, encrypted: false, ...values };
}

function cacheRow({ cell }: Call, uuid: unknown): Row {
  const row = cell.instances.one({ uuid });
  if (!row) throw novaFailure('InstanceInfoCacheNotFound', { instance_uuid: uuid });
  return cacheOf(row);
}

function vifView(row: Row): Row {
  return fromRow('VirtualInterface', { ...row, address: bareAddress(row['address']) }, vifFields);
}

/** The table's address is unique by its suffix `/port id`; readers get the MAC. */
function bareAddress(address: unknown): string {
  return String(address).split('/')[0] ?? '';
}

function saveDevice(call: Call, object: NovaObject): void {
  const row = call.cell.blockDevices.one({ id: object.get('id') });
  if (!row) throw novaFailure('VolumeBDMNotFound', { volume_id: object.get('id') });
  call.cell.blockDevices.update(row, changed(object, deviceColumns));
  reload(object, row, deviceColumns);
  object.setChanges([]);
}

function createDevice(call: Call, object: NovaObject): void {
  reload(object, call.cell.blockDevices.insert(newDevice(changed(object, deviceColumns))), deviceColumns);
  object.setChanges([]);
}

export const networkMethods: Methods = {
  class: {
    'InstanceInfoCache.get_by_instance_uuid': { names: ['instance_uuid'], run: (call) => fromRow('InstanceInfoCache', cacheRow(call, call.args['instance_uuid']), cacheColumns) },
    'VirtualInterface.get_by_uuid': {
      names: ['vif_uuid'],
      run: ({ cell, args }) => {
        const row = cell.vifs.one({ uuid: args['vif_uuid'] });
        return row ? vifView(row) : null;
      },
    },
    'VirtualInterface.delete_by_instance_uuid': { names: ['instance_uuid'], run: ({ cell, args }) => cell.vifs.remove({ instance_uuid: args['instance_uuid'] }) },
    'VirtualInterfaceList.get_by_instance_uuid': {
      names: ['instance_uuid', 'use_slave'],
      run: ({ cell, args }) => listOf('VirtualInterfaceList', cell.vifs.all({ instance_uuid: args['instance_uuid'] }).map(vifView)),
    },
    'BlockDeviceMappingList.get_by_instance_uuid': {
      names: ['instance_uuid', 'use_slave'],
      run: ({ cell, args }) => deviceList(cell.blockDevices.all({ instance_uuid: args['instance_uuid'] })),
    },
  },
  instance: {
    'InstanceInfoCache.save': {
      names: ['update_cells'],
      run: (call, object) => {
        const row = cacheRow(call, object.get('instance_uuid'));
        if (object.whatChanged().has('network_info')) Object.assign(row, { network_info: object.get('network_info'), updated_at: now() });
        reload(object, row, cacheColumns);
        object.setChanges([]);
      },
    },
    'InstanceInfoCache.refresh': {
      names: [],
      run: (call, object) => {
        reload(object, cacheRow(call, object.get('instance_uuid')), cacheColumns.filter((column) => object.has(column)));
        object.setChanges([]);
      },
    },
    'InstanceInfoCache.delete': { names: [], run: (call, object) => void (cacheRow(call, object.get('instance_uuid'))['network_info'] = '[]') },
    'VirtualInterface.create': {
      names: [],
      run: ({ cell }, object) => {
        if (cell.vifs.one({ address: object.get('address') })) throw novaFailure('DuplicateRecord', { target: `virtual interface ${object.text('address')}` });
        const row = cell.vifs.insert(changed(object, vifColumns));
        reload(object, { ...row, address: bareAddress(row['address']) }, vifFields);
        object.setChanges([]);
      },
    },
    'VirtualInterface.destroy': { names: [], run: ({ cell }, object) => cell.vifs.remove({ uuid: object.get('uuid') }) },
    'BlockDeviceMapping.create': { names: [], run: createDevice },
    'BlockDeviceMapping.save': { names: [], run: saveDevice },
    'BlockDeviceMapping.update_or_create': { names: [], run: (call, object) => (object.has('id') ? saveDevice : createDevice)(call, object) },
    'BlockDeviceMapping.destroy': {
      names: [],
      run: ({ cell }, object) => {
        const row = cell.blockDevices.one({ id: object.get('id') });
        if (row) cell.blockDevices.bury(row);
      },
    },
  },
};

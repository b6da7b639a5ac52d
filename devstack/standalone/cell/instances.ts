/** `Instance` and `InstanceList` (nova/objects/instance.py; contract B.5). */
import { NovaObject, toWire } from '../../../src/nova/object.js';
import type { Cell } from './cell.js';
import { novaFailure } from './failures.js';
import { attribute, cacheOf, columns, instanceObject, instanceRow } from './instance-row.js';
import { changed, type Call, type Methods } from './methods.js';
import { now, type Row } from './table.js';
import { listOf, reload } from './wire.js';

const plain = [...columns, 'metadata', 'system_metadata'];
/** Written only when they changed. */
const whenChanged = ['numa_topology', 'migration_context', 'device_metadata', 'keypairs', 'trusted_certs', 'resources', 'vcpu_model'];
const flavors = ['flavor', 'old_flavor', 'new_flavor'];

/** `expected_task_state` and its like: a value or a list; null and absent mean no check. */
function check(row: Row, args: Row): void {
  const expected: Row = {};
  const actual: Row = {};
  for (const column of ['task_state', 'vm_state']) {
    const wish = args[`expected_${column}`];
    if (wish === undefined || wish === null) continue;
    const allowed = Array.isArray(wish) ? wish as unknown[] : [wish];
    if (allowed.includes(row[column] ?? null)) continue;
    expected[column] = allowed;
    actual[column] = row[column] ?? null;
  }
  if (Object.keys(actual).length === 0) return;
  const about = { instance_uuid: row['uuid'], expected, actual };
  if (!('task_state' in actual)) throw novaFailure('UnexpectedVMStateError', about);
  throw novaFailure(actual['task_state'] === 'deleting' ? 'UnexpectedDeletingTaskStateError' : 'UnexpectedTaskStateError', about);
}

/** The savers of set sub-objects, which run whatever else is saved. */
function saveChildren(row: Row, object: NovaObject): void {
  const marks = object.whatChanged();
  const cache = object.object('info_cache');
  if (cache?.whatChanged().has('network_info')) {
    Object.assign(cacheOf(row), { network_info: cache.get('network_info'), updated_at: now() });
    cache.resetChanges();
  }
  if (object.object('pci_requests')) row['pci_requests'] = toWire(object.get('pci_requests'));
  for (const name of whenChanged) if (marks.has(name)) row[name] = toWire(object.get(name));
  if (flavors.some((name) => marks.has(name))) for (const name of flavors) if (object.has(name)) row[name] = toWire(object.get(name));
}

function save({ cell, args }: Call, object: NovaObject): void {
  const row = instanceRow(cell, object.get('uuid'));
  const updates = toWire(changed(object, plain)) as Row;
  if ('node' in updates && !('compute_id' in updates)) throw novaFailure('ObjectActionError', { action: 'save', reason: 'Instance node changed without compute_id' });
  if (Object.keys(updates).length === 0) return saveChildren(row, object);
  check(row, args);
  saveChildren(row, object);
  cell.instances.update(row, updates);
  reload(object, row, columns);
  for (const name of ['metadata', 'system_metadata']) if (object.has(name)) object.load(name, row[name]);
  // as Nova's, which forgets its own marks and not those of its sub-objects
  object.setChanges([]);
}

function destroy({ cell }: Call, object: NovaObject): void {
  const row = instanceRow(cell, object.get('uuid'));
  if (!object.text('host') && row['host'] !== null) throw novaFailure('ObjectActionError', { action: 'destroy', reason: 'host changed' });
  cell.instances.bury(row);
  cell.vifs.remove({ instance_uuid: row['uuid'] });
  for (const device of cell.blockDevices.all({ instance_uuid: row['uuid'] })) cell.blockDevices.bury(device);
  reload(object, row, columns);
  object.setChanges([]);
}

function refresh({ cell }: Call, object: NovaObject): void {
  const row = instanceRow(cell, object.get('uuid'));
  reload(object, row, columns.filter((column) => object.has(column)));
  for (const name of ['metadata', 'system_metadata', 'info_cache', ...flavors]) if (object.has(name)) reload(object, { [name]: attribute(cell, row, name) }, [name]);
  object.setChanges([]);
}

function list(cell: Cell, rows: readonly Row[], expected: unknown): Row {
  return listOf('InstanceList', rows.map((row) => instanceObject(cell, row, expected ?? [])));
}

/** The filters that a compute service uses: equality, lists, `deleted`, `changes-since` is not among them. */
function fits(row: Row, filters: Row): boolean {
  return Object.entries(filters).every(([name, wanted]) => {
    if (name === 'soft_deleted') return (row['vm_state'] === 'soft-delete') === (wanted === true);
    const value = name === 'deleted' ? row['deleted'] : row[name];
    return Array.isArray(wanted) ? wanted.includes(value) : value === wanted;
  });
}

export const instanceMethods: Methods = {
  class: {
    'Instance.get_by_uuid': {
      names: ['uuid', 'expected_attrs', 'use_slave'],
      run: ({ cell, args, context }) => instanceObject(cell, instanceRow(cell, args['uuid'], context), args['expected_attrs'] ?? undefined),
    },
    'InstanceList.get_by_host': { names: ['host', 'expected_attrs', 'use_slave'], run: ({ cell, args }) => list(cell, cell.instances.all({ host: args['host'] }), args['expected_attrs']) },
    'InstanceList.get_by_host_and_node': {
      names: ['host', 'node', 'expected_attrs'],
      run: ({ cell, args }) => list(cell, cell.instances.all({ host: args['host'], node: args['node'] }), args['expected_attrs']),
    },
    'InstanceList.get_uuids_by_host': { names: ['host'], run: ({ cell, args }) => cell.instances.all({ host: args['host'] }).map((row) => row['uuid']) },
    'InstanceList.get_by_filters': {
      names: ['filters', 'sort_key', 'sort_dir', 'limit', 'marker', 'expected_attrs', 'use_slave', 'sort_keys', 'sort_dirs'],
      run: ({ cell, args, context }) => list(cell, cell.instances.all({}, context['read_deleted'] ?? 'no').filter((row) => fits(row, (args['filters'] ?? {}) as Row)), args['expected_attrs']),
    },
  },
  instance: {
    'Instance.save': { names: ['expected_vm_state', 'expected_task_state', 'admin_state_reset'], run: save },
    'Instance.destroy': { names: ['hard_delete'], run: destroy },
    'Instance.refresh': { names: ['use_slave'], run: refresh },
    'Instance.drop_migration_context': {
      names: [],
      run: ({ cell }, object) => {
        instanceRow(cell, object.get('uuid'))['migration_context'] = null;
        object.load('migration_context', null);
      },
    },
  },
};

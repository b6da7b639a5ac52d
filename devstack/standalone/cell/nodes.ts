/** `ComputeNode` and `ComputeNodeList` (nova/objects/compute_node.py). */
import { toWire } from '../../../src/nova/object.js';
import { novaFailure } from './failures.js';
import { changed, type Methods } from './methods.js';
import type { Row } from './table.js';
import { fromRow, listOf, reload, stamps } from './wire.js';

const columns = [
  'id', 'uuid', 'service_id', 'host', 'vcpus', 'memory_mb', 'local_gb', 'vcpus_used', 'memory_mb_used', 'local_gb_used', 'hypervisor_type', 'hypervisor_version',
  'hypervisor_hostname', 'free_ram_mb', 'free_disk_gb', 'current_workload', 'running_vms', 'cpu_info', 'disk_available_least', 'metrics', 'stats', 'host_ip',
  'numa_topology', 'supported_hv_specs', 'pci_device_pools', 'cpu_allocation_ratio', 'ram_allocation_ratio', 'disk_allocation_ratio', 'mapped', ...stamps,
];

const view = (row: Row): Row => fromRow('ComputeNode', row, columns);

function found(row: Row | undefined, host: unknown): Row {
  if (!row) throw novaFailure('ComputeHostNotFound', { host });
  return view(row);
}

export const nodeMethods: Methods = {
  class: {
    'ComputeNode.get_by_uuid': { names: ['compute_uuid'], run: ({ cell, args }) => found(cell.nodes.one({ uuid: args['compute_uuid'] }), args['compute_uuid']) },
    'ComputeNode.get_by_host_and_nodename': {
      names: ['host', 'nodename'],
      run: ({ cell, args }) => found(cell.nodes.one({ host: args['host'], hypervisor_hostname: args['nodename'] }), args['host']),
    },
    'ComputeNode.get_first_node_by_host_for_old_compat': { names: ['host', 'use_slave'], run: ({ cell, args }) => found(cell.nodes.one({ host: args['host'] }), args['host']) },
    'ComputeNodeList.get_all_by_host': {
      names: ['host', 'use_slave'],
      run: ({ cell, args }) => {
        const rows = cell.nodes.all({ host: args['host'] });
        if (rows.length === 0) throw novaFailure('ComputeHostNotFound', { host: args['host'] });
        return listOf('ComputeNodeList', rows.map(view));
      },
    },
    'ComputeNodeList.get_all_by_uuids': {
      names: ['compute_uuids'],
      run: ({ cell, args }) => listOf('ComputeNodeList', cell.nodes.all().filter((row) => (args['compute_uuids'] as unknown[]).includes(row['uuid'])).map(view)),
    },
  },
  instance: {
    'ComputeNode.create': {
      names: [],
      run: ({ cell }, node) => {
        if (node.has('id')) throw novaFailure('ObjectActionError', { action: 'create', reason: 'already created' });
        if (cell.nodes.one({ uuid: node.get('uuid') })) throw novaFailure('DuplicateRecord', { target: `compute node ${node.text('uuid')}` });
        const row = cell.nodes.insert({ mapped: 0, ...(toWire(changed(node, columns)) as Row) });
        reload(node, row, columns.filter((column) => column !== 'supported_hv_specs'));
        node.setChanges([]);
      },
    },
    'ComputeNode.save': {
      names: ['prune_stats'],
      run: ({ cell }, node) => {
        const row = cell.nodes.one({ id: node.get('id') }) ?? cell.nodes.one({ uuid: node.get('uuid') });
        if (!row) throw novaFailure('ComputeHostNotFound', { host: node.get('host') });
        cell.nodes.update(row, toWire(changed(node, columns)) as Row);
        // what the caller sent of objects goes back as it came
        reload(node, row, columns.filter((column) => !['supported_hv_specs', 'pci_device_pools'].includes(column) || !node.has(column)));
        node.setChanges([]);
      },
    },
    'ComputeNode.destroy': {
      names: [],
      run: ({ cell }, node) => {
        const row = cell.nodes.one({ id: node.get('id') });
        if (row) cell.nodes.bury(row);
        node.setChanges([]);
      },
    },
  },
};

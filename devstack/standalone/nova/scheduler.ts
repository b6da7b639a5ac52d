/** Which hosts a server could go to, and the claim of one of them in placement. */
import { isUp } from '../cell/services.js';
import type { Row } from '../cell/table.js';
import { primitive } from '../cell/wire.js';
import type { Amounts, Provider } from '../rest/inventory.js';
import { projectId, userId } from '../rest/keystone.js';
import type { Control } from './control.js';

const cellUuid = 'b87973c5-cdc9-42cc-a9d7-311b04907021';

/** One host that was chosen. */
export interface Choice { readonly host: string; readonly node: string; readonly provider: Provider }

/** Hosts that are up and have room, the emptiest first. */
export function candidates(control: Control, wanted: Amounts): Choice[] {
  const { cell, inventories } = control;
  const found = cell.nodes.all().flatMap((node) => {
    const service = cell.services.one({ host: node['host'], binary: 'nova-compute' });
    const provider = inventories.providers.get(String(node['uuid']));
    if (!service || !isUp(service) || !provider || inventories.refuses(provider, wanted)) return [];
    return [{ host: String(node['host']), node: String(node['hypervisor_hostname']), provider, free: Number(node['free_ram_mb'] ?? 0) }];
  });
  return found.sort((a, b) => b.free - a.free);
}

/** Gives the server its share of a host. @returns false if there is no room any more */
export function claim(control: Control, uuid: string, provider: Provider, wanted: Amounts): boolean {
  if (control.inventories.refuses(provider, wanted, uuid)) return false;
  control.inventories.hold(uuid, new Map([[provider.uuid, wanted]]), { projectId, userId });
  return true;
}

/** A choice as the `Selection` object that travels with a build, for the next attempt. */
export function selection(choice: Choice, wanted: Amounts): Row {
  return primitive('Selection', {
    compute_node_uuid: choice.provider.uuid, service_host: choice.host, nodename: choice.node, cell_uuid: cellUuid, availability_zone: 'nova',
    limits: primitive('SchedulerLimits', { numa_topology: null, vcpu: null, disk_gb: null, memory_mb: null }),
    allocation_request: JSON.stringify({ allocations: { [choice.provider.uuid]: { resources: wanted } } }), allocation_request_version: '1.36',
  });
}

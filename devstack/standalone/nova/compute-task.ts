/** The conductor's `compute_task` namespace: a build that failed on one host goes to the next (nova/conductor/manager.py `build_instances`). */
import type { Endpoint, RpcRequest, WireContext } from '../../../src/messaging/types.js';
import type { Primitive } from '../../../src/nova/object.js';
import { novaFailure } from '../cell/failures.js';
import { forBuild, instanceObject } from '../cell/instance-row.js';
import type { Row } from '../cell/table.js';
import type { Amounts } from '../rest/inventory.js';
import { castCompute, type Control } from './control.js';
import { claim } from './scheduler.js';

const maxAttempts = 3;

interface Chosen { readonly host: string; readonly node: string; readonly rest: Row[] }

/** The next host of the list that still has room. */
function nextHost(control: Control, uuid: string, hosts: readonly Row[]): Chosen | undefined {
  for (const [index, entry] of hosts.entries()) {
    const { service_host: host, nodename: node, compute_node_uuid: id, allocation_request: text } = (entry as unknown as Primitive)['nova_object.data'] as Record<string, string>;
    const provider = control.inventories.providers.get(id ?? '');
    const request = JSON.parse(text ?? '{}') as { allocations?: Record<string, { resources: Amounts }> };
    const wanted = request.allocations?.[id ?? '']?.resources;
    if (provider && wanted && claim(control, uuid, provider, wanted)) return { host: host ?? '', node: node ?? '', rest: hosts.slice(index + 1) };
  }
  return undefined;
}

function giveUp(control: Control, row: Row, reason: string): void {
  const failure = novaFailure('MaxRetriesExceeded', { reason });
  control.cell.faults.insert({ instance_uuid: row['uuid'], code: 500, message: failure.message.slice(0, 255), details: reason, host: null });
  control.cell.instances.update(row, { vm_state: 'error', task_state: null });
  control.log.warn({ instance: row['uuid'] }, failure.message);
}

async function rebuild(control: Control, wire: Primitive, index: number, args: Readonly<Record<string, unknown>>, context: WireContext): Promise<void> {
  const uuid = String(wire['nova_object.data']['uuid']);
  const row = control.cell.instances.one({ uuid });
  if (!row) return; // deleted meanwhile
  const filters = (args['filter_properties'] ?? {}) as Row;
  const retry = (filters['retry'] ?? { num_attempts: 0, hosts: [] }) as { num_attempts: number; hosts: string[][]; exc_reason?: string };
  const attempt = retry.num_attempts + 1;
  const hosts = ((args['host_lists'] as Row[][] | null)?.[index] ?? []);
  if (attempt > maxAttempts) return giveUp(control, row, `Exhausted all attempts (${maxAttempts}) to build instance ${uuid}. ${retry.exc_reason ?? ''}`.trim());
  const chosen = nextHost(control, uuid, hosts);
  if (!chosen) return giveUp(control, row, `Exhausted all hosts available for retrying build failures for instance ${uuid}.`);
  control.log.info({ instance: uuid, host: chosen.host, attempt }, 'building on the next host');
  await castCompute(control, chosen.host, 'build_and_run_instance', {
    instance: instanceObject(control.cell, row, forBuild),
    image: args['image'], request_spec: args['request_spec'] ?? null,
    filter_properties: { ...filters, limits: {}, retry: { num_attempts: attempt, hosts: [...retry.hosts, [chosen.host, chosen.node]] } },
    admin_password: args['admin_password'] ?? null, injected_files: args['injected_files'] ?? [], requested_networks: args['requested_networks'] ?? null,
    security_groups: args['security_groups'] ?? null, block_device_mapping: args['block_device_mapping'] ?? null,
    node: chosen.node, limits: {}, host_list: chosen.rest, accel_uuids: [],
  }, context);
}

/** The endpoint. */
export function computeTaskEndpoint(control: Control): Endpoint {
  return {
    namespace: 'compute_task', version: '1.25', has: (method) => method === 'build_instances',
    handle: async ({ args, context }: RpcRequest) => {
      await Promise.all((args['instances'] as Primitive[]).map((wire, index) => rebuild(control, wire, index, args, context)));
      return null;
    },
  };
}

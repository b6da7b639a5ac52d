/** The `ComputeNode` record that the scheduler reads (contract D.4). */
import { RemoteFailure, type WireContext } from '../messaging/types.js';
import { NovaObject, toWire } from './object.js';
import type { Conductor } from './types.js';

/** What the record says of the host. Sizes of memory in MiB, of disk in GiB. */
export interface ComputeNodeValues {
  readonly hypervisor_type: string;
  /** As 1002003 for 1.2.3. */
  readonly hypervisor_version: number;
  readonly hypervisor_hostname: string;
  readonly host_ip: string;
  readonly vcpus: number;
  readonly vcpus_used: number;
  readonly memory_mb: number;
  readonly memory_mb_used: number;
  readonly local_gb: number;
  readonly local_gb_used: number;
  readonly free_ram_mb: number;
  /** The scheduler ignores a node while this is null. */
  readonly free_disk_gb: number;
  readonly disk_available_least: number | null;
  readonly current_workload: number;
  readonly running_vms: number;
  /** Text; never null. */
  readonly cpu_info: string;
  readonly stats: Readonly<Record<string, string>>;
  /** What images are matched against: `arch` as `uname -m`, `hv_type` as `lxc`, `vm_mode` `exe`. */
  readonly supported: readonly { readonly arch: string; readonly hv_type: string; readonly vm_mode: string }[];
}

/** What is settled when the record is made. */
export interface ComputeNodeIdentity {
  /** Node uuid and resource provider uuid. */
  readonly uuid: string;
  readonly host: string;
  /** `Service.id`; left out on Zed. */
  readonly serviceId: number;
}

function fieldsOf(conductor: Conductor, values: ComputeNodeValues): Record<string, unknown> {
  const { supported, ...columns } = values;
  return { ...columns, supported_hv_specs: supported.map((spec) => conductor.create('HVSpec', spec)), numa_topology: null, metrics: '[]' };
}

/** Makes the record; allocation ratios that are not given are filled in by the conductor. */
export async function createComputeNode(
  conductor: Conductor, context: WireContext, identity: ComputeNodeIdentity, values: ComputeNodeValues,
  ratios: Partial<Record<'cpu_allocation_ratio' | 'ram_allocation_ratio' | 'disk_allocation_ratio', number>> = {},
): Promise<NovaObject> {
  const service = conductor.release === 'zed' ? {} : { service_id: identity.serviceId };
  const node = conductor.create('ComputeNode', { uuid: identity.uuid, host: identity.host, ...service, ...fieldsOf(conductor, values), ...ratios });
  await conductor.objectCall(context, node, 'create');
  return node;
}

/** Sets what differs from the record and saves it; false if nothing differed. */
export async function updateComputeNode(conductor: Conductor, context: WireContext, node: NovaObject, values: Partial<ComputeNodeValues>): Promise<boolean> {
  const { supported, ...columns } = values;
  const fields: Record<string, unknown> = { ...columns, ...(supported ? { supported_hv_specs: supported.map((spec) => conductor.create('HVSpec', spec)) } : {}) };
  for (const [field, value] of Object.entries(fields)) if (!sameValue(node.get(field), value)) node.set(field, value);
  if (!node.isChanged()) return false;
  await conductor.objectCall(context, node, 'save');
  return true;
}

/** Equal but for the order of keys and for marks of change. */
function sameValue(a: unknown, b: unknown): boolean {
  const normal = (value: unknown): unknown => {
    if (value instanceof NovaObject) return [value.name, Object.fromEntries([...value.fields()].sort().map((field) => [field, normal(value.get(field))]))];
    if (Array.isArray(value)) return value.map(normal);
    if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1)).map(([key, item]) => [key, normal(item)]));
    return toWire(value);
  };
  return JSON.stringify(normal(a)) === JSON.stringify(normal(b));
}

/** The nodes of `host`; empty if there is none. */
export async function computeNodesOfHost(conductor: Conductor, context: WireContext, host: string): Promise<readonly NovaObject[]> {
  try {
    const list = await conductor.classCall(context, 'ComputeNodeList', 'get_all_by_host', [host]);
    return list instanceof NovaObject ? list.objects() : [];
  } catch (error) {
    if (error instanceof RemoteFailure && error.className === 'ComputeHostNotFound') return [];
    throw error;
  }
}

/** The node of `uuid`, undefined if there is none. */
export async function computeNodeByUuid(conductor: Conductor, context: WireContext, uuid: string): Promise<NovaObject | undefined> {
  const list = await conductor.classCall(context, 'ComputeNodeList', 'get_all_by_uuids', [[uuid]]);
  return list instanceof NovaObject ? list.objects()[0] : undefined;
}

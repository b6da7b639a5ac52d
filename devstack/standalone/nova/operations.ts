/** What nova-api does with a server that exists: checks its state, notes the action and the task, casts to its host. */
import { forOperation, instanceObject, instanceRow } from '../cell/instance-row.js';
import { deviceList } from '../cell/network.js';
import { startAction } from '../cell/records.js';
import type { Row } from '../cell/table.js';
import { Refusal } from '../rest/server.js';
import type { PortEvent } from '../rest/neutron.js';
import type { Port } from '../rest/ports.js';
import { adminContext } from '../../../src/messaging/context.js';
import { primitive } from '../cell/wire.js';
import { castCompute, userContext, type Control } from './control.js';

/** An operation of the API. */
interface Operation {
  readonly action: string;
  /** States it may begin in. */
  readonly from: readonly string[];
  readonly task: string;
  readonly method: string;
  readonly args?: Row;
}

const operations = {
  'os-stop': { action: 'stop', from: ['active', 'error'], task: 'powering-off', method: 'stop_instance', args: { clean_shutdown: true } },
  'os-start': { action: 'start', from: ['stopped'], task: 'powering-on', method: 'start_instance' },
  pause: { action: 'pause', from: ['active'], task: 'pausing', method: 'pause_instance' },
  unpause: { action: 'unpause', from: ['paused'], task: 'unpausing', method: 'unpause_instance' },
  soft: { action: 'reboot', from: ['active'], task: 'rebooting', method: 'reboot_instance', args: { block_device_info: null, reboot_type: 'SOFT' } },
  hard: { action: 'reboot', from: ['active', 'stopped', 'paused', 'error'], task: 'rebooting_hard', method: 'reboot_instance', args: { block_device_info: null, reboot_type: 'HARD' } },
} as const satisfies Record<string, Operation>;

/** Names of operations. */
export type OperationName = keyof typeof operations;

/** True for a name of an operation. */
export function isOperation(name: string): name is OperationName {
  return Object.hasOwn(operations, name);
}

function conflict(message: string): Refusal {
  return new Refusal(409, { conflictingRequest: { code: 409, message } });
}

/** Begins an operation; what comes of it is seen in the server's states. */
export async function operate(control: Control, row: Row, name: OperationName): Promise<void> {
  const operation: Operation = operations[name];
  if (row['task_state'] !== null || !operation.from.includes(String(row['vm_state']))) {
    const what = row['task_state'] === null ? `vm_state ${String(row['vm_state'])}` : `task_state ${String(row['task_state'])}`;
    throw conflict(`Cannot '${operation.action}' instance ${String(row['uuid'])} while it is in ${what}`);
  }
  const host = String(row['host'] ?? '');
  if (!host) throw conflict(`Instance ${String(row['uuid'])} has no host`);
  const context = userContext(control);
  startAction(control.cell, context, row['uuid'], operation.action);
  control.cell.instances.update(row, { task_state: operation.task });
  await castCompute(control, host, operation.method, { instance: instanceObject(control.cell, row, forOperation), ...operation.args }, context);
}

/** Deletes a server: its host does it; without a host it is done here, as the API does ("local delete"). */
export async function deleteServer(control: Control, row: Row): Promise<void> {
  const { cell } = control;
  const context = userContext(control);
  startAction(cell, context, row['uuid'], 'delete');
  const host = String(row['host'] ?? '');
  if (!host) {
    for (const port of control.ports.all().filter((one) => one['device_id'] === row['uuid'])) control.ports.delete(port.id);
    control.inventories.hold(String(row['uuid']), new Map(), { projectId: '', userId: '' });
    cell.instances.update(row, { vm_state: 'deleted', task_state: null });
    cell.instances.bury(row);
    return;
  }
  cell.instances.update(row, { task_state: 'deleting' });
  const bdms = deviceList(cell.blockDevices.all({ instance_uuid: row['uuid'] }));
  await castCompute(control, host, 'terminate_instance', { instance: instanceObject(cell, row, forOperation), bdms }, context);
}

/** The last lines of the console, from the host. */
export async function consoleOutput(control: Control, row: Row, lines: number | null): Promise<string> {
  const host = String(row['host'] ?? '');
  if (!host) throw conflict(`Instance ${String(row['uuid'])} is not ready`);
  const args = structuredClone({ instance: instanceObject(control.cell, row, ['info_cache', 'metadata', 'system_metadata', 'security_groups']), tail_length: lines });
  return String(await control.messaging.client.call({ topic: 'compute', server: host, version: '6.0' }, 'get_console_output', args, userContext(control)));
}

/** Hands neutron's news of a port to the host of its server (nova-api's os-server-external-events). */
export async function tellHost(control: Control, name: PortEvent, port: Port): Promise<void> {
  const uuid = String(port['device_id'] ?? '');
  const row = uuid ? control.cell.instances.one({ uuid }) : undefined;
  const host = String(row?.['host'] ?? '');
  if (!row || !host) return;
  const event = primitive('InstanceExternalEvent', { instance_uuid: uuid, name, status: 'completed', tag: port.id });
  await castCompute(control, host, 'external_instance_event', { instances: [instanceObject(control.cell, instanceRow(control.cell, uuid), ['info_cache', 'migration_context'])], events: [event] }, adminContext());
}

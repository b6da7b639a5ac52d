/**
 * prep_resize, on the destination (contract C.8; nova/compute/manager.py `prep_resize`): checks, claims, and asks the source to go on.
 * Nothing of the guest is touched, so whatever fails leaves it as it is, and the scheduler may try another host.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { hint } from '../boot/build-request.js';
import { checkGroupPolicy } from '../boot/group-policy.js';
import { limitsOf } from '../container-spec.js';
import { recordFault } from '../failure-report.js';
import { withAttribute } from '../instance-state.js';
import { migrationOf, oldVmStateKey, revertAllocation, setStatus } from '../moves/migration.js';
import { castResizeInstance } from '../moves/other-computes.js';
import { withTicket, type Ticket } from '../moves/transport.js';
import { RefusedMethod } from '../refusal.js';
import { hypervisorType } from '../node-values.js';
import { messageOf, type NovaClass } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { NovaObject } from '../../nova/object.js';

const novaError = (name: string, code: number): NovaClass => ({ class: name, module: 'nova.exception', code });

/** prep_resize. */
export async function prepResize(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  const migration = migrationOf(call);
  compute.notifier.instance('resize_prep.start', context, instance);
  try {
    await call.operation.run((operation) => prepare(compute, call, migration, operation));
  } catch (error) {
    await revertAllocation(compute, uuid, migration);
    if (!(await rescheduled(compute, call, migration, error))) throw error;
  } finally {
    compute.notifier.instance('resize_prep.end', context, instance);
  }
}

async function prepare(compute: Compute, call: InstanceCall, migration: NovaObject, operation: Operation): Promise<void> {
  const { args, context, instance, uuid } = call;
  const flavor = args['flavor'] as NovaObject;
  const source = instance.text('host');
  if (!source) throw new RefusedMethod('moving a server that has no host', novaError('MigrationError', 500));
  const sameHost = source === compute.settings.host;
  if (sameHost && flavor.get('id') === instance.get('instance_type_id')) throw new RefusedMethod('migrating a server to the host it is on', novaError('UnableToMigrateToSelf', 400));
  operation.step('claim');
  await checkGroupPolicy(compute, context, uuid, hint(args['request_spec'], 'group'));
  await withAttribute(compute, call, 'system_metadata');
  instance.set('new_flavor', flavor);
  instance.set('system_metadata', { ...instance.strings('system_metadata'), [oldVmStateKey]: instance.text('vm_state') ?? 'active' });
  await compute.conductor.saveInstance(context, instance);
  migration.set('dest_compute', compute.settings.host);
  migration.set('dest_node', compute.node.hypervisorHostname);
  migration.set('dest_host', compute.settings.myIp);
  if (compute.conductor.release !== 'zed') migration.set('dest_compute_id', compute.node.id);
  await setStatus(compute, context, migration, 'pre-migrating');
  compute.tracker.moving(uuid, instance, flavor);
  operation.undo('drop the claim', () => compute.tracker.moved(uuid));
  instance.set('migration_context', compute.conductor.create('MigrationContext', {
    instance_uuid: uuid, migration_id: migration.get('id'), old_numa_topology: null, new_numa_topology: null,
    old_pci_devices: null, new_pci_devices: null, old_pci_requests: null, new_pci_requests: null, old_resources: null, new_resources: null,
  }));
  operation.undo('drop the migration context', () => dropContext(compute, call));
  await compute.conductor.saveInstance(context, instance);
  faultPoint('resize.claimed');
  const ticket = sameHost ? undefined : await expectDisk(compute, call, source, flavor, operation);
  await castResizeInstance(compute, context, source, {
    instance, migration, flavor, image: withTicket(args['image'], ticket), clean_shutdown: args['clean_shutdown'] ?? true, request_spec: args['request_spec'] ?? null,
  });
  faultPoint('resize.prepared');
}

async function dropContext(compute: Compute, { context, instance }: InstanceCall): Promise<void> {
  instance.set('migration_context', null);
  instance.set('new_flavor', null);
  await compute.conductor.saveInstance(context, instance);
}

/** Only a Haulier can send to a Haulier, and the scheduler does not tell them from others. */
async function expectDisk(compute: Compute, { context, uuid }: InstanceCall, source: string, flavor: NovaObject, operation: Operation): Promise<Ticket> {
  const node = (await compute.conductor.classCall(context, 'ComputeNode', 'get_first_node_by_host_for_old_compat', [source])) as NovaObject;
  const type = node.text('hypervisor_type');
  const { transport } = compute;
  if (type !== hypervisorType) throw new RefusedMethod(`moving a server from a host of type ${String(type)} here`, novaError('MigrationPreCheckError', 500));
  if (!transport) throw new RefusedMethod('moving a server here without [haulier] haul_ca, haul_cert and haul_key', novaError('MigrationPreCheckError', 500));
  operation.undo('expect it no more', () => transport.forget(uuid));
  return transport.expect(uuid, source, limitsOf(flavor, compute.settings.pidsLimit));
}

/** Hands the move back to the scheduler, if it gave the means to. @returns false if it did not: the failure is the move's end */
async function rescheduled(compute: Compute, call: InstanceCall, migration: NovaObject, error: unknown): Promise<boolean> {
  const { args, context, instance } = call;
  const properties = (args['filter_properties'] ?? {}) as Record<string, unknown>;
  const retry = properties['retry'] as Record<string, unknown> | undefined;
  if (!retry || error instanceof RefusedMethod && instance.text('host') === compute.settings.host) return false;
  try {
    instance.set('task_state', 'resize_prep');
    await compute.conductor.saveInstance(context, instance);
    await setStatus(compute, context, migration, 'error');
    await compute.conductor.migrateServer(context, {
      instance, scheduler_hint: { filter_properties: { ...properties, retry: { ...retry, exc: [messageOf(error)] } } }, live: false, rebuild: false, flavor: args['flavor'],
      block_migration: null, disk_over_commit: null, reservations: null, clean_shutdown: true, request_spec: args['request_spec'] ?? null, host_list: args['host_list'] ?? null,
    });
  } catch (failure) {
    compute.log.error({ err: failure, instance: call.uuid }, `cannot schedule the move again: ${messageOf(failure)}`);
    return false;
  }
  await recordFault(compute, context, instance, error);
  compute.notifier.instance('resize.error', context, instance, error);
  return true;
}

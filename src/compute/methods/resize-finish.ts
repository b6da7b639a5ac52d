/**
 * finish_resize, on the destination (contract C.8; nova/compute/manager.py `_finish_resize`): ports, container and flavor are this
 * host's now, and the guest is started if it ran. A message that comes twice, or after a restart that did its work, is passed over.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { containerSpec } from '../container-spec.js';
import { readPowerState } from '../instance-state.js';
import { applyFlavor, isSameHost, migrationOf, ranBefore, setStatus, storedInstance } from '../moves/migration.js';
import { bringPorts } from '../moves/ports.js';
import type { DiskInfo } from './resize.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { VifInfo } from '../../nova/network-info.js';
import { novaTime } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** finish_resize. A failure leaves the server in error on this host, where its disk is: a hard reboot may bring it up. */
export async function finishResize(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  const stored = await storedInstance(compute, context, uuid);
  const task = stored?.text('task_state') ?? '';
  if (stored?.text('host') !== compute.settings.host || !['resize_migrated', 'resize_finish'].includes(task)) {
    compute.log.info({ instance: uuid, task }, 'this move is finished already');
    return;
  }
  const migration = migrationOf(call);
  const old = instance.object('flavor');
  try {
    await call.operation.run((operation) => finish(compute, { ...call, operation }, migration, task));
  } catch (error) {
    if (old && instance.object('flavor') !== old) applyFlavor(instance, old);
    instance.set('vm_state', 'error');
    // the server is here for good, so what the migration holds at the source must not be held for ever
    await compute.placement.deleteAllocations(migration.text('uuid') ?? '').catch((failure: unknown) => call.operation.log.error({ err: failure }, `cannot drop the source's allocation: ${messageOf(failure)}`));
    compute.tracker.moved(uuid);
    compute.tracker.update(uuid, instance);
    throw error;
  }
  compute.notifier.scheduler('update_instance_info', context, instance);
  compute.notifier.instance('resize_finish.end', context, instance);
}

async function finish(compute: Compute, call: InstanceCall, migration: NovaObject, task: string): Promise<void> {
  const { context, instance, operation, uuid } = call;
  const sameHost = isSameHost(compute, migration);
  const old = instance.object('flavor');
  const wanted = instance.object('new_flavor');
  if (old && instance.object('old_flavor') === undefined) instance.set('old_flavor', old);
  if (wanted && migration.get('old_instance_type_id') !== migration.get('new_instance_type_id')) applyFlavor(instance, wanted);
  const start = ranBefore(instance);
  operation.step('ports');
  const ports = await bringPorts(compute, call, operation, start);
  try {
    instance.set('task_state', 'resize_finish');
    await compute.conductor.saveInstance(context, instance, { taskState: [task] });
    compute.notifier.instance('resize_finish.start', context, instance);
    faultPoint('resize.bound');
    // running: only the records were missing when the service ended
    if ((await compute.containers.view(uuid)).state !== 'running') await takeDisk(compute, call, ports.vifs, operation);
    if (start) await compute.containers.startContainer(uuid, operation, ports.wired);
    faultPoint('resize.started');
  } finally {
    ports.drop();
  }
  await setStatus(compute, context, migration, 'finished');
  await readPowerState(compute, instance, uuid);
  instance.set('vm_state', 'resized');
  instance.set('task_state', null);
  instance.set('launched_at', novaTime());
  await compute.conductor.saveInstance(context, instance, { taskState: ['resize_finish'] });
  operation.commit();
  faultPoint('resize.finished');
  compute.tracker.update(uuid, instance);
  const before = instance.object('old_flavor');
  if (sameHost && before) compute.tracker.moving(uuid, instance, before);
  else compute.tracker.moved(uuid);
}

async function takeDisk(compute: Compute, { args, instance, uuid }: InstanceCall, vifs: readonly VifInfo[], operation: Operation): Promise<void> {
  operation.step('disk');
  const spec = await compute.containers.spec(uuid);
  if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: uuid });
  const info = JSON.parse(typeof args['disk_info'] === 'string' ? args['disk_info'] : '{}') as Partial<DiskInfo>;
  await compute.containers.moves.adopt({ ...spec, ...containerSpec(compute, instance, info.imageId ?? spec.imageId, vifs) }, operation);
}

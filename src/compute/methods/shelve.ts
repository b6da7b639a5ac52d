/**
 * shelve_instance and shelve_offload_instance (contract C.10; nova/compute/manager.py `_shelve_instance`, `_shelve_offload_instance`):
 * the guest ends, its disk (and its memory where that is wanted) becomes an image, and later, or at once, the server leaves this host. Offloading is idempotent: it is
 * done again after a crash.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { uuidOf } from '../compute.js';
import { discardImage, isDeleted, uploadSnapshot, type UploadStates } from '../disk-snapshot.js';
import { readPowerState, startAgain, stopTiming, withAttribute } from '../instance-state.js';
import { releasePorts } from '../network/release.js';
import { placeNowhere } from '../placing.js';
import { insideWrappers } from '../wrappers.js';
import { messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { ContainerState } from '../../container/spec.js';
import { adminContext, novaTime } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** Fault points of shelving, in order; those of the snapshot lie after the first. */
export const shelveFaultPoints = ['shelve.stopped', 'shelve.saved', 'offload.stopped', 'offload.destroyed', 'offload.released', 'offload.allocation', 'offload.saved'] as const;

const states: UploadStates = { before: 'shelving', pending: 'shelving_image_pending_upload', uploading: 'shelving_image_uploading' };

/** shelve_instance. A failure deletes the image, and a guest that ran runs again. */
export async function shelveInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, operation, uuid } = call;
  const imageId = String(call.args['image_id']);
  const offload = compute.settings.shelvedOffloadTime === 0;
  compute.notifier.instance('shelve.start', context, instance);
  const { state } = await compute.containers.view(uuid);
  let withMemory = false;
  try {
    await compute.snapshots.use(() => uploadSnapshot(compute, call, imageId, states, async (memoryFor) => {
      withMemory = memoryFor !== undefined;
      await rest(compute, call, state, memoryFor !== undefined);
      faultPoint('shelve.stopped');
      return await compute.containers.snapshot(uuid, operation, memoryFor);
    }));
    // one that stood still all the time (paused, suspended) ends only now that its image is whole; with its memory it stays as it is until it leaves
    const now = (await compute.containers.view(uuid)).state;
    if (!withMemory && (now === 'paused' || now === 'suspended')) await compute.containers.stopContainer(uuid, stopTiming(compute, instance, false), operation);
  } catch (error) {
    await discardImage(compute, context, imageId);
    if (isDeleted(error)) return;
    if (state === 'running') await startAgain(compute, call);
    throw error;
  }
  const metadata = instance.strings('system_metadata');
  // the API and the periodic offload read it as isoformat() of a naive time
  instance.set('system_metadata', { ...metadata, shelved_at: novaTime(new Date(compute.cloudNow() ?? Date.now())).replace('Z', ''), shelved_image_id: imageId, shelved_host: compute.settings.host });
  instance.set('vm_state', 'shelved');
  instance.set('task_state', offload ? 'shelving_offloading' : null);
  await readPowerState(compute, instance, uuid);
  try {
    await compute.conductor.saveInstance(context, instance, { taskState: ['shelving', states.uploading] });
  } catch (error) {
    // any other failure leaves the image: what could not be saved now is true, and is saved with the task state
    if (!isDeleted(error)) throw error;
    await discardImage(compute, context, imageId);
    return;
  }
  faultPoint('shelve.saved');
  compute.tracker.update(uuid, instance);
  compute.notifier.instance('shelve.end', context, instance);
  if (offload) await offloadInstance(compute, call, false);
  else if (withMemory) await pausedToDisk(compute, call);
}

/** One that was paused gives its memory free, and outlives a restart of the host. It may also stay paused: an unshelving takes both. */
async function pausedToDisk(compute: Compute, { operation, uuid }: InstanceCall): Promise<void> {
  if ((await compute.containers.view(uuid)).state !== 'paused') return;
  await compute.containers.suspend(uuid, operation).catch((error: unknown) => operation.log.warn({ err: error }, `it stays paused in memory: ${messageOf(error)}`));
}

/** Nothing of the guest may happen after its snapshot: it is shut down, or, to be kept with its memory, frozen to disk. One that stands still is taken as it is. */
async function rest(compute: Compute, call: InstanceCall, state: ContainerState, memory: boolean): Promise<void> {
  if (state === 'suspended' || state === 'paused') return;
  if (!memory) await compute.containers.stopContainer(call.uuid, stopTiming(compute, call.instance, call.args['clean_shutdown'] !== false), call.operation);
  else if (state === 'running') await compute.containers.suspend(call.uuid, call.operation);
}

/** shelve_offload_instance. */
export async function shelveOffloadInstance(compute: Compute, call: InstanceCall): Promise<void> {
  await offloadInstance(compute, call, call.args['clean_shutdown'] !== false);
}

/** The server leaves this host: guest, ports, allocation, state, in that order. */
export async function offloadInstance(compute: Compute, call: InstanceCall, clean: boolean): Promise<void> {
  const { context, instance, operation, uuid } = call;
  await withAttribute(compute, call, 'info_cache');
  compute.notifier.instance('shelve_offload.start', context, instance);
  const { state } = await compute.containers.view(uuid);
  if (state === 'running' || state === 'paused') await compute.containers.stopContainer(uuid, stopTiming(compute, instance, clean && state === 'running'), operation);
  await readPowerState(compute, instance, uuid);
  faultPoint('offload.stopped');
  operation.step('destroy');
  await compute.containers.destroy(uuid, operation);
  faultPoint('offload.destroyed');
  operation.step('ports');
  await releasePorts(compute, context, instance);
  faultPoint('offload.released');
  // before the state says so: who waits for it may ask for the place at once
  await compute.placement.deleteAllocations(uuid);
  faultPoint('offload.allocation');
  instance.set('vm_state', 'shelved_offloaded');
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: ['shelving', 'shelving_offloading'] });
  compute.tracker.drop(uuid);
  placeNowhere(compute, instance);
  await compute.conductor.saveInstance(context, instance, { taskState: [null] });
  faultPoint('offload.saved');
  compute.notifier.scheduler('delete_instance_info', context, instance);
  compute.notifier.instance('shelve_offload.end', context, instance);
}

/** Servers that have been shelved for `shelved_offload_time` leave this host (nova/compute/manager.py `_poll_shelved_instances`). */
export async function offloadShelved(compute: Compute): Promise<void> {
  const context = adminContext();
  const filters = { vm_state: 'shelved', task_state: null, host: compute.settings.host };
  const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_filters', [filters], { expected_attrs: ['system_metadata', 'info_cache', 'flavor'], use_slave: true })) as NovaObject;
  for (const instance of list.objects()) {
    const uuid = uuidOf(instance);
    const since = Date.parse(`${instance.strings('system_metadata')['shelved_at'] ?? ''}Z`);
    if (!((compute.cloudNow() ?? -Infinity) - since > compute.settings.shelvedOffloadTime * 1000)) continue;
    try {
      await compute.locks.hold(uuid, () => compute.operations.run({ name: 'shelve_offload_instance', instance: uuid }, async (operation) => {
        instance.set('task_state', 'shelving_offloading');
        await compute.conductor.saveInstance(context, instance, { taskState: [null] });
        const call = { method: 'shelve_offload_instance', context, args: { clean_shutdown: false }, operation, instance, uuid };
        await insideWrappers(compute, { method: call.method, wrappers: ['T', 'F'], context, instance }, () => shelveOffloadInstance(compute, call));
      }));
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, `cannot offload a shelved server: ${messageOf(error)}`);
    }
  }
}

/** A server's disk, and its memory where that is wanted, becomes an image: what snapshot, backup and shelve share (contract C.6, G.3). */
import type { Compute, InstanceCall } from './compute.js';
import { applicationProperties } from './image-source.js';
import { isNova } from './failure-report.js';
import { memoryFor, memoryProperties } from './memory-wish.js';
import { serviceScope, userScope } from './scope.js';
import { snapshotTemplateProperties } from './templates.js';
import { isHaulierError, messageOf } from '../base/errors.js';
import { faultPoint } from '../base/fault-points.js';
import type { DiskSnapshot } from '../container/snapshot/snapshot.js';
import type { WireContext } from '../messaging/types.js';
import type { NovaObject } from '../nova/object.js';

/** Fault points of a snapshot, in order; `snapshot.frozen`, `.copied` and `.mounted` of the container room come first. */
export const snapshotFaultPoints = ['snapshot.begun', 'snapshot.taken', 'snapshot.described', 'snapshot.uploaded', 'snapshot.saved'] as const;

/** The task states that an upload passes. */
export interface UploadStates {
  readonly before: string;
  readonly pending: string;
  readonly uploading: string;
}

/** What the image says of itself beside what the API has given it (nova/virt/libvirt/driver.py `_create_snapshot_metadata`). The formats must be there before the bytes. */
export function snapshotProperties(instance: NovaObject): Record<string, string> {
  const inherited = Object.fromEntries(['kernel_id', 'ramdisk_id', 'os_type'].flatMap((name) => {
    const value = instance.text(name);
    return value ? [[name, value]] : [];
  }));
  return {
    disk_format: 'raw', container_format: 'bare', image_location: 'snapshot', image_state: 'available',
    ...(instance.text('project_id') ? { owner_id: instance.text('project_id') ?? '' } : {}), ...inherited,
  };
}

/**
 * Takes the snapshot and uploads it. Nothing of it is left on this host afterwards; a failure leaves the image to the caller.
 * @param take takes the snapshot, under the instance's lock; with memory for that image
 */
export async function uploadSnapshot(compute: Compute, call: InstanceCall, imageId: string, states: UploadStates, take: (memoryFor: string | undefined) => Promise<DiskSnapshot>): Promise<void> {
  const { context, instance, operation } = call;
  const scope = userScope(context, operation.signal);
  const wanted = await memoryFor(compute, call, imageId);
  const snapshot = await take(wanted);
  try {
    faultPoint('snapshot.taken');
    instance.set('task_state', states.pending);
    await compute.conductor.saveInstance(context, instance, { taskState: [states.before] });
    operation.step('snapshot.describe');
    const templates = (await compute.containers.spec(call.uuid))?.templates ?? [];
    await compute.glance.updateImage(scope, imageId, {
      ...snapshotProperties(instance), ...snapshotTemplateProperties(instance, templates), ...memoryProperties(instance, wanted !== undefined, snapshot.memory),
      ...applicationProperties(snapshot.application),
    });
    faultPoint('snapshot.described');
    instance.set('task_state', states.uploading);
    await compute.conductor.saveInstance(context, instance, { taskState: [states.pending] });
    operation.step('snapshot.upload');
    const began = performance.now();
    let bytes = 0;
    await compute.glance.upload(scope, imageId, snapshot.stream, (sent) => {
      bytes = sent;
      operation.progress = Math.min(1, sent / snapshot.expectedBytes);
    });
    operation.log.info({ image: imageId, bytes, ms: Math.round(performance.now() - began), frozenMs: Math.round(snapshot.frozenMs) }, 'snapshot uploaded');
    faultPoint('snapshot.uploaded');
  } catch (error) {
    // what the abort broke is not what went wrong
    throw operation.signal.aborted ? operation.signal.reason : error;
  } finally {
    operation.progress = undefined;
    await snapshot.end();
  }
}

/** True if an operation failed because its server is being deleted. */
export function isDeleted(error: unknown): boolean {
  return isNova(error, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError') || (isHaulierError(error, 'CANCELLED') && error.details['by'] === 'delete');
}

/** Deletes an image that came to nothing, with the user's rights, else with the service's. Never throws. */
export async function discardImage(compute: Compute, context: WireContext, imageId: string): Promise<void> {
  try {
    await compute.glance.deleteImage(userScope(context), imageId).catch((error: unknown) => {
      if (!isHaulierError(error, 'REST_FAILED')) throw error;
      return compute.glance.deleteImage(serviceScope(context), imageId); // a token that ran out meanwhile
    });
  } catch (error) {
    compute.log.warn({ err: error, image: imageId }, `cannot delete the image: ${messageOf(error)}`);
  }
}

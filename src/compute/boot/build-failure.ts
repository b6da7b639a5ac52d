/** What becomes of a server whose build failed: given up, put into error, or built on another host (contract C.3, failure classes). */
import type { Compute } from '../compute.js';
import type { BuildRequest } from './build-request.js';
import { isNova, recordFault } from '../failure-report.js';
import { errorText } from '../../nova/faults.js';
import { deallocateNetworks } from '../network/deallocate.js';
import { cachedVifs } from '../network/info-cache.js';
import { powerStates } from '../../nova/states.js';
import { isHaulierError, type ErrorCode } from '../../base/errors.js';

/** Another host would fail the same way: the request itself is at fault (Nova's BuildAbortException). */
const aborts: readonly ErrorCode[] = [
  'IMAGE_UNACCEPTABLE', 'MEMORY_IMAGE_REFUSED', 'IMAGE_NOT_FOUND', 'IMAGE_TOO_LARGE', 'TEMPLATE_UNACCEPTABLE', 'PORT_IN_USE', 'PORT_NOT_FOUND', 'NETWORK_NOT_FOUND', 'NETWORK_AMBIGUOUS', 'NETWORK_FAILED',
  'UNSUPPORTED', 'BAD_ARGUMENT', 'VIF_PLUG_TIMEOUT', 'VIF_PLUG_FAILED',
];

/** How a failed build ends. */
export type BuildEnd = 'deleted' | 'superseded' | 'abort' | 'reschedule';

/**
 * Classifies a build's failure.
 * @param claimed the instance was stored as being built here: from then on what is found is this build's own to settle
 */
export function endOf(error: unknown, filterProperties: Readonly<Record<string, unknown>>, claimed: boolean): BuildEnd {
  if (isNova(error, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) return 'deleted';
  if (isHaulierError(error, 'CANCELLED') && error.details['by'] === 'delete') return 'deleted';
  // somebody else changed the state, or the message came twice: what is there is not this build's to touch
  const unexpected = isNova(error, 'UnexpectedTaskStateError', 'UnexpectedVMStateError');
  if (!claimed && (unexpected || isHaulierError(error, 'INSTANCE_STATE'))) return 'superseded';
  // the container is rolled back: a state that says otherwise (`reset-state`) would be a lie
  if (unexpected || isHaulierError(error, ...aborts)) return 'abort';
  return filterProperties['retry'] ? 'reschedule' : 'abort';
}

/** Cleans up after the operation's rollback and tells Nova. Never throws: what cannot be told is logged. */
export async function settleFailedBuild(compute: Compute, request: BuildRequest, error: unknown, claimed: boolean): Promise<BuildEnd> {
  const { context, instance, uuid } = request;
  const end = endOf(error, request.filterProperties, claimed);
  compute.log.error({ err: error, instance: uuid, end }, 'build failed');
  if (end === 'superseded') return end;
  let gone = false;
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (failure) {
      if (isNova(failure, 'InstanceNotFound')) gone = true;
      else compute.log.error({ err: failure, instance: uuid }, `after a failed build: cannot ${what}`);
    }
  };
  // the rollback took back what this attempt made; this finds what an earlier one left
  await attempt('clean the ports', () => deallocateNetworks(compute, context, instance, cachedVifs(instance), request.requestedPorts));
  if (end === 'deleted') {
    await attempt('drop the allocation', () => compute.placement.deleteAllocations(uuid));
    return end;
  }
  compute.tracker.buildFailed();
  compute.notifier.instance('create.error', context, instance, error);
  // of one that goes to another host the conductor tells, if there is none left
  if (end === 'abort') await attempt('record the fault', () => recordFault(compute, context, instance, error));
  await attempt('drop the allocation', () => compute.placement.deleteAllocations(uuid));
  clearHost(compute, instance);
  instance.set('task_state', end === 'reschedule' ? 'scheduling' : null);
  // the last save may have failed with `active` in it
  instance.set('vm_state', end === 'reschedule' ? 'building' : 'error');
  instance.set('power_state', powerStates.NOSTATE);
  instance.set('launched_at', null);
  await attempt('save the state', () => compute.conductor.saveInstance(context, instance));
  // the conductor would claim another host for a server that was deleted meanwhile, and leave that claim behind
  if (end === 'reschedule' && !gone) await attempt('reschedule', () => reschedule(compute, request, error));
  return end;
}

function clearHost(compute: Compute, instance: BuildRequest['instance']): void {
  for (const field of ['host', 'node', 'launched_on', 'availability_zone']) instance.set(field, null);
  if (compute.conductor.release !== 'zed') instance.set('compute_id', null);
}

/** Everything but `retry` goes back exactly as it came (contract C.3 [spiked]). */
async function reschedule(compute: Compute, request: BuildRequest, error: unknown): Promise<void> {
  const { args } = request;
  const retry = request.filterProperties['retry'] as Record<string, unknown>;
  await compute.conductor.buildInstances(request.context, {
    instances: [request.instance],
    image: args['image'],
    filter_properties: { ...request.filterProperties, retry: { ...retry, exc: [errorText(error).details], exc_reason: errorText(error).message } },
    admin_password: args['admin_password'] ?? null,
    injected_files: args['injected_files'] ?? [],
    requested_networks: args['requested_networks'] ?? null,
    security_groups: args['security_groups'] ?? null,
    block_device_mapping: args['block_device_mapping'] ?? null,
    request_spec: args['request_spec'] ?? null,
    host_lists: [args['host_list'] ?? []],
  });
}

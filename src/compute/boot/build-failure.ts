/** What becomes of a server whose build failed: given up, put into error, or built on another host (contract C.3, failure classes). */
import type { Compute } from '../compute.js';
import type { BuildRequest } from './build-request.js';
import { isNova, recordFault } from '../failure-report.js';
import { errorText } from '../../nova/faults.js';
import { deallocateNetworks } from '../network/deallocate.js';
import { cachedVifs } from '../network/info-cache.js';
import { isHaulierError, type ErrorCode } from '../../base/errors.js';

/** Another host would fail the same way: the request itself is at fault (Nova's BuildAbortException). */
const aborts: readonly ErrorCode[] = [
  'IMAGE_UNACCEPTABLE', 'IMAGE_NOT_FOUND', 'IMAGE_TOO_LARGE', 'PORT_IN_USE', 'PORT_NOT_FOUND', 'NETWORK_NOT_FOUND', 'NETWORK_AMBIGUOUS', 'NETWORK_FAILED',
  'UNSUPPORTED', 'BAD_ARGUMENT', 'VIF_PLUG_TIMEOUT', 'VIF_PLUG_FAILED',
];

/** How a failed build ends. */
export type BuildEnd = 'deleted' | 'superseded' | 'abort' | 'reschedule';

/** Classifies a build's failure. */
export function endOf(error: unknown, filterProperties: Readonly<Record<string, unknown>>): BuildEnd {
  if (isNova(error, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) return 'deleted';
  if (isHaulierError(error, 'CANCELLED') && error.details['by'] === 'delete') return 'deleted';
  // somebody else changed the state, or the message came twice: what is there is not this build's to touch
  if (isNova(error, 'UnexpectedTaskStateError', 'UnexpectedVMStateError') || isHaulierError(error, 'INSTANCE_STATE')) return 'superseded';
  if (isHaulierError(error, ...aborts)) return 'abort';
  return filterProperties['retry'] ? 'reschedule' : 'abort';
}

/** Cleans up after the operation's rollback and tells Nova. Never throws: what cannot be told is logged. */
export async function settleFailedBuild(compute: Compute, request: BuildRequest, error: unknown): Promise<void> {
  const { context, instance, uuid } = request;
  const end = endOf(error, request.filterProperties);
  compute.log.error({ err: error, instance: uuid, end }, 'build failed');
  if (end === 'superseded') return;
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (failure) {
      if (!isNova(failure, 'InstanceNotFound')) compute.log.error({ err: failure, instance: uuid }, `after a failed build: cannot ${what}`);
    }
  };
  // the rollback took back what this attempt made; this finds what an earlier one left
  await attempt('clean the ports', () => deallocateNetworks(compute, context, instance, cachedVifs(instance), request.requestedPorts));
  if (end === 'deleted') {
    await attempt('drop the allocation', () => compute.placement.deleteAllocations(uuid));
    return;
  }
  compute.tracker.buildFailed();
  compute.notifier.instance('create.error', context, instance, error);
  await attempt('record the fault', () => recordFault(compute, context, instance, error));
  await attempt('drop the allocation', () => compute.placement.deleteAllocations(uuid));
  clearHost(compute, instance);
  instance.set('task_state', end === 'reschedule' ? 'scheduling' : null);
  if (end === 'abort') instance.set('vm_state', 'error');
  await attempt('save the state', () => compute.conductor.saveInstance(context, instance));
  if (end === 'reschedule') await attempt('reschedule', () => reschedule(compute, request, error));
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

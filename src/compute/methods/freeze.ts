/** suspend and resume (contract C.5; nova/compute/manager.py): a container frozen to disk by criu, and brought back. */
import type { Compute, InstanceCall } from '../compute.js';
import { finishWith, readPowerState, requireContainer, withAttribute } from '../instance-state.js';
import { cachedVifs } from '../network/info-cache.js';
import { vifSpecs } from '../network/vif-spec.js';
import { reloadNetwork } from './power.js';
import { faultPoint } from '../../base/fault-points.js';

/** Where tests kill the service, in order. */
export const freezeFaultPoints = ['suspend.begun', 'suspend.suspended', 'suspend.saved', 'resume.begun', 'resume.restored', 'resume.saved'] as const;

/** Where `suspend` keeps the state that `resume` goes back to. */
const oldVmState = 'old_vm_state';

/** suspend_instance. A dump that fails leaves the server as it was, with a fault; only one that took the container with it is an error state. */
export async function suspendInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { instance, uuid } = call;
  await requireContainer(compute, uuid);
  await withAttribute(compute, call, 'system_metadata');
  compute.notifier.instance('suspend.start', call.context, instance);
  faultPoint('suspend.begun');
  try {
    await compute.containers.suspend(uuid, call.operation);
  } catch (error) {
    const { state } = await compute.containers.view(uuid);
    if (state !== 'running' && state !== 'paused' && state !== 'suspended') instance.set('vm_state', 'error');
    throw error;
  }
  faultPoint('suspend.suspended');
  const before = instance.text('vm_state') ?? 'active';
  instance.set('system_metadata', { ...instance.strings('system_metadata'), [oldVmState]: before === 'suspended' ? 'active' : before });
  await finishWith(compute, call, { vmState: 'suspended', expected: ['suspending'] });
  faultPoint('suspend.saved');
  compute.notifier.instance('suspend.end', call.context, instance);
}

/** resume_instance. A restore that fails leaves the server suspended, with a fault: its images are there for another try. */
export async function resumeInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { instance, uuid } = call;
  await requireContainer(compute, uuid);
  await withAttribute(compute, call, 'system_metadata');
  compute.notifier.instance('resume.start', call.context, instance);
  faultPoint('resume.begun');
  if ((await compute.containers.view(uuid)).state === 'suspended') {
    await reloadNetwork(compute, call);
    await compute.containers.updateVifs(uuid, vifSpecs(cachedVifs(instance)));
  }
  try {
    await compute.containers.resume(uuid, call.operation);
  } catch (error) {
    const { state } = await compute.containers.view(uuid);
    if (state === 'stopped' || state === 'crashed') { // its processes ran and ended: there is nothing to resume any more
      instance.set('vm_state', 'stopped');
      await readPowerState(compute, instance, uuid);
    }
    throw error;
  }
  faultPoint('resume.restored');
  const { [oldVmState]: before, ...metadata } = instance.strings('system_metadata');
  instance.set('system_metadata', metadata);
  await finishWith(compute, call, { vmState: before ?? 'active', expected: ['resuming'] });
  faultPoint('resume.saved');
  compute.notifier.instance('resume.end', call.context, instance);
}

/**
 * At the service's start: the whole host was frozen (`haulier host freeze`), so the server is active or rescued for Nova and its container on disk.
 * One that cannot be resumed is suspended from now on, so that its user can try it again; a rescued one stays rescued, to be unrescued.
 */
export async function thawAtStart(compute: Compute, call: InstanceCall): Promise<void> {
  const { instance, uuid } = call;
  compute.log.info({ instance: uuid }, 'resuming the server, as it ran before the host was frozen');
  try {
    await compute.containers.resume(uuid, call.operation);
  } catch (error) {
    await readPowerState(compute, instance, uuid);
    if ((await compute.containers.view(uuid)).state === 'suspended' && instance.text('vm_state') !== 'rescued') instance.set('vm_state', 'suspended');
    throw error;
  }
}

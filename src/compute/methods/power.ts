/** start, stop, reboot, pause, unpause (contract C.5; nova/compute/manager.py). */
import type { Compute, InstanceCall } from '../compute.js';
import { discardImage } from '../disk-snapshot.js';
import { finishWith, requireContainer, startFromCache, stopTiming, withAttribute } from '../instance-state.js';
import { recordFault } from '../failure-report.js';
import { refreshVifs } from '../network/info-cache.js';
import { forgetShelved } from './unshelve.js';
import { faultPoint } from '../../base/fault-points.js';

/** Fault points of a stop, a start and a reboot, each in order. */
export const powerFaultPoints = ['stop.stopped', 'start.started', 'reboot.pending', 'reboot.stopped'] as const;

/** stop_instance: clean shutdown, then kill. Null is expected too where the guest is off already (a message that waited, contract D.5). */
export async function stopInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { state } = await compute.containers.view(call.uuid);
  const wasOff = state !== 'running' && state !== 'paused';
  compute.notifier.instance('power_off.start', call.context, call.instance);
  await compute.containers.stopContainer(call.uuid, { ...stopTiming(compute, call.instance, call.args['clean_shutdown'] !== false), evenUnrecorded: true }, call.operation);
  faultPoint('stop.stopped');
  await finishWith(compute, call, { vmState: 'stopped', expected: wasOff ? ['powering-off', null] : ['powering-off'] });
  compute.notifier.instance('power_off.end', call.context, call.instance);
}

/** start_instance: ports plugged again, container started. */
export async function startInstance(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('power_on.start', call.context, call.instance);
  await reloadNetwork(compute, call);
  await startFromCache(compute, call);
  faultPoint('start.started');
  const shelved = forgetShelved(call.instance); // a shelved server that never left this host
  await finishWith(compute, call, { vmState: 'active', expected: ['powering-on'] });
  if (shelved) await discardImage(compute, call.context, shelved);
  compute.notifier.instance('power_on.end', call.context, call.instance);
}

/** Fetches the server's ports anew, into the cache and the instance's copy of it. */
export async function reloadNetwork(compute: Compute, call: InstanceCall): Promise<void> {
  await withAttribute(compute, call, 'info_cache');
  const vifs = await refreshVifs(compute, call.context, call.uuid);
  call.instance.object('info_cache')?.load('network_info', JSON.stringify(vifs));
}

/** reboot_instance: soft is a clean shutdown and a start; hard kills first and plugs the ports anew. A failure while the guest runs is a fault, no error state. */
export async function rebootInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { instance } = call;
  const hard = call.args['reboot_type'] === 'HARD';
  const suffix = hard ? '_hard' : '';
  const first = hard ? 'rebooting_hard' : 'rebooting';
  const vmState = instance.text('vm_state') === 'rescued' ? 'rescued' : 'active';
  await requireContainer(compute, call.uuid);
  compute.notifier.instance('reboot.start', call.context, instance);
  await reloadNetwork(compute, call);
  instance.set('task_state', `reboot_pending${suffix}`);
  await compute.conductor.saveInstance(call.context, instance, { taskState: [first, `reboot_pending${suffix}`, `reboot_started${suffix}`] });
  instance.set('task_state', `reboot_started${suffix}`);
  await compute.conductor.saveInstance(call.context, instance, { taskState: [`reboot_pending${suffix}`] });
  faultPoint('reboot.pending');
  try {
    await compute.containers.stopContainer(call.uuid, stopTiming(compute, instance, !hard), call.operation);
    faultPoint('reboot.stopped');
    await startFromCache(compute, call);
  } catch (error) {
    const { state } = await compute.containers.view(call.uuid);
    if (state !== 'running') {
      instance.set('vm_state', 'error');
      throw error;
    }
    await recordFault(compute, call.context, instance, error);
  }
  await finishWith(compute, call, { vmState, expected: [`reboot_started${suffix}`] });
  compute.notifier.instance('reboot.end', call.context, instance);
}

/** pause_instance: the container's processes are frozen in memory. */
export async function pauseInstance(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('pause.start', call.context, call.instance);
  await requireContainer(compute, call.uuid);
  await compute.containers.pause(call.uuid, call.operation);
  await finishWith(compute, call, { vmState: 'paused', expected: ['pausing'] });
  compute.notifier.instance('pause.end', call.context, call.instance);
}

/** unpause_instance. */
export async function unpauseInstance(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('unpause.start', call.context, call.instance);
  await requireContainer(compute, call.uuid);
  await compute.containers.unpause(call.uuid, call.operation);
  await finishWith(compute, call, { vmState: 'active', expected: ['unpausing'] });
  compute.notifier.instance('unpause.end', call.context, call.instance);
}

/**
 * rebuild_instance on the same host (contract C.11; nova/compute/manager.py `_do_rebuild_instance`): a new root file system from an
 * image; ports, addresses, name and uuid stay. An evacuation to this host (`recreate`) is `evacuateInstance`'s.
 */
import { bootRequest, checkBootData, giveBootData } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { containerSpec } from '../container-spec.js';
import { evacuateInstance } from './evacuate.js';
import { isNova } from '../failure-report.js';
import { readPowerState, stopTiming, withAttribute } from '../instance-state.js';
import { cachedVifs, refreshVifs } from '../network/info-cache.js';
import { RefusedMethod } from '../refusal.js';
import { fetchImages } from '../templates.js';
import { HaulierError, type NovaClass } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { ContainerSpec } from '../../container/spec.js';
import { novaTime } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** Fault points of a rebuild, in order. */
export const rebuildFaultPoints = ['rebuild.image', 'rebuild.destroyed', 'rebuild.created', 'rebuild.started', 'rebuild.saved'] as const;

const novaError = (name: string, code: number): NovaClass => ({ class: name, module: 'nova.exception', code });

/** rebuild_instance. Until the new image is here, and known to be good for this server on this host, the guest is not touched, and a failure leaves it as it was. */
export async function rebuildInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, operation, uuid } = call;
  if (call.args['recreate'] === true) return evacuateInstance(compute, call);
  checkRequest(call);
  const stopped = instance.text('vm_state') === 'stopped';
  compute.notifier.instance('rebuild.start', context, instance);
  let touched = false;
  try {
    await withAttribute(compute, call, 'info_cache');
    const spec = await newSpec(compute, call);
    await checkBootData(compute, instance, await compute.containers.check(spec));
    faultPoint('rebuild.image');
    touched = true;
    await replace(compute, call, spec, stopped);
  } catch (error) {
    compute.notifier.instance('rebuild.error', context, instance, error);
    if (isNova(error, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) throw error;
    if (touched) instance.set('vm_state', 'error');
    else restoreImageRecord(call);
    throw error; // the endpoint saves it
  }
  await readPowerState(compute, instance, uuid);
  instance.set('vm_state', stopped ? 'stopped' : 'active');
  instance.set('task_state', null);
  instance.set('launched_at', novaTime());
  await compute.conductor.saveInstance(context, instance, { taskState: ['rebuild_spawning'] });
  operation.commit();
  faultPoint('rebuild.saved');
  compute.tracker.update(uuid, instance);
  compute.notifier.instance('rebuild.end', context, instance);
  compute.notifier.scheduler('update_instance_info', context, instance);
}

function checkRequest({ args, instance }: InstanceCall): void {
  if (args['preserve_ephemeral'] === true) throw new RefusedMethod('preserving ephemeral disks', novaError('PreserveEphemeralNotSupported', 400));
  if (instance.object('trusted_certs')) throw new HaulierError('UNSUPPORTED', { what: 'rebuilding with trusted image certificates' });
}

/** Fetches the image, the templates over it, and what neutron knows of the ports. @returns the new guest */
async function newSpec(compute: Compute, call: InstanceCall): Promise<ContainerSpec> {
  const { args, context, instance, uuid } = call;
  const id = args['image_ref'];
  if (typeof id !== 'string' || id === '') throw new HaulierError('UNSUPPORTED', { what: 'rebuilding a server that boots from a volume' });
  const { image, templates } = await fetchImages(compute, call, id);
  const vifs = await refreshVifs(compute, context, uuid);
  instance.object('info_cache')?.load('network_info', JSON.stringify(vifs));
  return containerSpec(compute, instance, image, vifs, templates);
}

/** The old guest ends, a new one takes its place and its ports. */
async function replace(compute: Compute, call: InstanceCall, spec: ContainerSpec, stopped: boolean): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const save = async (task: string, before: string): Promise<void> => {
    instance.set('task_state', task);
    await compute.conductor.saveInstance(context, instance, { taskState: [before] });
  };
  const { state } = await compute.containers.view(uuid);
  await readPowerState(compute, instance, uuid);
  if (state === 'running') await compute.containers.stopContainer(uuid, stopTiming(compute, instance, true), operation);
  await compute.containers.destroy(uuid, operation);
  faultPoint('rebuild.destroyed');
  await save('rebuild_block_device_mapping', 'rebuilding');
  await save('rebuild_spawning', 'rebuild_block_device_mapping');
  operation.step('spawn');
  await compute.containers.create(spec, operation);
  await giveBootData(compute, call, cachedVifs(instance), bootRequest(args));
  faultPoint('rebuild.created');
  // a stopped server stays stopped; Nova starts it for a moment, which nobody needs
  if (!stopped) await compute.containers.startContainer(uuid, operation);
  faultPoint('rebuild.started');
}

/** The guest is as it was: what the API has already written of the new image is taken back. */
function restoreImageRecord({ args, instance }: { readonly args: InstanceCall['args']; readonly instance: NovaObject }): void {
  if (typeof args['orig_image_ref'] === 'string') instance.set('image_ref', args['orig_image_ref']);
  const before = args['orig_sys_metadata'];
  if (typeof before === 'object' && before !== null) instance.set('system_metadata', before);
}

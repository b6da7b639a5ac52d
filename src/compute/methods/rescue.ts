/**
 * rescue_instance and unrescue_instance (contract C.5; nova/compute/manager.py). A container of the rescue image takes the server's place, with its name, ports and limits and
 * a disk of its own; the server's own container is set aside, and its root file system is at `/mnt/rescue` in the new one. What is done there stays; the rescue
 * container itself is thrown away in the end. Password, key pair and config drive are in it as in a new server; Haulier runs no user data script in it.
 */
import { bootRequest, giveBootData } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { containerSpec } from '../container-spec.js';
import { finishWith, readPowerState, requireContainer, startAgain, startFromCache, stopTiming, withAttribute } from '../instance-state.js';
import { reloadNetwork } from './power.js';
import { cachedVifs } from '../network/info-cache.js';
import { fetchImage } from '../templates.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { ContainerSpec } from '../../container/spec.js';
import { novaTime } from '../../nova/context.js';
import { powerStates } from '../../nova/states.js';

/** Fault points of a rescue and of its end, in order. */
export const rescueFaultPoints = ['rescue.image', 'rescue.stopped', 'rescue.kept', 'rescue.created', 'rescue.started', 'unrescue.begun', 'unrescue.restored', 'unrescue.started'] as const;

/**
 * rescue_instance. Whatever fails, the server's own container is back; one that ran runs again.
 * @throws NOT_RESCUABLE
 */
export async function rescueInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const ref = args['rescue_image_ref'];
  const about = { versioned: { rescue_image_ref: typeof ref === 'string' ? ref : null } };
  const ran = (await compute.containers.view(uuid)).state === 'running';
  try {
    await requireContainer(compute, uuid);
    await reloadNetwork(compute, call);
    const spec = await rescueSpec(compute, call);
    compute.notifier.instance('rescue.start', context, instance, undefined, about);
    faultPoint('rescue.image');
    await takePlace(compute, call, spec);
  } catch (error) {
    await operation.rollback(); // under the server's lock
    if (ran && (await compute.containers.view(uuid)).state !== 'running') await startAgain(compute, call);
    if (ran && (await compute.containers.view(uuid)).state !== 'running') instance.set('vm_state', 'error');
    operation.throwIfAborted();
    throw new HaulierError('NOT_RESCUABLE', { instance: uuid, reason: messageOf(error) }, { cause: error });
  }
  instance.set('launched_at', novaTime());
  operation.commit(); // from here on it is rescued, whatever becomes of the save: a roll-back would run beside a delete
  await finishWith(compute, call, { vmState: 'rescued', expected: ['rescuing'] });
  compute.notifier.instance('rescue.end', context, instance, undefined, about);
}

/** The image that the request names, else the operator's, else the one that the server was made from; fetched, and known to be good here. */
async function rescueSpec(compute: Compute, call: InstanceCall): Promise<ContainerSpec> {
  const { args, instance } = call;
  await Promise.all([withAttribute(compute, call, 'flavor'), withAttribute(compute, call, 'system_metadata')]);
  const ids = [args['rescue_image_ref'], compute.settings.rescueImageId, instance.strings('system_metadata')['image_base_image_ref'], instance.text('image_ref')];
  const id = ids.find((value): value is string => typeof value === 'string' && value !== '');
  if (id === undefined) throw new HaulierError('UNSUPPORTED', { what: 'rescuing a server that boots from a volume' });
  const spec: ContainerSpec = { ...containerSpec(compute, instance, await fetchImage(compute, call, id), cachedVifs(instance)), rescue: true };
  await compute.containers.check(spec);
  return spec;
}

async function takePlace(compute: Compute, call: InstanceCall, spec: ContainerSpec): Promise<void> {
  const { containers } = compute;
  const { args, instance, operation, uuid } = call;
  await containers.stopContainer(uuid, stopTiming(compute, instance, args['clean_shutdown'] !== false), operation);
  faultPoint('rescue.stopped');
  await containers.moves.keep(uuid, operation);
  faultPoint('rescue.kept');
  await containers.create(spec, operation);
  await giveBootData(compute, call, cachedVifs(instance), { ...bootRequest(args), withoutScript: true });
  faultPoint('rescue.created');
  await containers.startContainer(uuid, operation);
  faultPoint('rescue.started');
}

/** unrescue_instance: the rescue container goes, the server's own one starts. Can be repeated. A failure is an error of the server. */
export async function unrescueInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, operation } = call;
  compute.notifier.instance('unrescue.start', context, instance);
  faultPoint('unrescue.begun');
  try {
    await bringBack(compute, call);
    faultPoint('unrescue.restored');
    await reloadNetwork(compute, call);
    await startFromCache(compute, call);
    faultPoint('unrescue.started');
  } catch (error) {
    operation.throwIfAborted();
    // while its own container is not back it stays rescued: Nova lets it be unrescued again
    const now = await compute.containers.spec(call.uuid).catch(() => undefined);
    instance.set('vm_state', now && !now.rescue ? 'error' : 'rescued');
    throw error;
  }
  await finishWith(compute, call, { vmState: 'active', expected: ['unrescuing'] });
  compute.notifier.instance('unrescue.end', context, instance);
}

/** Where the server's own container is set aside for a rescue, it is back afterwards, stopped. @throws INSTANCE_NOT_FOUND if there is no container but that of the rescue */
export async function bringBack({ containers }: Compute, { operation, uuid }: InstanceCall): Promise<void> {
  const now = await containers.spec(uuid);
  if (now && !now.rescue) return;
  if (!(await containers.moves.restore(uuid, operation))) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: uuid });
}

/** The service died in the middle of a rescue: it is taken back, and a server that ran runs again. */
export async function giveUpRescue(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  await bringBack(compute, call);
  if (instance.number('power_state') === powerStates.RUNNING && (await compute.containers.view(uuid)).state !== 'running') await startAgain(compute, call);
  await readPowerState(compute, instance, uuid);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance);
}

/** unshelve_instance (contract C.10; nova/compute/manager.py `_unshelve_instance`): a shelved server is built here from its image, with its old ports. */
import { giveDrive } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { uuidOf } from '../compute.js';
import { inParallel, plugEarly } from '../boot/build.js';
import { VifWait } from '../boot/vif-wait.js';
import { containerSpec } from '../container-spec.js';
import { discardImage } from '../disk-snapshot.js';
import { imageSource } from '../image-source.js';
import { readPowerState, withAttribute } from '../instance-state.js';
import { ensureImages } from '../templates.js';
import { rebindNetworks } from '../network/allocate.js';
import { cachedVifs, preservedPorts } from '../network/info-cache.js';
import { releasePorts } from '../network/release.js';
import { vifSpecs } from '../network/vif-spec.js';
import { placeHere, placeNowhere } from '../placing.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { WireContext } from '../../messaging/types.js';
import { novaTime } from '../../nova/context.js';
import type { NovaObject } from '../../nova/object.js';

/** Fault points of unshelving, in order. */
export const unshelveFaultPoints = ['unshelve.claimed', 'unshelve.created', 'unshelve.started', 'unshelve.saved'] as const;

const shelvedKeys = ['shelved_at', 'shelved_image_id', 'shelved_host'];

/** unshelve_instance. On failure the server is shelved as before, and can be unshelved again. */
export async function unshelveInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  await withAttribute(compute, call, 'info_cache');
  compute.notifier.instance('unshelve.start', context, instance);
  const image = (call.args['image'] ?? {}) as Record<string, unknown>;
  try {
    await call.operation.run((operation) => build(compute, call, image, operation)); // undone under the lock
  } catch (error) {
    // saved by the endpoint, together with the task state
    placeNowhere(compute, instance);
    compute.tracker.drop(uuid);
    await compute.placement.deleteAllocations(uuid).catch((failure: unknown) => call.operation.log.error({ err: failure }, `cannot drop the allocation: ${messageOf(failure)}`));
    throw error;
  }
  const shelved = forgetShelved(instance);
  instance.set('vm_state', 'active');
  instance.set('task_state', null);
  instance.set('launched_at', novaTime());
  await readPowerState(compute, instance, uuid);
  await compute.conductor.saveInstance(context, instance, { taskState: ['spawning'] });
  faultPoint('unshelve.saved');
  if (shelved) await discardImage(compute, context, shelved); // not before: a start that finds the server still shelved throws away what was built
  compute.tracker.built(uuid, instance);
  compute.notifier.instance('unshelve.end', context, instance);
  compute.notifier.scheduler('update_instance_info', context, instance);
}

async function build(compute: Compute, call: InstanceCall, image: Readonly<Record<string, unknown>>, operation: Operation): Promise<void> {
  const { context, instance, uuid } = call;
  const node = call.args['node'];
  if (typeof node === 'string' && node !== compute.node.hypervisorHostname) throw new HaulierError('NO_RESOURCES', { reason: `node ${node} is not of this host` });
  const source = imageSource(compute, context, image, instance.object('flavor')?.number('root_gb') ?? 0);
  operation.step('claim');
  placeHere(compute, instance);
  instance.set('task_state', 'spawning');
  await compute.conductor.saveInstance(context, instance);
  compute.tracker.claim(uuid, instance);
  faultPoint('unshelve.claimed');

  await withAttribute(compute, call, 'metadata');
  operation.step('network and image');
  const preserved = preservedPorts(cachedVifs(instance));
  const wait = new VifWait(compute, uuid);
  operation.undo('take the ports off this host', () => releasePorts(compute, context, instance));
  try {
    const [vifs] = await inParallel(
      rebindNetworks(compute, { context, instance, operation, onBound: (vif, place) => plugEarly(compute, uuid, operation, wait, vif, place) }, preserved),
      ensureImages(compute, call, image, source, operation).then((templates) => compute.containers.create(containerSpec(compute, instance, source.id, [], templates), operation)),
    );
    faultPoint('unshelve.created');
    await compute.containers.updateVifs(uuid, vifSpecs(vifs));
    await giveDrive(compute, { context, instance, operation }, vifs, { adminPassword: undefined, files: [] }); // it has booted before: the rest is in its tree
    await compute.containers.startContainer(uuid, operation, () => wait.ready(operation));
  } finally {
    wait.drop();
  }
  faultPoint('unshelve.started');
}

/** Takes the traces of its shelving out of an instance. @returns the shelved image, which has served: the caller saves the instance, then deletes it */
export function forgetShelved(instance: NovaObject): string | undefined {
  const metadata = instance.strings('system_metadata');
  if (shelvedKeys.some((key) => metadata[key] !== undefined)) {
    instance.set('system_metadata', Object.fromEntries(Object.entries(metadata).filter(([key]) => !shelvedKeys.includes(key))));
  }
  return metadata['shelved_image_id'];
}

/** An unshelving that the service's end interrupted: the server is shelved as before. */
export async function abandonUnshelve(compute: Compute, context: WireContext, instance: NovaObject, operation: Operation): Promise<void> {
  const uuid = uuidOf(instance);
  await compute.containers.destroy(uuid, operation);
  await releasePorts(compute, context, instance);
  await compute.placement.deleteAllocations(uuid);
  compute.tracker.drop(uuid);
  placeNowhere(compute, instance);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance);
}

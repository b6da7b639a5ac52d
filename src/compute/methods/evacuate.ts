/**
 * rebuild_instance with `recreate`, on the host that takes over from a dead one (contract C.11; nova/compute/manager.py
 * `_do_rebuild_instance`): the disk is used where it is if both hosts share it, else made anew from the image. Name, uuid, ports
 * and addresses stay. Nobody but the operator knows that the other host is dead: the API refuses while its service is up.
 */
import { bootRequest, checkBootData, giveBootData } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { hint } from '../boot/build-request.js';
import { checkGroupPolicy } from '../boot/group-policy.js';
import { containerSpec } from '../container-spec.js';
import { readPowerState, withAttribute } from '../instance-state.js';
import { requireNoHaul } from '../live/evacuations.js';
import { setStatus } from '../moves/migration.js';
import { bringPorts } from '../moves/ports.js';
import { placeHere } from '../placing.js';
import { RefusedMethod } from '../refusal.js';
import { fetchImages } from '../templates.js';
import { HaulierError, isHaulierError, messageOf, type NovaClass } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { ContainerSpec } from '../../container/spec.js';
import { novaTime } from '../../nova/context.js';
import { NovaObject } from '../../nova/object.js';

/** Fault points of an evacuation, in order. */
export const evacuateFaultPoints = ['evacuate.claimed', 'evacuate.bound', 'evacuate.disk', 'evacuate.started', 'evacuate.saved'] as const;

const novaError = (name: string, code: number): NovaClass => ({ class: name, module: 'nova.exception', code });

/** The evacuation. Refused, where a live migration may have brought it elsewhere, without room here, or without an image that is good for it, the server keeps its state at the dead host; failed later, it is in error there and can be evacuated again. */
export async function evacuateInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, uuid } = call;
  const migration = args['migration'] instanceof NovaObject ? args['migration'] : undefined;
  let touched = false;
  try {
    await call.operation.run((operation) => evacuate(compute, { ...call, operation }, migration, () => { touched = true; }));
  } catch (error) {
    compute.notifier.instance('rebuild.error', context, instance, error);
    const arrived = isHaulierError(error, 'EVACUATION_REFUSED') && error.details['here'] === true; // what this host holds of it is the live migration's
    if (!arrived) compute.tracker.drop(uuid);
    if (!arrived) compute.tracker.moved(uuid);
    if (migration) await quietly(call.operation, 'note that the evacuation failed', () => setStatus(compute, context, migration, 'failed'));
    // the allocation covers both hosts, and only this part is ours (contract E.2)
    if (!arrived) await quietly(call.operation, 'drop this host\'s allocation', () => compute.placement.removeProviderFromAllocations(uuid, compute.node.uuid));
    if (touched) instance.set('vm_state', 'error');
    throw error;
  }
  compute.notifier.scheduler('update_instance_info', context, instance);
  compute.notifier.instance('rebuild.end', context, instance);
}

async function quietly(operation: Operation, what: string, work: () => Promise<unknown>): Promise<void> {
  await work().catch((error: unknown) => operation.log.error({ err: error }, `cannot ${what}: ${messageOf(error)}`));
}

async function evacuate(compute: Compute, call: InstanceCall, migration: NovaObject | undefined, touch: () => void): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const target = args['target_state'];
  if (target !== undefined && target !== null && target !== 'stopped') throw new RefusedMethod(`evacuating to the state ${JSON.stringify(target)}`, novaError('InstanceEvacuateNotSupportedTargetState', 400));
  const before = instance.text('vm_state');
  const start = !(before === 'stopped' || (target === 'stopped' && before !== 'error'));
  await withAttribute(compute, call, 'flavor');
  await checkGroupPolicy(compute, context, uuid, hint(args['request_spec'], 'group'));
  await requireNoHaul(compute, call);
  const found = await diskHere(compute, call);
  await claim(compute, call, migration);
  faultPoint('evacuate.claimed');
  compute.notifier.instance('rebuild.start', context, instance);
  const next = async (task: string, expected: string): Promise<void> => {
    instance.set('task_state', task);
    await compute.conductor.saveInstance(context, instance, { taskState: [expected] });
  };
  const source = found ? undefined : await originalImage(compute, call);
  if (source) await checkBootData(compute, instance, await compute.containers.check(containerSpec(compute, instance, source.image, [], source.templates)));
  await next('rebuilding', 'rebuilding');
  touch();
  operation.step('ports');
  const ports = await bringPorts(compute, call, operation, start);
  try {
    faultPoint('evacuate.bound');
    await next('rebuild_block_device_mapping', 'rebuilding');
    await next('rebuild_spawning', 'rebuild_block_device_mapping');
    operation.step('disk');
    if (source) {
      await compute.containers.create(containerSpec(compute, instance, source.image, ports.vifs, source.templates), operation);
      await giveBootData(compute, call, ports.vifs, bootRequest(args));
    } else if (found) await compute.containers.moves.adopt({ ...found, ...containerSpec(compute, instance, found.imageId, ports.vifs) }, operation);
    faultPoint('evacuate.disk');
    if (start) await compute.containers.startContainer(uuid, operation, ports.wired);
    faultPoint('evacuate.started');
  } finally {
    ports.drop();
  }
  await takeOver(compute, call, migration, start);
}

/**
 * The container's directory, if the dead host's instances_path is this host's too.
 * @throws InvalidSharedStorage if the caller says otherwise, INSTANCE_STATE if the guest runs here
 */
async function diskHere(compute: Compute, { args, uuid }: InstanceCall): Promise<ContainerSpec | undefined> {
  const { state } = await compute.containers.view(uuid);
  if (state === 'running' || state === 'paused') throw new HaulierError('INSTANCE_STATE', { instance: uuid, state, action: 'evacuate it here' });
  const found = await compute.containers.spec(uuid);
  const claimed = args['on_shared_storage'];
  if (typeof claimed === 'boolean' && claimed !== (found !== undefined)) throw new RefusedMethod(`evacuating with${claimed ? '' : 'out'} shared storage (the server's files are ${found ? '' : 'not '}here)`, novaError('InvalidSharedStorage', 500));
  return found;
}

async function claim(compute: Compute, { context, instance, uuid }: InstanceCall, migration: NovaObject | undefined): Promise<void> {
  const flavor = instance.object('flavor');
  if (flavor) compute.tracker.moving(uuid, instance, flavor);
  if (!migration) return;
  migration.set('dest_compute', compute.settings.host);
  migration.set('dest_node', compute.node.hypervisorHostname);
  migration.set('dest_host', compute.settings.myIp);
  if (compute.conductor.release !== 'zed') migration.set('dest_compute_id', compute.node.id);
  await setStatus(compute, context, migration, 'pre-migrating');
  instance.set('migration_context', compute.conductor.create('MigrationContext', { instance_uuid: uuid, migration_id: migration.get('id'), old_numa_topology: null, new_numa_topology: null }));
  await compute.conductor.saveInstance(context, instance);
}

/** The image that the server was made of, and its templates, are in the cache afterwards. @returns their ids */
async function originalImage(compute: Compute, call: InstanceCall): Promise<{ readonly image: string; readonly templates: readonly string[] }> {
  const { args, instance } = call;
  const id = typeof args['image_ref'] === 'string' && args['image_ref'] !== '' ? args['image_ref'] : instance.text('image_ref');
  if (!id) throw new HaulierError('UNSUPPORTED', { what: 'evacuating a server that boots from a volume' });
  return await fetchImages(compute, call, id);
}

/** States and place in one save: the server is never active at the dead host. The migration is done only then. */
async function takeOver(compute: Compute, { context, instance, operation, uuid }: InstanceCall, migration: NovaObject | undefined, start: boolean): Promise<void> {
  const before = ['host', 'node', 'launched_on', ...(compute.conductor.release === 'zed' ? [] : ['compute_id'])].map((field) => [field, instance.get(field) ?? null] as const);
  const launchedOn = instance.get('launched_on');
  placeHere(compute, instance);
  instance.set('launched_on', launchedOn);
  await readPowerState(compute, instance, uuid);
  instance.set('migration_context', null);
  instance.set('vm_state', start ? 'active' : 'stopped');
  instance.set('task_state', null);
  instance.set('launched_at', novaTime());
  try {
    await compute.conductor.saveInstance(context, instance, { taskState: ['rebuild_spawning'] });
  } catch (error) {
    for (const [field, value] of before) instance.set(field, value); // what saves the error state must not save this
    throw error;
  }
  operation.commit();
  faultPoint('evacuate.saved');
  compute.tracker.moved(uuid);
  compute.tracker.update(uuid, instance);
  if (migration) await setStatus(compute, context, migration, 'done');
}

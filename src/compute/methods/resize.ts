/**
 * resize_instance, on the source (contract C.8; nova/compute/manager.py `_resize_instance`): the guest is stopped, its disk grown or
 * sent, and the server handed to the destination in one save. Until that save every failure leaves it here, running if it ran.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { limitsOf } from '../container-spec.js';
import { startAgain, stopTiming, withAttribute } from '../instance-state.js';
import { fieldOf, isSameHost, migrationOf, revertAllocation, setStatus, storedInstance } from '../moves/migration.js';
import { castDropClaim, castFinishResize } from '../moves/other-computes.js';
import { isSharedWith } from '../moves/shared-storage.js';
import { splitTicket, type Ticket } from '../moves/transport.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { LimitSpec } from '../../container/spec.js';
import type { NovaObject } from '../../nova/object.js';

/** Fault points of a move, in order: prep_resize at the destination, resize_instance at the source, finish_resize at the destination, confirm, revert. */
export const resizeFaultPoints = [
  'resize.claimed', 'resize.prepared', 'resize.begun', 'resize.stopped', 'resize.moved', 'resize.saved', 'resize.handed-over',
  'resize.bound', 'resize.started', 'resize.finished', 'confirm.dropped', 'confirm.saved', 'revert.destroyed', 'revert.saved', 'revert.back', 'revert.restored', 'revert.started',
] as const;

const gib = 1024 ** 3;

/** What finish_resize must know of the disk: it is this host's, it lies where both hosts see it, or it was sent. Travels as Nova's `disk_info`. */
export interface DiskInfo {
  readonly disk: 'here' | 'shared' | 'sent';
  /** The image that its lower layer is. */
  readonly imageId: string;
}

/** resize_instance. */
export async function resizeInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const { context, instance, uuid } = call;
  const migration = migrationOf(call);
  const stored = await storedInstance(compute, context, uuid);
  const task = stored?.text('task_state') ?? '';
  if (stored && (stored.text('host') !== compute.settings.host || stored.text('vm_state') === 'resized' || (task.startsWith('resize_') && task !== 'resize_prep'))) {
    compute.log.info({ instance: uuid, task }, 'this move has begun already');
    return;
  }
  const { state } = await compute.containers.view(uuid);
  try {
    await call.operation.run((operation) => handOver(compute, { ...call, operation }, migration, state));
  } catch (error) {
    const { state: now } = await compute.containers.view(uuid);
    if (state === 'running' && now !== 'running') await startAgain(compute, call);
    // a server that is as it was keeps its state (Nova's InstanceFaultRollback)
    if (state === 'running' && (await compute.containers.view(uuid)).state !== 'running') instance.set('vm_state', 'error');
    await revertAllocation(compute, uuid, migration);
    giveUp(compute, call, migration);
    throw error;
  }
  compute.notifier.instance('resize.end', context, instance);
}

/** What the destination has prepared goes, and what the instance kept for the move; the endpoint saves it. */
function giveUp(compute: Compute, { context, instance, uuid }: InstanceCall, migration: NovaObject): void {
  instance.set('migration_context', null);
  instance.set('new_flavor', null);
  const host = migration.text('dest_compute');
  if (isSameHost(compute, migration)) compute.tracker.moved(uuid);
  else if (host) castDropClaim(compute, context, host, instance).catch((error: unknown) => compute.log.info({ err: error, instance: uuid, host }, 'the destination does not hear that the move was given up'));
}

async function handOver(compute: Compute, call: InstanceCall, migration: NovaObject, state: string): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const flavor = args['flavor'] as NovaObject;
  const { image, ticket } = splitTicket(args['image']);
  await Promise.all([withAttribute(compute, call, 'flavor'), withAttribute(compute, call, 'system_metadata')]);
  if ((await compute.containers.spec(uuid).catch(() => undefined))?.rescue) throw new HaulierError('INSTANCE_STATE', { instance: uuid, state: 'rescued', action: 'resize' }); // what is aside is the server's own
  // what a failed move has left aside must not come back as the state before this one
  await compute.containers.moves.drop(uuid);
  await setStatus(compute, context, migration, 'migrating');
  instance.set('task_state', 'resize_migrating');
  await compute.conductor.saveInstance(context, instance, { taskState: ['resize_prep'] });
  compute.notifier.instance('resize.start', context, instance);
  faultPoint('resize.begun');
  await checkDisk(compute, call, flavor);
  // frozen with the whole host: stopping it would throw its memory away
  if (state === 'suspended') throw new HaulierError('INSTANCE_STATE', { instance: uuid, state, action: 'resize' });
  operation.step('stop');
  await compute.containers.stopContainer(uuid, stopTiming(compute, instance, args['clean_shutdown'] !== false), operation);
  faultPoint('resize.stopped');
  const disk = await moveDisk(compute, call, migration, limitsOf(flavor, compute.settings.pidsLimit), ticket);
  faultPoint('resize.moved');
  await setStatus(compute, context, migration, 'post-migrating');
  await placeThere(compute, call, migration);
  faultPoint('resize.saved');
  await castFinishResize(compute, context, fieldOf(migration, 'dest_compute'), { instance, migration, image, disk_info: JSON.stringify(disk), request_spec: args['request_spec'] ?? null });
  operation.commit();
  faultPoint('resize.handed-over');
  if (isSameHost(compute, migration)) return;
  const old = instance.object('old_flavor');
  compute.tracker.drop(uuid);
  if (old) compute.tracker.moving(uuid, instance, old);
}

/** @throws DISK_SHRINK, before anything is touched */
async function checkDisk(compute: Compute, { instance, uuid }: InstanceCall, flavor: NovaObject): Promise<void> {
  const now = (await compute.containers.moves.diskBytes(uuid)) / gib;
  const wanted = flavor.number('root_gb') ?? 0;
  const old = instance.object('flavor');
  const shrinks = (field: string): boolean => (flavor.number(field) ?? 0) < (old?.number(field) ?? 0);
  if (shrinks('root_gb') || shrinks('ephemeral_gb') || (wanted > 0 && wanted < now)) throw new HaulierError('DISK_SHRINK', { instance: uuid, now, wanted });
}

/** The stopped container is set aside, and what the destination shall start is where it finds it. */
async function moveDisk(compute: Compute, { context, operation, uuid }: InstanceCall, migration: NovaObject, limits: LimitSpec, ticket: Ticket | undefined): Promise<DiskInfo> {
  const { containers, transport } = compute;
  const spec = await containers.spec(uuid);
  if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: uuid });
  const { imageId } = spec;
  operation.step('disk');
  const shared = isSameHost(compute, migration) ? 'here' as const
    : (await isSharedWith(compute, context, uuid, fieldOf(migration, 'dest_compute'))) === 'shared' ? 'shared' as const : undefined;
  if (shared) {
    await containers.moves.resize(uuid, limits, operation);
    if (shared === 'shared') await containers.moves.abandon(uuid, operation);
    return { disk: shared, imageId };
  }
  if (!transport || !ticket) throw new HaulierError('UNSUPPORTED', { what: 'moving a server to a host that is not ready to take it' });
  await transport.send(uuid, fieldOf(migration, 'dest_compute'), ticket, operation);
  await containers.moves.keep(uuid, operation);
  return { disk: 'sent', imageId };
}

/** The one save that makes the server the destination's. */
async function placeThere(compute: Compute, { context, instance, operation }: InstanceCall, migration: NovaObject): Promise<void> {
  const before = Object.fromEntries(['host', 'node', 'compute_id', 'old_flavor'].map((field) => [field, instance.get(field) ?? null]));
  instance.set('host', fieldOf(migration, 'dest_compute'));
  instance.set('node', fieldOf(migration, 'dest_node'));
  if (compute.conductor.release !== 'zed') instance.set('compute_id', await destinationId(compute, { context }, migration));
  instance.set('old_flavor', instance.object('flavor'));
  instance.set('task_state', 'resize_migrated');
  const restore = (): void => {
    for (const [field, value] of Object.entries(before)) if (field !== 'compute_id' || compute.conductor.release !== 'zed') instance.set(field, value);
  };
  try {
    await compute.conductor.saveInstance(context, instance, { taskState: ['resize_migrating'] });
  } catch (error) {
    restore();
    throw error;
  }
  // the destination is not there to take it
  operation.undo('take the server back', async () => {
    restore();
    await compute.conductor.saveInstance(context, instance, { taskState: ['resize_migrated'] });
  });
}

async function destinationId(compute: Compute, { context }: Pick<InstanceCall, 'context'>, migration: NovaObject): Promise<unknown> {
  const known = migration.number('dest_compute_id');
  if (known !== undefined) return known;
  const node = (await compute.conductor.classCall(context, 'ComputeNode', 'get_by_host_and_nodename', [fieldOf(migration, 'dest_compute'), fieldOf(migration, 'dest_node')])) as NovaObject;
  return node.get('id');
}

/**
 * Recovery at the start (nova/compute/manager.py `init_host`, `_init_instance`, contract D.5): what was half-done when the
 * service ended is finished, or given up so that the user can go on. Runs before any message is consumed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Compute, InstanceCall } from './compute.js';
import { uuidOf } from './compute.js';
import { isNova, recordFault } from './failure-report.js';
import { resumeInstance, suspendInstance, thawAtStart } from './methods/freeze.js';
import { rebootInstance, startInstance, stopInstance, unpauseInstance } from './methods/power.js';
import { giveUpRescue, unrescueInstance } from './methods/rescue.js';
import { shelveOffloadInstance } from './methods/shelve.js';
import { completeDeletion, deleteInstance } from './methods/terminate.js';
import { abandonUnshelve } from './methods/unshelve.js';
import { rebuildTasks } from './live/evacuations.js';
import { leaveMoved, recoverMigrating, recoverMoved } from './live/recover.js';
import { storedInstance } from './moves/migration.js';
import { recoverKept, recoverMove, recoverPrepared } from './moves/recover.js';
import { isSharedWith } from './moves/shared-storage.js';
import { cachedVifs } from './network/info-cache.js';
import { deallocateNetworks } from './network/deallocate.js';
import { powerStateOf } from './states.js';
import { insideWrappers } from './wrappers.js';
import { HaulierError } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import type { ContainerState } from '../container/spec.js';
import type { WireContext } from '../messaging/types.js';
import { adminContext, readingDeleted } from '../nova/context.js';
import type { NovaObject } from '../nova/object.js';
import { powerStates } from '../nova/states.js';

const buildTasks = new Set(['scheduling', 'block_device_mapping', 'networking', 'spawning']);
const snapshotTasks = new Set(['image_snapshot_pending', 'image_snapshot', 'image_pending_upload', 'image_uploading', 'image_backup']);
const shelveTasks = new Set(['shelving', 'shelving_image_pending_upload', 'shelving_image_uploading']);
const rebootTasks = new Set(['reboot_pending', 'reboot_started', 'reboot_pending_hard', 'reboot_started_hard', 'rebooting', 'rebooting_hard']);
/** Not begun: the message is lost, or waits and will find the work done. */
const pendingReboots = new Set(['reboot_pending', 'reboot_pending_hard', 'rebooting', 'rebooting_hard']);
/** A server in one of these whose container is suspended was frozen with its host. */
const thawedStates = new Set(['active', 'rescued']);

/**
 * @param open servers whose container stands frozen until another host says who has it: they are recovered then, and untouched before
 * @returns all instances of this host that the service found, for the scheduler
 */
export async function initHost(compute: Compute, open: ReadonlyMap<string, Promise<void>> = new Map()): Promise<readonly NovaObject[]> {
  const context = adminContext();
  const attributes = ['info_cache', 'metadata', 'numa_topology', 'system_metadata', 'flavor'];
  const list = (await compute.conductor.classCall(context, 'InstanceList', 'get_by_host', [compute.settings.host], { expected_attrs: attributes })) as NovaObject;
  const left = await leaveEvacuated(compute, context);
  // a few at a time: after a crash in a burst of boots there are many
  const queue = list.objects().filter((instance) => !left.has(uuidOf(instance)) && !open.has(uuidOf(instance)));
  const worker = async (): Promise<void> => {
    for (let instance = queue.shift(); instance; instance = queue.shift()) await initOne(compute, context, instance);
  };
  for (const [uuid, settled] of open) whenSettled(compute, context, uuid, settled);
  await recoverMoved(compute, context);
  await recoverPrepared(compute, context).catch((error: unknown) => compute.log.error({ err: error }, 'cannot look for moves that were cut short'));
  await Promise.all(Array.from({ length: 4 }, worker));
  await recoverKept(compute, context);
  await failInterruptedBuilds(compute, context);
  return list.objects();
}

/**
 * Holds the server's lock until its haul is settled, and recovers it then.
 * @param settled the end of the asking, which may have ended with nothing known: then it is looked at again, also when the service stops
 */
function whenSettled(compute: Compute, context: WireContext, uuid: string, settled: Promise<void>): void {
  void compute.locks.hold(uuid, async () => {
    await settled;
    while ((await compute.hauls.fate(uuid)) === 'open') await sleep(compute.settings.liveLookMs, undefined, { ref: false });
    const instance = await storedInstance(compute, context, uuid);
    if (instance?.text('host') !== compute.settings.host) await leaveMoved(compute, context, uuid);
    else await compute.operations.run({ name: 'init_instance', instance: uuid }, (operation) => recover(compute, context, instance, operation));
  }).catch((error: unknown) => compute.log.error({ err: error, instance: uuid }, 'cannot recover the server after its haul'));
}

/** Repeats an RPC's work with its wrappers: a failure leaves a fault and no task state. */
type Again = (method: string, handler: (compute: Compute, call: InstanceCall) => Promise<void>, args?: Record<string, unknown>) => Promise<void>;

async function initOne(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  if (instance.text('host') !== compute.settings.host) return;
  try {
    // a container that ends by itself meanwhile is looked at afterwards
    await compute.locks.hold(uuidOf(instance), () => compute.operations.run({ name: 'init_instance', instance: uuidOf(instance) }, (operation) => recover(compute, context, instance, operation)));
  } catch (error) {
    // one instance must not keep the host from starting
    compute.log.error({ err: error, instance: uuidOf(instance) }, 'cannot recover the server');
  }
}

async function save(compute: Compute, context: WireContext, instance: NovaObject, fields: Record<string, unknown>): Promise<void> {
  for (const [field, value] of Object.entries(fields)) instance.set(field, value);
  await compute.conductor.saveInstance(context, instance);
}

async function recover(compute: Compute, context: WireContext, instance: NovaObject, operation: Operation): Promise<void> {
  const uuid = uuidOf(instance);
  const vmState = instance.text('vm_state') ?? '';
  const task = instance.text('task_state') ?? '';
  const again: Again = (method, handler, args = {}) =>
    insideWrappers(compute, { method, wrappers: ['T', 'E', 'F'], context, instance }, () => handler(compute, { method, context, args, operation, instance, uuid }));
  const { state } = await compute.containers.view(uuid);

  if (await recoverMove(compute, context, instance, operation)) return;
  if (task === 'deleting') {
    const stored = await storedInstance(compute, context, uuid); // taking a migration back changes what it is given
    const rest = stored && (await recoverMigrating(compute, context, stored));
    if (rest === 'open') return whenSettled(compute, context, uuid, Promise.resolve());
    if (!rest) return deleteInstance(compute, context, instance, operation);
    return later(compute, uuid, async () => {
      await rest();
      await compute.operations.run({ name: 'terminate_instance', instance: uuid }, (again) => deleteInstance(compute, context, instance, again));
    });
  }
  if (task === 'rescuing') return giveUpRescue(compute, { method: 'rescue_instance', context, args: {}, operation, instance, uuid }); // also of one in error
  if (vmState === 'soft-delete' || vmState === 'error') return;
  if (vmState === 'deleted') return completeDeletion(compute, context, instance);
  if (vmState === 'shelved_offloaded' && task === 'spawning') return abandonUnshelve(compute, context, instance, operation);
  if (task === 'shelving_offloading') return again('shelve_offload_instance', shelveOffloadInstance, { clean_shutdown: false });
  if (shelveTasks.has(task)) return notShelved(compute, context, instance, again, state);
  if (vmState === 'building' || buildTasks.has(task)) return giveUpBuild(compute, context, instance, operation);
  if (rebuildTasks.has(task) && (vmState === 'active' || vmState === 'stopped')) return save(compute, context, instance, { vm_state: 'error', task_state: null });
  if (snapshotTasks.has(task) || task === 'resize_prep') return save(compute, context, instance, { task_state: null });
  if (rebootTasks.has(task)) {
    if (state === 'running' && !pendingReboots.has(task)) return save(compute, context, instance, { vm_state: 'active', task_state: null, power_state: powerStates.RUNNING });
    const hard = task.endsWith('_hard');
    instance.set('task_state', hard ? 'rebooting_hard' : 'rebooting');
    await compute.conductor.saveInstance(context, instance);
    return again('reboot_instance', rebootInstance, { reboot_type: hard ? 'HARD' : 'SOFT' });
  }
  if (task === 'pausing' || (task === 'unpausing' && state !== 'paused')) {
    // one that ended meanwhile keeps its state here: the power sync stops it
    const settled = state === 'paused' ? 'paused' : state === 'running' ? 'active' : vmState;
    return save(compute, context, instance, { vm_state: settled, task_state: null, power_state: powerStateOf(state) });
  }
  if (task === 'unpausing') return again('unpause_instance', unpauseInstance);
  if (task === 'unrescuing') return again('unrescue_instance', unrescueInstance);
  if (task === 'powering-off') return again('stop_instance', stopInstance, { clean_shutdown: true });
  if (task === 'powering-on') return again('start_instance', startInstance);
  if (task === 'suspending' && (state === 'stopped' || state === 'crashed')) { // the host went down in the middle of it
    await save(compute, context, instance, { task_state: null });
    return settle(compute, context, instance, again, state);
  }
  if (task === 'suspending') return again('suspend_instance', suspendInstance);
  if (task === 'resuming') return again('resume_instance', resumeInstance);
  if (task === 'migrating') {
    const rest = await recoverMigrating(compute, context, instance);
    if (rest === 'open') return whenSettled(compute, context, uuid, Promise.resolve());
    if (rest) later(compute, uuid, rest);
    return;
  }
  await settle(compute, context, instance, again, state);
}

/** The end of a live migration: under the server's lock, but not in the way of the service's start. */
function later(compute: Compute, uuid: string, work: () => Promise<void>): void {
  void compute.locks.hold(uuid, work).catch((error: unknown) => compute.log.error({ err: error, instance: uuid }, 'cannot complete a live migration'));
}

/** Shelving was cut short before its image was whole: a guest that ran runs again. */
async function notShelved(compute: Compute, context: WireContext, instance: NovaObject, again: Again, state: ContainerState): Promise<void> {
  if (instance.text('vm_state') !== 'active' || state === 'running' || state === 'missing') return save(compute, context, instance, { task_state: null });
  await save(compute, context, instance, { task_state: 'powering-on' });
  await again('start_instance', startInstance);
}

/** No task: the power states are compared. */
async function settle(compute: Compute, context: WireContext, instance: NovaObject, again: Again, state: Parameters<typeof powerStateOf>[0]): Promise<void> {
  if (state === 'suspended' && thawedStates.has(instance.text('vm_state') ?? '')) return again('resume_instance', thawAtStart); // frozen with the whole host
  const wasRunning = instance.number('power_state') === powerStates.RUNNING;
  if (!wasRunning || state === 'running' || instance.text('vm_state') !== 'active' || !compute.settings.resumeGuestsOnHostBoot || state === 'missing') return;
  compute.log.info({ instance: uuidOf(instance) }, 'starting the server again, as it ran before the host went down');
  instance.set('task_state', 'powering-on');
  await compute.conductor.saveInstance(context, instance);
  await again('start_instance', startInstance);
}

/** A build that the service's end interrupted: nothing of it stays, the server is in error and can be deleted (contract D.5). */
async function giveUpBuild(compute: Compute, context: WireContext, instance: NovaObject, operation: Operation): Promise<void> {
  const uuid = uuidOf(instance);
  // what cannot be cleaned now is cleaned by the delete: the server must not stay in building because neutron is away
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['remove the container', () => compute.containers.destroy(uuid, operation)],
    ['clean the ports', () => deallocateNetworks(compute, context, instance, cachedVifs(instance))],
    ['drop the allocation', () => compute.placement.deleteAllocations(uuid)],
  ];
  for (const [what, work] of steps) await work().catch((error: unknown) => compute.log.error({ err: error, instance: uuid }, `of an interrupted build: cannot ${what}`));
  await recordFault(compute, context, instance, new HaulierError('CANCELLED', { what: 'building the server', reason: `the compute service of ${compute.settings.host} ended in between` }));
  await save(compute, context, instance, { vm_state: 'error', task_state: null });
}

/**
 * Servers that were evacuated while this host was down run elsewhere: what is left here goes. One whose evacuation is under way
 * is still this host's by its row, but another host is making it already: it is left alone too, as Nova does.
 * @returns the servers that are not this host's to recover
 */
async function leaveEvacuated(compute: Compute, context: WireContext): Promise<ReadonlySet<string>> {
  const left = new Set<string>();
  const filters = { source_compute: compute.settings.host, status: ['accepted', 'pre-migrating', 'done'], migration_type: 'evacuation' };
  const migrations = (await compute.conductor.classCall(readingDeleted(context), 'MigrationList', 'get_by_filters', [filters])) as NovaObject;
  for (const migration of migrations.objects()) {
    const uuid = migration.text('instance_uuid') ?? '';
    const underWay = migration.text('status') !== 'done';
    if (underWay) left.add(uuid);
    try {
      if (underWay || (await evacuatedAway(compute, context, uuid))) {
        if (!(await removeEvacuated(compute, context, uuid, migration.text('dest_compute')))) continue;
        await compute.placement.removeProviderFromAllocations(uuid, compute.node.uuid);
      }
      migration.set('status', 'completed');
      await compute.conductor.objectCall(context, migration, 'save');
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, 'cannot clean up after an evacuation');
    }
  }
  return left;
}

/**
 * The guest that was evacuated ends here. Its files go too, unless they are the other host's, or that one cannot be asked.
 * @returns false if it could not be asked: the next start tries again
 */
async function removeEvacuated(compute: Compute, context: WireContext, uuid: string, host: string | undefined): Promise<boolean> {
  const sharing = host === undefined || host === compute.settings.host ? 'apart' : await isSharedWith(compute, context, uuid, host);
  await compute.operations.run({ name: 'leave_evacuated', instance: uuid }, async (operation) => {
    if (sharing === 'apart') await compute.containers.moves.drop(uuid);
    await (sharing === 'apart' ? compute.containers.destroy(uuid, operation) : compute.containers.moves.abandon(uuid, operation));
  });
  return sharing !== 'unknown';
}

async function evacuatedAway(compute: Compute, context: WireContext, uuid: string): Promise<boolean> {
  try {
    const instance = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: [] })) as NovaObject;
    return instance.text('host') !== compute.settings.host;
  } catch (error) {
    if (isNova(error, 'InstanceNotFound')) return true;
    throw error;
  }
}

/** Claimed here by the scheduler, but the message died with the service: building without a host, and an allocation on this provider. */
async function failInterruptedBuilds(compute: Compute, context: WireContext): Promise<void> {
  for (const uuid of Object.keys(await allocations(compute))) {
    try {
      const instance = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: ['info_cache'] })) as NovaObject;
      if (instance.text('vm_state') !== 'building' || instance.text('host') !== undefined) continue;
      // the message may still wait in the queue; `failLostBuilds` looks at these much later
      const task = instance.text('task_state');
      if (task === 'scheduling' || (task !== undefined && !buildTasks.has(task))) continue;
      await recordFault(compute, context, instance, new HaulierError('CANCELLED', { what: 'building the server', reason: 'the compute service ended in between' }));
      await save(compute, context, instance, { vm_state: 'error', task_state: null });
      await compute.placement.deleteAllocations(uuid);
    } catch (error) {
      if (!isNova(error, 'InstanceNotFound')) compute.log.warn({ err: error, instance: uuid }, 'cannot look at an allocation');
    }
  }
}

async function allocations(compute: Compute): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await compute.placement.allocationsOf(compute.node.uuid);
  } catch (error) {
    compute.log.debug({ err: error }, 'no allocations to look at'); // a new host has no provider yet
    return {};
  }
}

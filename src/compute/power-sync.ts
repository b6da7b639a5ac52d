/** Power states of containers and of the database brought together (nova/compute/manager.py `_sync_instance_power_state`, contract D.6). */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { isNova } from './failure-report.js';
import { stopInstance } from './methods/power.js';
import { powerStateOf } from './states.js';
import { insideWrappers } from './wrappers.js';
import type { ContainerExit } from '../container/container-host.js';
import type { WireContext } from '../messaging/types.js';
import { adminContext } from '../nova/context.js';
import type { NovaObject } from '../nova/object.js';
import { powerStates } from '../nova/states.js';
import { cachedVifs } from './network/info-cache.js';
import { vifSpecs } from './network/vif-spec.js';

async function fetch(compute: Compute, context: WireContext, uuid: string): Promise<NovaObject | undefined> {
  try {
    return (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: ['info_cache', 'system_metadata'] })) as NovaObject;
  } catch (error) {
    if (isNova(error, 'InstanceNotFound')) return undefined;
    throw error;
  }
}

/** Compares one server; under its lock, so that no operation is between. */
export async function syncPowerState(compute: Compute, uuid: string): Promise<void> {
  await compute.locks.hold(uuid, async () => {
    const context = adminContext();
    const instance = await fetch(compute, context, uuid);
    if (!instance || instance.text('host') !== compute.settings.host || instance.get('task_state') !== null) return;
    const { state } = await compute.containers.view(uuid);
    const power = powerStateOf(state);
    if (instance.number('power_state') !== power) {
      instance.set('power_state', power);
      await compute.conductor.saveInstance(context, instance);
    }
    const vmState = instance.text('vm_state');
    if ((vmState === 'active' || vmState === 'paused') && (state === 'stopped' || state === 'crashed')) await stopByApi(compute, context, instance);
    else if (vmState === 'stopped' && (state === 'running' || state === 'paused')) {
      compute.log.warn({ instance: uuid }, 'running although it should be stopped: stopping it');
      await compute.operations.run({ name: 'sync_power_state', instance: uuid }, (operation) => compute.containers.stopContainer(uuid, { timeoutMs: 0, retryMs: 0, evenUnrecorded: true }, operation));
    } else if (vmState === 'active' && (state === 'missing' || state === 'paused' || state === 'suspended')) compute.log.warn({ instance: uuid, state }, 'the server should be running');
  });
}

/** The guest shut itself down: the same as a stop through the API, with its own action (contract D.6). */
async function stopByApi(compute: Compute, context: WireContext, instance: NovaObject): Promise<void> {
  const uuid = uuidOf(instance);
  compute.log.info({ instance: uuid }, 'the container ended by itself: stopping the server');
  instance.set('task_state', 'powering-off');
  await compute.conductor.saveInstance(context, instance, { taskState: [null] });
  await compute.conductor.classCall(context, 'InstanceAction', 'action_start', [uuid, 'stop'], { want_result: false });
  const about = { method: 'stop_instance', wrappers: ['T', 'E', 'F'] as const, context, instance };
  await insideWrappers(compute, about, () => compute.operations.run({ name: 'stop_instance', instance: uuid }, (operation) =>
    stopInstance(compute, { method: 'stop_instance', context, args: { clean_shutdown: false }, operation, instance, uuid })));
}

/** A container ended by itself. A guest that asked for a reboot gets one; any other end goes to the database. */
export async function handleExit(compute: Compute, exit: ContainerExit): Promise<void> {
  if (exit.rebootRequested && (await restart(compute, exit.id))) return;
  await syncPowerState(compute, exit.id);
}

async function restart(compute: Compute, uuid: string): Promise<boolean> {
  return compute.locks.hold(uuid, async () => {
    const instance = await fetch(compute, adminContext(), uuid);
    if (!instance || instance.text('host') !== compute.settings.host || !['active', 'rescued'].includes(instance.text('vm_state') ?? '') || instance.get('task_state') !== null) return false;
    if ((await compute.containers.view(uuid)).state === 'running') return true;
    compute.log.info({ instance: uuid }, 'the guest asked for a reboot: starting it again');
    try {
      await compute.operations.run({ name: 'guest_reboot', instance: uuid }, async (operation) => {
        await compute.containers.stopContainer(uuid, { timeoutMs: 0, retryMs: 0, evenUnrecorded: true }, operation);
        await compute.containers.updateVifs(uuid, vifSpecs(cachedVifs(instance)));
        await compute.containers.startContainer(uuid, operation);
      });
      return true;
    } catch (error) {
      compute.log.error({ err: error, instance: uuid }, 'cannot start the guest again');
      return false;
    }
  });
}

/** Power states that a state of the server goes with; nothing is expected of the others. */
const fitting: Readonly<Record<string, readonly number[]>> = {
  active: [powerStates.RUNNING], paused: [powerStates.PAUSED], suspended: [powerStates.SUSPENDED], stopped: [powerStates.SHUTDOWN, powerStates.CRASHED, powerStates.NOSTATE],
};

/** All servers of this host, in turn. */
export async function syncPowerStates(compute: Compute): Promise<void> {
  const list = (await compute.conductor.classCall(adminContext(), 'InstanceList', 'get_by_host', [compute.settings.host], { expected_attrs: [], use_slave: true })) as NovaObject;
  for (const instance of list.objects()) {
    const uuid = uuidOf(instance);
    const known = powerStateOf((await compute.containers.view(uuid)).state);
    const consistent = known === instance.number('power_state') && (fitting[instance.text('vm_state') ?? '']?.includes(known) ?? true);
    if (consistent || instance.get('task_state') !== null || compute.locks.held(uuid)) continue;
    await syncPowerState(compute, uuid).catch((error: unknown) => compute.log.warn({ err: error, instance: uuid }, 'cannot sync the power state'));
  }
}

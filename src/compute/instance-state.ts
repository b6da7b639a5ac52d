/** Small steps that several operations share: the final save, power state, the container of an instance. */
import type { Compute, InstanceCall } from './compute.js';
import { cachedVifs } from './network/info-cache.js';
import { vifSpecs } from './network/vif-spec.js';
import { powerStateOf } from './states.js';
import { HaulierError, messageOf } from '../base/errors.js';
import { Operation } from '../base/operation.js';
import type { NovaObject } from '../nova/object.js';

/** Reads the container's power state into the instance's copy. */
export async function readPowerState(compute: Compute, instance: NovaObject, uuid: string): Promise<void> {
  instance.set('power_state', powerStateOf((await compute.containers.view(uuid)).state));
}

/** The final save of an operation: power state from the container, the new states, checked against the expected task state. */
export async function finishWith(compute: Compute, call: InstanceCall, states: { vmState: string; expected: readonly (string | null)[] }): Promise<void> {
  const { instance } = call;
  await readPowerState(compute, instance, call.uuid);
  instance.set('vm_state', states.vmState);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(call.context, instance, { taskState: states.expected });
  compute.tracker.update(call.uuid, instance);
}

/** The container must be on this host. @throws INSTANCE_NOT_FOUND */
export async function requireContainer(compute: Compute, uuid: string): Promise<void> {
  if (!(await compute.containers.spec(uuid))) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: uuid });
}

/** Brings the container's interfaces in step with the info cache, then starts it; its ports are plugged with it. A server that was shelved with its memory, and is still here, goes on where it was. */
export async function startFromCache(compute: Compute, call: InstanceCall): Promise<void> {
  await requireContainer(compute, call.uuid);
  await compute.containers.updateVifs(call.uuid, vifSpecs(cachedVifs(call.instance)));
  const { state } = await compute.containers.view(call.uuid);
  if (state === 'suspended') await compute.containers.resume(call.uuid, call.operation);
  else if (state === 'paused') await compute.containers.unpause(call.uuid, call.operation);
  else await compute.containers.startContainer(call.uuid, call.operation);
}

/** The server goes on where it was, also when this service is being stopped: hence an operation of its own. Never throws. */
export async function startAgain(compute: Compute, call: InstanceCall): Promise<void> {
  try {
    await new Operation({ name: 'start_again', instance: call.uuid, log: compute.log }).run((operation) => startFromCache(compute, { ...call, operation }));
  } catch (error) {
    call.operation.log.error({ err: error }, `cannot start the server again after its ${call.method} failed: ${messageOf(error)}`);
  }
}

/** A field of the instance, fetched if the message came without it (contract C.1: presence differs by method). */
export async function withAttribute(compute: Compute, call: InstanceCall, field: 'flavor' | 'info_cache' | 'metadata' | 'system_metadata'): Promise<void> {
  if (call.instance.has(field)) return;
  const fetched = (await compute.conductor.classCall(call.context, 'Instance', 'get_by_uuid', [], { uuid: call.uuid, expected_attrs: [field] })) as NovaObject;
  call.instance.load(field, fetched.get(field));
}

/** Seconds that a clean shutdown may take: the image's own, else the operator's (contract C.5). */
export function shutdownSeconds(compute: Compute, instance: NovaObject): number {
  const own = Number(instance.strings('system_metadata')['image_os_shutdown_timeout']);
  return Number.isFinite(own) && own >= 0 && instance.strings('system_metadata')['image_os_shutdown_timeout'] ? own : compute.settings.shutdownTimeout;
}

/** Timing of a stop. Asked again every 10 s as Nova does. */
export function stopTiming(compute: Compute, instance: NovaObject, clean: boolean): { timeoutMs: number; retryMs: number } {
  return { timeoutMs: clean ? shutdownSeconds(compute, instance) * 1000 : 0, retryMs: 10_000 };
}


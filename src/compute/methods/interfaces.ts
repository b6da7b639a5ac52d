/** attach_interface and detach_interface (contract C.13; nova/compute/manager.py). Running, paused and stopped servers: the API lets no others through. */
import type { Compute, InstanceCall } from '../compute.js';
import { requireContainer, withAttribute } from '../instance-state.js';
import { addNetwork } from '../network/allocate.js';
import { deallocatePort } from '../network/deallocate.js';
import { refreshVifs, storedVifs } from '../network/info-cache.js';
import { resolveRequested, type RequestedVif } from '../network/requested.js';
import { vifSpecs } from '../network/vif-spec.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { VifInfo } from '../../nova/network-info.js';

/** Fault points of an attachment and a detachment, each in order. */
export const interfaceFaultPoints = ['attach.allocated', 'attach.plugged', 'detach.unplugged', 'detach.deallocated'] as const;

/**
 * attach_interface: a port is made or taken, bound, and moved into the container. Whatever fails, the server is as before, and a port that was made is
 * gone, before the caller hears of it.
 * @returns the new VIF
 * @throws INTERFACE_TAG, INTERFACE_ATTACH_FAILED, and what `resolveRequested` and `addNetwork` throw
 */
export async function attachInterface(compute: Compute, call: InstanceCall): Promise<VifInfo> {
  const { args, context, instance, operation, uuid } = call;
  if (args['tag'] !== null && args['tag'] !== undefined) throw new HaulierError('INTERFACE_TAG');
  await requireContainer(compute, uuid);
  await withAttribute(compute, call, 'info_cache');
  compute.notifier.instance('interface_attach.start', context, instance);
  try {
    const vifs = await addNetwork(compute, { context, instance, operation, requests: [], securityGroups: [] }, await wantedBy(compute, call));
    faultPoint('attach.allocated');
    await plugIn(compute, call, vifs);
    faultPoint('attach.plugged');
    operation.commit();
    compute.notifier.instance('interface_attach.end', context, instance);
    return vifs.at(-1)!;
  } catch (error) {
    await operation.rollback(); // under the server's lock
    compute.notifier.instance('interface_attach.error', context, instance, error);
    throw error;
  }
}

/** @throws INTERFACE_ATTACH_FAILED if the project has no network, PORT_IN_USE also for a port that the server has */
async function wantedBy(compute: Compute, { args, context, instance, uuid }: InstanceCall): Promise<RequestedVif> {
  const fields = { network_id: args['network_id'] ?? null, port_id: args['port_id'] ?? null, address: args['requested_ip'] ?? null, tag: null };
  const none = fields.network_id === null && fields.port_id === null; // the project's only network
  const [wanted] = await resolveRequested(compute, context, instance, none ? [] : [compute.conductor.create('NetworkRequest', fields)]);
  if (!wanted) throw new HaulierError('INTERFACE_ATTACH_FAILED', { instance: uuid, reason: 'the project has no network' });
  if (wanted.port?.device_id) throw new HaulierError('PORT_IN_USE', { port: wanted.port.id });
  return wanted;
}

async function plugIn(compute: Compute, { operation, uuid }: InstanceCall, vifs: readonly VifInfo[]): Promise<void> {
  const former = (await compute.containers.spec(uuid))?.vifs ?? [];
  operation.undo('take the port out of the container', () => compute.containers.changeVifs(uuid, former, operation));
  try {
    await compute.containers.changeVifs(uuid, vifSpecs(vifs), operation);
  } catch (error) {
    operation.throwIfAborted();
    throw new HaulierError('INTERFACE_ATTACH_FAILED', { instance: uuid, reason: messageOf(error) }, { cause: error });
  }
}

/**
 * detach_interface: out of the container, then deleted, or given back to the user who brought it.
 * @throws PORT_NOT_FOUND, INTERFACE_DETACH_FAILED
 */
export async function detachInterface(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  await requireContainer(compute, uuid);
  await withAttribute(compute, call, 'info_cache');
  const vifs = await storedVifs(compute, context, uuid);
  const condemned = vifs.find(({ id }) => id === args['port_id']);
  if (!condemned) throw new HaulierError('PORT_NOT_FOUND', { port: String(args['port_id']) });
  compute.notifier.instance('interface_detach.start', context, instance);
  try {
    await compute.containers.changeVifs(uuid, vifSpecs(vifs.filter((vif) => vif !== condemned)), operation);
  } catch (error) {
    operation.throwIfAborted();
    throw new HaulierError('INTERFACE_DETACH_FAILED', { instance: uuid, reason: messageOf(error) }, { cause: error });
  }
  faultPoint('detach.unplugged');
  await deallocatePort(compute, context, instance, condemned);
  faultPoint('detach.deallocated');
  await refreshVifs(compute, context, uuid);
  compute.notifier.instance('interface_detach.end', context, instance);
}

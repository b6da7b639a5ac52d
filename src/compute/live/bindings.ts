/**
 * A server's ports between two hosts (nova/network/neutron.py `migrate_instance_start`, `setup_networks_on_host`): neutron keeps a
 * binding for each host, of which one is active. The conductor makes the destination's; a neutron without them moves the port at the end.
 */
import type { Compute } from '../compute.js';
import { cachedVifs } from '../network/info-cache.js';
import { serviceScope } from '../scope.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

const extension = 'binding-extended';

async function extended(compute: Compute, context: WireContext): Promise<boolean> {
  return (await compute.neutron.extensions(serviceScope(context))).has(extension);
}

/** Whether `migrate_data` must list the ports: the conductor binds them then. */
export async function bindsTwice(compute: Compute, context: WireContext): Promise<boolean> {
  return extended(compute, context);
}

/** Tells neutron that the ports are on their way to this host, so that its agent wires them before they are needed. */
export async function announceHere(compute: Compute, context: WireContext, uuid: string, source: string): Promise<void> {
  const scope = serviceScope(context);
  const ports = await compute.neutron.ports(scope, { device_id: uuid, 'binding:host_id': source });
  await Promise.all(ports.map((port) => compute.neutron.updatePort(scope, port.id, { 'binding:profile': { ...port['binding:profile'], migrating_to: compute.settings.host } })));
}

/** Makes the bindings of `host` the active ones of a server's ports. Ports without such a binding are left: they are bound when all is done. Idempotent. */
export async function activateBindings(compute: Compute, context: WireContext, instance: NovaObject, host: string): Promise<void> {
  const vifs = cachedVifs(instance);
  if (vifs.length === 0 || !(await extended(compute, context))) return;
  await Promise.all(vifs.map(({ id }) => compute.neutron.activatePortBinding(serviceScope(context), id, host)));
}

/**
 * The ports are not on their way to `host`, or from it, any more: the mark goes, and so does the binding there.
 * @param owner the host that has the server now
 */
export async function dropBindings(compute: Compute, context: WireContext, uuid: string, owner: string, host: string): Promise<void> {
  const scope = serviceScope(context);
  const ports = await compute.neutron.ports(scope, { device_id: uuid });
  const twice = host !== owner && (await extended(compute, context));
  await Promise.all(ports.map(async (port) => {
    const { migrating_to: mark, ...profile } = port['binding:profile'] ?? {};
    if (mark !== undefined && port['binding:host_id'] === owner) await compute.neutron.updatePort(scope, port.id, { 'binding:profile': profile });
    // never the active one: that would leave the port without any
    if (twice && port['binding:host_id'] !== host) await compute.neutron.deletePortBinding(scope, port.id, host);
  }));
}

/** The same where a failure changes nothing of what happens next: it is logged. */
export async function tryDropBindings(compute: Compute, context: WireContext, uuid: string, owner: string, host: string): Promise<void> {
  await dropBindings(compute, context, uuid, owner, host).catch((error: unknown) => compute.log.error({ err: error, instance: uuid, host }, `cannot clean up the ports of a live migration: ${messageOf(error)}`));
}

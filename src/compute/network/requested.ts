/** Which networks and ports a new server asked for (nova/network/neutron.py `_validate_requested_port_ids`, contract F.1). */
import type { Compute } from '../compute.js';
import { HaulierError } from '../../base/errors.js';
import { userScope } from '../scope.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';
import type { Network, Port } from '../../openstack/types.js';

/** One interface to make: on a network, perhaps with a port or an address that the user brought. */
export interface RequestedVif {
  readonly network: Network;
  readonly port: Port | undefined;
  readonly address: string | undefined;
  readonly tag: string | undefined;
}

async function checkedPort(compute: Compute, context: WireContext, instance: NovaObject, id: string): Promise<Port> {
  const port = await compute.neutron.port(userScope(context), id);
  if (port.tenant_id !== instance.text('project_id')) throw new HaulierError('NETWORK_FAILED', { reason: `Port ${id} not usable for instance ${instance.text('uuid')}.` });
  // a reschedule or a repeated build finds its own mark
  if (port.device_id && port.device_id !== instance.text('uuid')) throw new HaulierError('PORT_IN_USE', { port: id });
  if (port['binding:vif_type'] === 'binding_failed') throw new HaulierError('PORT_BINDING_FAILED', { port: id });
  return port;
}

/** Neutron lets everybody see external networks; only administrators may put servers on them (nova/network/neutron.py `_check_external_network_attach`). */
function checkExternal(context: WireContext, networks: readonly Network[]): void {
  if (context['is_admin'] === true) return;
  const external = networks.find((network) => network['router:external'] === true && network.shared !== true);
  if (external) throw new HaulierError('NETWORK_FAILED', { reason: `It is not allowed to create an interface on external network ${external.id}` });
}

/**
 * Resolves `requested_networks`: empty means the project's only network, `none` no interface at all.
 * @throws NETWORK_NOT_FOUND, NETWORK_AMBIGUOUS, NETWORK_FAILED (an external network), PORT_NOT_FOUND, PORT_IN_USE, UNSUPPORTED (`auto`)
 */
export async function resolveRequested(compute: Compute, context: WireContext, instance: NovaObject, requests: readonly NovaObject[]): Promise<RequestedVif[]> {
  const scope = userScope(context);
  const asked = requests.filter((request) => request.text('network_id') !== 'none');
  if (requests.length > 0 && asked.length === 0) return [];
  if (asked.some((request) => request.text('network_id') === 'auto')) throw new HaulierError('UNSUPPORTED', { what: 'get-me-a-network (network "auto")' });
  if (asked.length === 0) {
    const own = await compute.neutron.networks(scope, { tenant_id: instance.text('project_id') ?? '', shared: 'False' });
    const shared = await compute.neutron.networks(scope, { shared: 'True' });
    const all = [...own, ...shared.filter((network) => !own.some((item) => item.id === network.id))];
    if (all.length > 1) throw new HaulierError('NETWORK_AMBIGUOUS');
    checkExternal(context, all);
    return all.map((network) => ({ network, port: undefined, address: undefined, tag: undefined }));
  }
  const ports = await Promise.all(asked.map(async (request) => { const id = request.text('port_id'); return id ? checkedPort(compute, context, instance, id) : undefined; }));
  const ids = [...new Set(asked.map((request, index) => ports[index]?.network_id ?? request.text('network_id') ?? ''))];
  const networks = await compute.neutron.networks(scope, { id: ids });
  checkExternal(context, networks);
  return asked.map((request, index) => {
    const id = ports[index]?.network_id ?? request.text('network_id') ?? '';
    const network = networks.find((item) => item.id === id);
    if (!network) throw new HaulierError('NETWORK_NOT_FOUND', { network: id });
    return { network, port: ports[index], address: request.text('address'), tag: request.text('tag') };
  });
}

/**
 * Security group ids for new ports: names or ids as the user gave them; only `default` means none, neutron's own rule.
 * @throws NETWORK_FAILED for an unknown or ambiguous name
 */
export async function securityGroupIds(compute: Compute, context: WireContext, projectId: string, names: readonly string[]): Promise<readonly string[]> {
  if (names.length === 0 || (names.length === 1 && names[0] === 'default')) return [];
  const groups = await compute.neutron.securityGroups(userScope(context), projectId);
  return names.map((name) => {
    const byId = groups.find((group) => group.id === name);
    const byName = groups.filter((group) => group.name === name);
    if (!byId && byName.length > 1) throw new HaulierError('NETWORK_FAILED', { reason: `Multiple security groups found matching '${name}'. Use an ID to be more specific.` });
    const group = byId ?? byName[0];
    if (!group) throw new HaulierError('NETWORK_FAILED', { reason: `Security group ${name} not found.` });
    return group.id;
  });
}

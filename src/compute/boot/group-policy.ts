/**
 * The late check of a server group's policy: two boots may have been scheduled at the same moment
 * (nova/compute/manager.py `_validate_instance_group_policy`). Needs the API database behind the conductor.
 */
import type { Compute } from '../compute.js';
import { isNova } from '../failure-report.js';
import { HaulierError } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';
import type { NovaObject } from '../../nova/object.js';

const uuid = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

/** @throws NO_RESOURCES where the server may not be here: it is scheduled again */
export async function checkGroupPolicy(compute: Compute, context: WireContext, instance: string, hint: string | undefined): Promise<void> {
  if (compute.settings.disableGroupPolicyCheck || hint === undefined) return;
  const found = await group(compute, context, uuid.test(hint) ? 'get_by_uuid' : 'get_by_name', hint);
  if (!found) return;
  await compute.locks.hold(`group ${found.text('uuid')}`, () => check(compute, context, instance, found.text('uuid') ?? hint));
}

/** The same for a server that exists (nova looks its group up by the member). @throws NO_RESOURCES */
export async function checkGroupOf(compute: Compute, context: WireContext, instance: string): Promise<void> {
  if (compute.settings.disableGroupPolicyCheck) return;
  const found = await group(compute, context, 'get_by_instance_uuid', instance);
  if (!found) return;
  await compute.locks.hold(`group ${found.text('uuid')}`, () => check(compute, context, instance, found.text('uuid') ?? ''));
}

async function group(compute: Compute, context: WireContext, method: string, key: string): Promise<NovaObject | undefined> {
  try {
    return (await compute.conductor.classCall(context, 'InstanceGroup', method, [key])) as NovaObject;
  } catch (error) {
    if (isNova(error, 'InstanceGroupNotFound')) return undefined;
    throw error;
  }
}

async function check(compute: Compute, context: WireContext, instance: string, id: string): Promise<void> {
  const now = await group(compute, context, 'get_by_uuid', id); // members under the lock
  const policy = now?.text('policy');
  if (!now || !policy) return;
  const members = new Set((now.get('members') as string[] | null) ?? []);
  if (policy === 'anti-affinity') {
    const here = (await compute.conductor.classCall(context, 'InstanceList', 'get_uuids_by_host', [compute.settings.host])) as string[];
    const count = here.filter((item) => members.has(item) && item !== instance).length;
    const most = Number(now.strings('rules')['max_server_per_host'] ?? 1) || 1;
    if (count >= most) throw new HaulierError('NO_RESOURCES', { reason: 'Anti-affinity instance group policy was violated' });
  } else if (policy === 'affinity') {
    const hosts = (await compute.conductor.objectCall(context, now, 'get_hosts', { exclude: [instance] })) as string[];
    if (hosts.length > 0 && !hosts.includes(compute.settings.host)) throw new HaulierError('NO_RESOURCES', { reason: 'Affinity instance group policy was violated' });
  }
}

/** The unversioned `compute.instance.*` notifications (nova/notifications/base.py `info_from_instance`, nova/rpc.py's list of names). */
import { messageOf } from '../base/errors.js';
import { errorText } from './faults.js';
import type { Instance } from './instance.js';
import type { NotifiedAction, Phase } from './notifications.js';

/** Where the old name is not the new one. `undefined`: there is no old notification. */
const oldNames: Partial<Record<NotifiedAction, string | undefined>> = {
  interface_attach: undefined,
  interface_detach: undefined,
  live_migration_abort: 'live.migration.abort',
  live_migration_force_complete: 'live.migration.force.complete',
  live_migration_post: 'live_migration._post',
  live_migration_post_dest: 'live_migration.post.dest',
  live_migration_pre: 'live_migration.pre',
  live_migration_rollback: 'live_migration._rollback',
  live_migration_rollback_dest: 'live_migration.rollback.dest',
  resize_confirm: 'resize.confirm',
  resize_finish: 'finish_resize',
  resize_prep: 'resize.prep',
  resize_revert: 'resize.revert',
};
const withError = new Set<NotifiedAction>(['create', 'reboot', 'rebuild', 'resize']);

/** The event type; undefined if Nova has none of that kind. */
export function legacyEventType(action: NotifiedAction, phase: Phase): string | undefined {
  const name = action in oldNames ? oldNames[action] : action;
  if (name === undefined || (phase === 'error' && !withError.has(action))) return undefined;
  return `compute.instance.${name}.${phase}`;
}

/** A stored date as `nova.utils.strtime` prints it, empty if there is none. */
function strtime(value: string | undefined): string {
  return value ? new Date(value).toISOString().replace('Z', '000') : '';
}

/**
 * The payload.
 * @param imageUrl makes the image's URL; Nova falls back to the image's id where no endpoint is known
 * @param extra values that are added or replace others, as `{message: 'Success'}` at the end of a boot
 */
export function legacyPayload(instance: Instance, options: { imageUrl?: (image: string) => string; extra?: Readonly<Record<string, unknown>>; error?: unknown; network?: boolean }): Record<string, unknown> {
  const { object, flavor } = instance;
  const image = instance.imageRef;
  const plain = (field: string): unknown => object.get(field) ?? null;
  const fixedIps = (instance.networkInfo ?? []).flatMap((vif) => vif.network.subnets.flatMap((subnet) =>
    subnet.ips.map((ip) => ({ ...ip, label: vif.network.label, vif_mac: vif.address }))));
  const { code, message } = errorText(options.error);
  return {
    tenant_id: plain('project_id'), user_id: plain('user_id'),
    instance_id: instance.uuid, display_name: plain('display_name'), reservation_id: plain('reservation_id'), hostname: plain('hostname'),
    instance_type: flavor?.name ?? '', instance_type_id: plain('instance_type_id'), instance_flavor_id: flavor?.flavorid ?? '', architecture: plain('architecture'),
    memory_mb: flavor?.memoryMb ?? 0, disk_gb: (flavor?.rootGb ?? 0) + (flavor?.ephemeralGb ?? 0), vcpus: flavor?.vcpus ?? 0, root_gb: flavor?.rootGb ?? 0, ephemeral_gb: flavor?.ephemeralGb ?? 0,
    host: plain('host'), node: plain('node'), availability_zone: plain('availability_zone'), cell_name: object.text('cell_name') ?? '',
    created_at: (object.text('created_at') ?? '').replace('T', ' ').replace('Z', '+00:00'),
    terminated_at: strtime(object.text('terminated_at')), deleted_at: strtime(object.text('deleted_at')), launched_at: strtime(object.text('launched_at')),
    image_ref_url: image === undefined ? null : options.imageUrl?.(image) ?? image, os_type: plain('os_type'), kernel_id: plain('kernel_id'), ramdisk_id: plain('ramdisk_id'),
    state: plain('vm_state'), state_description: object.text('task_state') ?? '', progress: object.number('progress') || '',
    access_ip_v4: plain('access_ip_v4'), access_ip_v6: plain('access_ip_v6'),
    ...(options.network ? { fixed_ips: fixedIps } : {}),
    image_meta: instance.imageProperties, metadata: instance.metadata,
    ...options.extra,
    ...(options.error === undefined ? {} : { exception: messageOf(options.error), message, code }),
  };
}

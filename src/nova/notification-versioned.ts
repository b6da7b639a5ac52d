/** The versioned `instance.*` notifications (nova/notifications/objects/instance.py): payloads as primitives without marks of change. */
import type { WireContext } from '../messaging/types.js';
import { errorText } from './faults.js';
import type { Instance } from './instance.js';
import type { NotifiedAction } from './notifications.js';
import type { NovaObject, Primitive } from './object.js';

/** Payload classes that carry more than `InstanceActionPayload`, with their versions. */
const payloads: Partial<Record<NotifiedAction, readonly [name: string, version: string]>> = {
  create: ['InstanceCreatePayload', '1.12'],
  rebuild: ['InstanceActionRebuildPayload', '1.9'],
  rescue: ['InstanceActionRescuePayload', '1.3'],
  resize_prep: ['InstanceActionResizePrepPayload', '1.3'],
  snapshot: ['InstanceActionSnapshotPayload', '1.9'],
};

/** Strings of the numbers 0 to 7 (nova/objects/fields.py `InstancePowerState`). */
const powerNames = ['pending', 'running', '_unused', 'paused', 'shutdown', '_unused', 'crashed', 'suspended'];

function primitive(name: string, version: string, data: Record<string, unknown>): Primitive {
  return { 'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data };
}

function pick(object: NovaObject, fields: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(fields.map((field) => [field, object.get(field) ?? null]));
}

/** A `FlavorPayload`. */
export function flavorPayload(flavor: NovaObject): Primitive {
  return primitive('FlavorPayload', '1.4', pick(flavor, ['flavorid', 'memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb', 'name', 'swap', 'rxtx_factor', 'vcpu_weight', 'disabled', 'is_public', 'extra_specs', 'projects', 'description']));
}

function ipPayloads(instance: Instance): Primitive[] {
  return (instance.networkInfo ?? []).flatMap((vif) => vif.network.subnets.flatMap((subnet) => subnet.ips.map((ip) => primitive('IpPayload', '1.0', {
    label: vif.network.label, mac: vif.address, meta: vif.meta, port_uuid: vif.id, version: ip.version, address: ip.address, device_name: vif.devname,
  }))));
}

function exceptionPayload(action: string, error: unknown): Primitive {
  const { message, details } = errorText(error);
  return primitive('ExceptionPayload', '1.1', { module_name: 'haulier', function_name: action, exception: error instanceof Error ? error.name : 'Error', exception_message: message, traceback: details });
}

function extraFields(action: NotifiedAction, instance: Instance): Record<string, unknown> {
  const certificates = instance.object.object('trusted_certs')?.get('ids') ?? null;
  if (action === 'rebuild') return { trusted_image_certificates: certificates };
  if (action === 'resize_prep') {
    const flavor = instance.object.object('new_flavor');
    return { new_flavor: flavor ? flavorPayload(flavor) : null };
  }
  if (action !== 'create') return {};
  const keys = instance.object.object('keypairs')?.objects() ?? [];
  const tags = instance.object.object('tags')?.objects() ?? [];
  return {
    keypairs: keys.map((key) => primitive('KeypairPayload', '1.0', pick(key, ['user_id', 'name', 'fingerprint', 'public_key', 'type']))),
    tags: tags.map((tag) => tag.text('tag') ?? ''), trusted_image_certificates: certificates, instance_name: instance.name,
  };
}

/**
 * The payload of `instance.<action>.*`.
 * @param extra fields of its own class: `snapshot_image_id` of a snapshot, `rescue_image_ref` of a rescue
 */
export function versionedPayload(context: WireContext, action: NotifiedAction, instance: Instance, options: { extra?: Readonly<Record<string, unknown>>; error?: unknown }): Primitive {
  const { object } = instance;
  const [name, version] = payloads[action] ?? ['InstanceActionPayload', '1.8'];
  const flavor = object.object('flavor');
  return primitive(name, version, {
    ...pick(object, ['uuid', 'user_id', 'reservation_id', 'display_name', 'display_description', 'host', 'node', 'os_type', 'architecture', 'availability_zone', 'key_name', 'kernel_id', 'ramdisk_id',
      'created_at', 'launched_at', 'terminated_at', 'deleted_at', 'updated_at', 'task_state', 'progress']),
    tenant_id: instance.projectId ?? null, host_name: instance.hostname ?? null, image_uuid: object.get('image_ref') ?? null, state: instance.vmState ?? null,
    power_state: instance.powerState === undefined ? null : powerNames[instance.powerState] ?? null,
    metadata: instance.metadata, locked: instance.isLocked, auto_disk_config: object.flag('auto_disk_config') ? 'AUTO' : 'MANUAL',
    flavor: flavor ? flavorPayload(flavor) : null, ip_addresses: ipPayloads(instance), block_devices: null,
    request_id: context['project_id'] && context['user_id'] ? context['request_id'] ?? null : null,
    action_initiator_user: context['user_id'] ?? null, action_initiator_project: context['project_id'] ?? null,
    locked_reason: instance.systemMetadata['locked_reason'] ?? null,
    fault: options.error === undefined ? null : exceptionPayload(action, options.error),
    ...extraFields(action, instance),
    ...options.extra,
  });
}

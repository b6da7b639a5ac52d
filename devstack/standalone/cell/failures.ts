/** Failures with the class, text and keywords that the real conductor's have (nova/exception.py). */
import { RemoteFailure } from '../../../src/messaging/types.js';

const texts = {
  InstanceNotFound: [404, 'Instance %(instance_id)s could not be found.'],
  ComputeHostNotFound: [404, 'Compute host %(host)s could not be found.'],
  ServiceNotFound: [404, 'Service %(service_id)s could not be found.'],
  ServiceBinaryExists: [500, 'Service with host %(host)s binary %(binary)s exists.'],
  ServiceTooOld: [500, 'This service is older (v%(thisver)s) than the minimum (v%(minver)s) version of the rest of the deployment. Unable to continue.'],
  DuplicateRecord: [500, 'The record %(target)s already exists.'],
  UnexpectedTaskStateError: [500, 'Conflict updating instance %(instance_uuid)s. Expected: %(expected)s. Actual: %(actual)s'],
  UnexpectedDeletingTaskStateError: [500, 'Conflict updating instance %(instance_uuid)s. Expected: %(expected)s. Actual: %(actual)s'],
  UnexpectedVMStateError: [500, 'Conflict updating instance %(instance_uuid)s. Expected: %(expected)s. Actual: %(actual)s'],
  ObjectActionError: [500, 'Object action %(action)s failed because: %(reason)s'],
  InstanceActionNotFound: [404, 'Action for request_id %(request_id)s on instance %(instance_uuid)s not found'],
  InstanceActionEventNotFound: [404, 'Event %(event)s not found for action id %(action_id)s'],
  InstanceInfoCacheNotFound: [404, 'Info cache for instance %(instance_uuid)s could not be found.'],
  InstanceGroupNotFound: [404, 'Instance group %(group_uuid)s could not be found.'],
  MigrationNotFound: [404, 'Migration %(migration_id)s could not be found.'],
  VolumeBDMNotFound: [404, 'No volume Block Device Mapping with id %(volume_id)s.'],
  MaxRetriesExceeded: [500, 'Exceeded maximum number of retries. %(reason)s'],
  NoValidHost: [400, 'No valid host was found. %(reason)s'],
} as const satisfies Record<string, readonly [number, string]>;

/** Classes that are raised here. */
export type FailureClass = keyof typeof texts;

/** A failure of `nova.exception`. */
export function novaFailure(name: FailureClass, keywords: Record<string, unknown>): RemoteFailure {
  const [code, text] = texts[name];
  const message = text.replace(/%\((\w+)\)s/g, (_, key: string) => python(keywords[key]));
  return new RemoteFailure({ class: name, module: 'nova.exception', message, tb: [], args: [message], kwargs: { ...keywords, code } });
}

/** A failure of oslo.versionedobjects. */
export function objectFailure(name: 'IncompatibleObjectVersion' | 'UnsupportedObjectError', message: string): RemoteFailure {
  return new RemoteFailure({ class: name, module: 'oslo_versionedobjects.exception', message, tb: [], args: [message], kwargs: {} });
}

/** A value as Python prints it. */
function python(value: unknown): string {
  const inner = (item: unknown): string => {
    if (item === null || item === undefined) return 'None';
    if (typeof item === 'string') return `'${item}'`;
    if (Array.isArray(item)) return `[${item.map(inner).join(', ')}]`;
    if (typeof item === 'object') return `{${Object.entries(item).map(([key, member]) => `'${key}': ${inner(member)}`).join(', ')}}`;
    return String(item as number);
  };
  return typeof value === 'string' ? value : inner(value);
}

/** What of an `Instance` goes into a save, and whether a save that was lost did happen (contract B.1, B.5). */
import { HaulierError } from '../base/errors.js';
import { NovaObject, toWire } from './object.js';
import type { SaveExpectation } from './types.js';

/** Sub-objects that `Instance.save` never writes (nova/objects/instance.py `_save_*`). */
const neverSaved = new Set(['ec2_ids', 'fault', 'pci_devices', 'security_groups', 'services', 'tags']);
const flavors = ['flavor', 'old_flavor', 'new_flavor'];

/** True if this version of `Instance` has `compute_id` (2.8 and later). */
export function hasComputeId(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 2 || (major === 2 && minor >= 8);
}

/**
 * The sparse copy that is sent: `id`, `uuid` and what changed. If one flavor changed, all three that are set go along, because
 * they are one column; `compute_id` goes with `node`, which the conductor insists on since Instance 2.8.
 * @throws BAD_ARGUMENT if `node` changed and `compute_id` is not known
 */
export function sparseInstance(instance: NovaObject): NovaObject {
  const copy = new NovaObject('Instance', instance.version);
  for (const field of ['id', 'uuid']) if (instance.has(field)) copy.load(field, instance.get(field));
  const changed = new Set([...instance.whatChanged()].filter((field) => instance.has(field) && !neverSaved.has(field)));
  if (flavors.some((field) => changed.has(field))) for (const field of flavors) if (instance.has(field)) changed.add(field);
  if (changed.has('node') && hasComputeId(instance.version)) {
    if (!instance.has('compute_id')) throw new HaulierError('BAD_ARGUMENT', { method: 'Instance.save', argument: 'compute_id', problem: 'must change together with node' });
    changed.add('compute_id');
  }
  for (const field of changed) copy.set(field, instance.get(field));
  return copy;
}

/** The keyword arguments of `Instance.save`. */
export function saveArguments(expected: SaveExpectation | undefined): Record<string, unknown> {
  return {
    ...(expected?.vmState ? { expected_vm_state: [...expected.vmState] } : {}),
    ...(expected?.taskState ? { expected_task_state: [...expected.taskState] } : {}),
  };
}

/** Joined attributes that must be asked for to compare `sent` with the stored row. */
export function attributesToCompare(sent: NovaObject): string[] {
  return [...sent.whatChanged()].filter((field) => field === 'metadata' || field === 'system_metadata');
}

/** Wire text with sorted keys and dates of one form, so that equal values give equal text. */
function comparable(value: unknown): string {
  if (typeof value === 'string' && /^\d{4}-\d{2}-\d{2}[T ]\d{2}:/.test(value)) {
    const time = Date.parse(/(Z|[+-]\d{2}:?\d{2})$/.test(value) ? value : `${value}Z`);
    if (!Number.isNaN(time)) return String(Math.floor(time / 1000));
  }
  const wire = toWire(value);
  if (typeof wire !== 'object' || wire === null || Array.isArray(wire)) return JSON.stringify(wire) ?? 'null';
  return JSON.stringify(Object.entries(wire).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * True if every plain value of `sent` is what `stored` has: the save happened, and its repetition met its own success.
 * Sub-objects are written by the same statement as the columns, so they are not compared.
 */
export function isStored(sent: NovaObject, stored: NovaObject): boolean {
  return [...sent.whatChanged()].every((field) => {
    const value = sent.get(field);
    return value instanceof NovaObject || comparable(value) === comparable(stored.get(field));
  });
}

/** Rows as Nova's objects, the difference that `object_action` answers, and objects for older callers (contract B.3, B.4). */
import { NovaObject, isPrimitive, parseValue, toWire } from '../../../src/nova/object.js';
import { hasField, objectVersion, type Manifest } from '../../../src/nova/registry.js';
import type { Release } from '../../../src/nova/types.js';
import { objectFailure } from './failures.js';
import { release } from './cell.js';
import type { Row } from './table.js';

/** Columns that every stored object has. */
export const stamps = ['created_at', 'updated_at', 'deleted_at', 'deleted'] as const;

/** The wire form of `fields`. */
export function primitive(name: string, fields: Row): Row {
  return { 'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': objectVersion(name, release), 'nova_object.data': fields };
}

/** The named columns of a row as an object. */
export function fromRow(name: string, row: Row, columns: readonly string[]): Row {
  return primitive(name, Object.fromEntries(columns.map((column) => [column, row[column] ?? null])));
}

/** A list object. */
export function listOf(name: string, objects: readonly Row[]): Row {
  return primitive(name, { objects });
}

/** Text that is equal for equal values, whatever the order of keys. */
function stable(value: unknown): string {
  return JSON.stringify(toWire(value), (_key, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item) ?? 'null';
}

/** Takes a picture of `object`; the returned function tells what has changed since, as `ConductorManager.object_action` does. */
export function watch(object: NovaObject): () => Row {
  const before = new Map([...object.fields()].map((field) => [field, stable(object.get(field))]));
  return () => {
    const updates: Row = {};
    for (const field of object.fields()) {
      const value = object.get(field);
      // objects have no equality in Python: they are sent back always
      const holdsObject = value instanceof NovaObject || (Array.isArray(value) && value.some((item) => item instanceof NovaObject));
      if (holdsObject || before.get(field) !== stable(value)) updates[field] = toWire(value);
    }
    return { ...updates, obj_what_changed: [...object.whatChanged()] };
  };
}

/** Loads columns of a row into an object that is being saved. */
export function reload(object: NovaObject, row: Row, columns: readonly string[]): void {
  for (const column of columns) object.load(column, parseValue(row[column] ?? null));
}

function older(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA - majorB || minorA - minorB;
}

function versionOrUndefined(name: string, of: Release): string | undefined {
  try {
    return objectVersion(name, of);
  } catch {
    return undefined;
  }
}

/** @throws IncompatibleObjectVersion if the caller's version is newer than ours */
export function checkVersion(name: string, wanted: string | undefined): void {
  const ours = versionOrUndefined(name, release);
  if (ours === undefined) throw objectFailure('UnsupportedObjectError', `Unsupported object type ${name}`);
  if (wanted !== undefined && older(wanted, ours) > 0) throw objectFailure('IncompatibleObjectVersion', `Version ${wanted} of ${name} is not supported, supported version is ${ours}`);
}

/** An object (or any value with objects in it) in the versions of `manifest`: newer fields are left out. */
export function backlevel(value: unknown, manifest: Manifest): unknown {
  if (Array.isArray(value)) return value.map((item) => backlevel(item, manifest));
  if (typeof value !== 'object' || value === null) return value;
  if (!isPrimitive(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, backlevel(item, manifest)]));
  const name = value['nova_object.name'];
  const wanted = manifest[name];
  const data = backlevel(value['nova_object.data'], manifest) as Row;
  if (wanted === undefined || older(wanted, value['nova_object.version']) >= 0) return { ...value, 'nova_object.data': data };
  const target = (['zed', '2025.1', '2026.2'] as const).find((of) => versionOrUndefined(name, of) === wanted) ?? 'zed';
  const fitting = Object.fromEntries(Object.entries(data).filter(([field]) => hasField(name, field, target)));
  return { ...value, 'nova_object.version': wanted, 'nova_object.data': fitting };
}

/**
 * A Nova versioned object as a value: name, version, fields that are set, names that changed (contract B.1). Unknown fields
 * are kept and sent back, in the version they came in; unset and null are different things.
 */

import { HaulierError } from '../base/errors.js';

/** The wire form. */
export interface Primitive {
  readonly 'nova_object.name': string;
  readonly 'nova_object.namespace': string;
  readonly 'nova_object.version': string;
  readonly 'nova_object.data': Record<string, unknown>;
  readonly 'nova_object.changes'?: readonly string[];
}

/** True for the wire form of an object. */
export function isPrimitive(value: unknown): value is Primitive {
  return typeof value === 'object' && value !== null && 'nova_object.name' in value;
}

/** One object. Field values are JSON values, NovaObjects, or arrays and maps of them. */
export class NovaObject {
  readonly name: string;
  readonly version: string;
  readonly #data = new Map<string, unknown>();
  readonly #changes = new Set<string>();

  constructor(name: string, version: string) {
    this.name = name;
    this.version = version;
  }

  /** @throws BAD_ARGUMENT if `primitive` is not of Nova's namespace or has no data */
  static from(primitive: Primitive): NovaObject {
    const wrong = primitive['nova_object.namespace'] !== 'nova' ? `unsupported object namespace ${primitive['nova_object.namespace']}`
      : typeof primitive['nova_object.data'] !== 'object' || primitive['nova_object.data'] === null ? 'an object without data' : undefined;
    if (wrong !== undefined) throw new HaulierError('BAD_ARGUMENT', { method: 'object', argument: String(primitive['nova_object.name']), problem: wrong });
    const object = new NovaObject(primitive['nova_object.name'], primitive['nova_object.version']);
    for (const [field, value] of Object.entries(primitive['nova_object.data'])) object.#data.set(field, parseValue(value));
    for (const field of primitive['nova_object.changes'] ?? []) object.#changes.add(field);
    return object;
  }

  /** True if the field is set, be it to null. */
  has(field: string): boolean {
    return this.#data.has(field);
  }
  /** The field's value; undefined if unset. */
  get(field: string): unknown {
    return this.#data.get(field);
  }
  /** Sets a field and marks it as changed. */
  set(field: string, value: unknown): void {
    this.#data.set(field, value);
    this.#changes.add(field);
  }
  /** Sets a field as loaded: not marked. */
  load(field: string, value: unknown): void {
    this.#data.set(field, value);
  }
  /** Names of the fields that are set. */
  fields(): IterableIterator<string> {
    return this.#data.keys();
  }
  /** Own changed names, set children with changes, and `objects` of a list with changed members (oslo_versionedobjects obj_what_changed). */
  whatChanged(): Set<string> {
    const changed = new Set(this.#changes);
    for (const [field, value] of this.#data) if (value instanceof NovaObject && value.isChanged()) changed.add(field);
    if (this.objects().some((member) => member.isChanged())) changed.add('objects');
    return changed;
  }
  /** True if `whatChanged` would not be empty. */
  isChanged(): boolean {
    if (this.#changes.size > 0) return true;
    for (const value of this.#data.values()) if (value instanceof NovaObject && value.isChanged()) return true;
    return this.objects().some((member) => member.isChanged());
  }
  /** Forgets all changes, those of set children too. */
  resetChanges(): void {
    this.#changes.clear();
    for (const value of this.#data.values()) if (value instanceof NovaObject) value.resetChanges();
    for (const member of this.objects()) member.resetChanges();
  }
  /** Replaces the changed set. */
  setChanges(fields: Iterable<string>): void {
    this.#changes.clear();
    for (const field of fields) this.#changes.add(field);
  }

  /** String field; undefined if unset or null. */
  text(field: string): string | undefined {
    const value = this.#data.get(field);
    return typeof value === 'string' ? value : undefined;
  }
  /** Number field; undefined if unset or null. */
  number(field: string): number | undefined {
    const value = this.#data.get(field);
    return typeof value === 'number' ? value : undefined;
  }
  /** Object field; undefined if unset or null. */
  object(field: string): NovaObject | undefined {
    const value = this.#data.get(field);
    return value instanceof NovaObject ? value : undefined;
  }
  /** `objects` of a list object, or an array field's objects. */
  objects(field = 'objects'): readonly NovaObject[] {
    const value = this.#data.get(field);
    return Array.isArray(value) ? value.filter((item): item is NovaObject => item instanceof NovaObject) : [];
  }
  /** Boolean field; undefined if unset or null. */
  flag(field: string): boolean | undefined {
    const value = this.#data.get(field);
    return typeof value === 'boolean' ? value : undefined;
  }
  /** Map field of strings; empty if unset or null. */
  strings(field: string): Record<string, string> {
    const value = this.#data.get(field);
    return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof NovaObject) ? { ...(value as Record<string, string>) } : {};
  }

  /** The wire form, in the version it came in. */
  toPrimitive(): Primitive {
    const changes = [...this.whatChanged()];
    return {
      'nova_object.name': this.name,
      'nova_object.namespace': 'nova',
      'nova_object.version': this.version,
      'nova_object.data': Object.fromEntries([...this.#data].map(([field, value]) => [field, toWire(value)])),
      ...(changes.length > 0 ? { 'nova_object.changes': changes } : {}),
    };
  }
}

/** Parses objects anywhere inside a value; other values stay as they are. */
export function parseValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(parseValue);
  if (typeof value !== 'object' || value === null) return value;
  if (isPrimitive(value)) return NovaObject.from(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, parseValue(item)]));
}

/** The reverse of `parseValue`. */
export function toWire(value: unknown): unknown {
  if (value instanceof NovaObject) return value.toPrimitive();
  if (Array.isArray(value)) return value.map(toWire);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toWire(item)]));
}

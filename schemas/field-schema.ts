/**
 * JSON schema of a type as `object-versions.json` writes it (contract B.2): `String`, `List<T>`, `Dict<T>`, `Object<X>`, with
 * alternatives after a bar (`String|null`). `Map` is any JSON object, `JSON` is anything.
 */

/** A JSON schema, or part of one. */
export type Schema = { [keyword: string]: unknown };

/** ISO 8601 as Nova's parser takes it; senders write `2026-11-22T01:19:31Z`. */
export const dateTimePattern = '^\\d{4}-\\d{2}-\\d{2}[T ]\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?(Z|[+-]\\d{2}:?\\d{2})?$';

/**
 * Base classes of which a subclass may stand in an `Object<base>` (nova/objects/{device_metadata,resource,migrate_data}.py);
 * the list leaves the base out where it is abstract.
 */
export const subclasses: Readonly<Record<string, readonly string[]>> = {
  DeviceBus: ['DeviceBus', 'IDEDeviceBus', 'PCIDeviceBus', 'SCSIDeviceBus', 'USBDeviceBus', 'XenDeviceBus'],
  DeviceMetadata: ['DeviceMetadata', 'DiskMetadata', 'NetworkInterfaceMetadata', 'ShareMetadata'],
  LiveMigrateData: ['HyperVLiveMigrateData', 'LibvirtLiveMigrateData', 'VMwareLiveMigrateData'],
  ResourceMetadata: ['ResourceMetadata', 'LibvirtVPMEMDevice'],
};

const scalars: Readonly<Record<string, Schema>> = {
  Integer: { type: 'integer' },
  NonNegativeInteger: { type: 'integer', minimum: 0 },
  Float: { type: 'number' },
  Boolean: { type: 'boolean' },
  FlexibleBoolean: { type: ['boolean', 'string'] },
  DateTime: { type: 'string', pattern: dateTimePattern },
  Map: { type: 'object' },
  null: { type: 'null' },
};

/** File of the schema for `Object<name>`. */
export function objectFile(name: string): string {
  return `objects/${name}${name in subclasses ? '.any' : ''}.json`;
}

/** Splits `A<B|C>|null` at the bars that stand outside brackets. */
function alternatives(type: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const letter of type) {
    if (letter === '<') depth++;
    if (letter === '>') depth--;
    if (letter === '|' && depth === 0) parts.push('');
    else parts[parts.length - 1] += letter;
  }
  return parts;
}

function single(type: string, folder: string): Schema {
  const generic = /^(List|Set|Dict|Object)<(.*)>$/.exec(type);
  if (!generic) return scalars[type] ?? { type: 'string' }; // String, UUID, addresses, enums: all strings on the wire
  const [, kind, inner = ''] = generic;
  if (kind === 'Object') return { type: 'object', $ref: `${folder}${objectFile(inner)}` };
  if (kind === 'Dict') return { type: 'object', additionalProperties: fieldSchema(inner, folder) };
  return { type: 'array', items: fieldSchema(inner, folder) };
}

/**
 * Schema of `type`.
 * @param folder path from the schema's own file to `schemas/`, as `../`
 */
export function fieldSchema(type: string, folder = '../'): Schema {
  const parts = alternatives(type);
  if (parts.includes('JSON')) return {};
  const schemas = parts.map((part) => single(part, folder));
  const types = schemas.flatMap((schema) => schema['type'] as string | string[]);
  return { ...Object.assign({}, ...schemas.reverse()) as Schema, type: types.length === 1 ? types[0] : types };
}

/** `[DEFAULT] instance_name_template` (nova/objects/instance.py `Instance.name`): Python's `%` formatting, as far as names need it. */
import type { NovaObject } from './object.js';

function format(value: unknown, zero: string, width: string, kind: string): string {
  const text = kind === 's' ? String(value) : Math.trunc(Number(value)).toString(kind === 'd' ? 10 : 16);
  return (kind === 'X' ? text.toUpperCase() : text).padStart(Number(width || 0), zero ? '0' : ' ');
}

/** The name by `template`: `instance-%08x` takes the id, `%(uuid)s` any field. An instance without id is named by its uuid. */
export function instanceName(instance: NovaObject, template: string): string {
  let missing = false;
  const name = template.replace(/%(?:\((\w+)\))?(0?)(\d*)([dxXs])|%%/g, (all, field: string | undefined, zero: string, width: string, kind: string) => {
    if (all === '%%') return '%';
    const value = instance.get(field ?? 'id');
    if (value === undefined || value === null) missing = true;
    return format(value, zero, width, kind);
  });
  return missing ? instance.text('uuid') ?? '' : name;
}

/**
 * Taking over what a remote method answered (`[updates, result]`, contract B.3) without losing what changed here while the call
 * was under way: a sparse object makes the conductor answer nearly every column, so an answer must not overwrite newer local values.
 */
import { NovaObject, parseValue, toWire } from './object.js';

/** Changed fields with their wire text, as they were when a call was sent. */
export type SentChanges = ReadonlyMap<string, string>;

const textOf = (value: unknown): string => JSON.stringify(toWire(value)) ?? '';

/** Notes the changed fields of `object` and their values. Take it before the call. */
export function sentChanges(object: NovaObject): SentChanges {
  return new Map([...object.whatChanged()].map((field) => [field, textOf(object.get(field))]));
}

/**
 * Applies `updates` of an answer to `object`. A field that changed since `sent` keeps its local value and stays changed; all
 * others take the update, and the changed set becomes `obj_what_changed` (as oslo_versionedobjects `remotable` does).
 */
export function applyUpdates(object: NovaObject, sent: SentChanges, updates: Readonly<Record<string, unknown>>): void {
  const newer = new Set([...object.whatChanged()].filter((field) => sent.get(field) !== textOf(object.get(field))));
  const settled = new Set([...sent.keys(), ...Object.keys(updates)].filter((field) => field !== 'obj_what_changed' && !newer.has(field)));
  for (const field of settled) {
    if (field in updates) object.load(field, parseValue(updates[field]));
    object.object(field)?.resetChanges();
  }
  if (settled.has('objects')) for (const member of object.objects()) member.resetChanges();
  const still = updates['obj_what_changed'];
  const stillChanged = Array.isArray(still) ? still.filter((field): field is string => typeof field === 'string') : [];
  object.setChanges([...stillChanged, ...newer]);
}

/** Request contexts (contract A.8) as the rooms above use them, and dates of Nova's objects. */
import type { WireContext } from '../messaging/types.js';

export { adminContext, elevated, requestIdOf } from '../messaging/context.js';

/** The same context seeing deleted rows too (`yes`), or only them. */
export function readingDeleted(context: WireContext, which: 'yes' | 'only' = 'yes'): WireContext {
  return { ...context, read_deleted: which };
}

/** A date as objects carry it: UTC, whole seconds, `2026-11-22T01:19:31Z`. */
export function novaTime(date = new Date()): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}

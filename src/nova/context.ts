/** Request contexts (contract A.8): nova/context.py `RequestContext.to_dict`, in the order a stock service sends. */
import { randomUUID } from 'node:crypto';
import type { WireContext } from '../messaging/types.js';

/** Now as the context's `timestamp`: naive UTC with six digits, parsed strictly by every receiver. */
function naiveNow(): string {
  return new Date().toISOString().replace('Z', '000');
}

/** A context for the service's own work: admin, nobody's user, a fresh request id. */
export function adminContext(): WireContext {
  return {
    user: null, project_id: null, system_scope: null, project: null, domain: null, user_domain: null, project_domain: null,
    is_admin: true, read_only: false, show_deleted: false, auth_token: null, request_id: `req-${randomUUID()}`,
    global_request_id: null, resource_uuid: null, roles: [], user_identity: '- - - - -', is_admin_project: true,
    user_id: null, read_deleted: 'no', remote_address: null, timestamp: naiveNow(), quota_class: null, user_name: null,
    service_catalog: [], project_name: null,
  };
}

/** The same context as admin: what most methods work under (nova/context.py `elevated`). */
export function elevated(context: WireContext): WireContext {
  const roles = Array.isArray(context['roles']) ? (context['roles'] as unknown[]) : [];
  return { ...context, is_admin: true, roles: roles.includes('admin') ? roles : [...roles, 'admin'] };
}

/** The same context seeing deleted rows too (`yes`), or only them. */
export function readingDeleted(context: WireContext, which: 'yes' | 'only' = 'yes'): WireContext {
  return { ...context, read_deleted: which };
}

/** The request id, under which action events are filed; undefined if the sender gave none. */
export function requestIdOf(context: WireContext): string | undefined {
  return typeof context['request_id'] === 'string' ? context['request_id'] : undefined;
}

/** A date as objects carry it: UTC, whole seconds. */
export function novaTime(date = new Date()): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}

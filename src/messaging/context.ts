/** Request contexts that the service makes itself (contract A.8, nova/context.py). */
import { randomUUID } from 'node:crypto';
import type { WireContext } from './types.js';

/** A fresh request id, `req-<uuid4>`. */
export function newRequestId(): string {
  return `req-${randomUUID()}`;
}

/** Naive UTC with microseconds, `2026-11-22T01:19:31.126704`; the receiver parses exactly this pattern (nova/utils.py `strtime`). */
export function contextTimestamp(epochMs: number = Date.now()): string {
  const whole = Math.floor(epochMs);
  const micros = Math.floor((epochMs - whole) * 1000);
  return new Date(whole).toISOString().slice(0, -1) + String(micros).padStart(3, '0');
}

/** The context of the service's own work: `get_admin_context`, with a fresh request id unless given. */
export function adminContext(requestId: string = newRequestId()): WireContext {
  return {
    user: null,
    project_id: null,
    system_scope: null,
    project: null,
    domain: null,
    user_domain: null,
    project_domain: null,
    is_admin: true,
    read_only: false,
    show_deleted: false,
    auth_token: null,
    request_id: requestId,
    global_request_id: null,
    resource_uuid: null,
    roles: [],
    user_identity: '- - - - -',
    is_admin_project: true,
    user_id: null,
    read_deleted: 'no',
    remote_address: null,
    timestamp: contextTimestamp(),
    quota_class: null,
    user_name: null,
    service_catalog: [],
    project_name: null,
  };
}

/**
 * The same context with an administrator's rights (nova/context.py `elevated`): everything else, the request id above all,
 * stays, because action events are filed under it.
 * @param readDeleted replaces `read_deleted` if given
 */
export function elevated(context: WireContext, readDeleted?: 'no' | 'yes' | 'only'): WireContext {
  const roles: readonly unknown[] = Array.isArray(context['roles']) ? context['roles'] : [];
  return {
    ...context,
    is_admin: true,
    roles: roles.includes('admin') ? [...roles] : [...roles, 'admin'],
    ...(readDeleted === undefined ? {} : { read_deleted: readDeleted }),
  };
}

/** The context's request id, or undefined where the sender gave none. */
export function requestIdOf(context: WireContext): string | undefined {
  const id = context['request_id'];
  return typeof id === 'string' ? id : undefined;
}

/** The context without what a stranger must not read: token and service catalogue (notifier.py `_sanitize_context`). */
export function publicContext(context: WireContext): WireContext {
  return Object.fromEntries(Object.entries(context).filter(([key]) => key !== 'auth_token' && key !== 'service_catalog'));
}

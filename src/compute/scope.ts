/** Request scopes for the REST clients out of an RPC context. */
import type { WireContext } from '../messaging/types.js';
import type { RequestScope } from '../openstack/types.js';

const requestIdOf = (context: WireContext): string | undefined => {
  const id = context['global_request_id'] ?? context['request_id'];
  return typeof id === 'string' ? id : undefined;
};

/** With the service's own rights. */
export function serviceScope(context: WireContext, signal?: AbortSignal): RequestScope {
  return { requestId: requestIdOf(context), signal, identity: { kind: 'service' } };
}

/** With the user's rights; the service's own where the context carries no token (periodic work). */
export function userScope(context: WireContext, signal?: AbortSignal): RequestScope {
  const token = context['auth_token'];
  if (typeof token !== 'string' || token === '') return serviceScope(context, signal);
  const catalog = context['service_catalog'];
  return { requestId: requestIdOf(context), signal, identity: { kind: 'user', token, catalog: Array.isArray(catalog) ? catalog : [] } };
}

/** What the parts of the built-in control plane share. */
import type { Messaging } from '../../../src/messaging/messaging.js';
import { adminContext } from '../../../src/messaging/context.js';
import type { WireContext } from '../../../src/messaging/types.js';
import type { Log } from '../../../src/base/log.js';
import type { Cell } from '../cell/cell.js';
import type { Images } from '../rest/glance.js';
import type { Inventories } from '../rest/inventory.js';
import { projectId, userId, type Identity } from '../rest/keystone.js';
import type { Ports } from '../rest/ports.js';

/** Everything that there is one of. */
export interface Control {
  readonly cell: Cell;
  readonly inventories: Inventories;
  readonly images: Images;
  readonly ports: Ports;
  readonly identity: Identity;
  readonly messaging: Messaging;
  readonly log: Log;
}

/** The context of a user's request: who, with a token, and the services he may use (contract A.8). */
export function userContext(control: Control): WireContext {
  return {
    ...adminContext(),
    user: userId, user_id: userId, user_name: 'admin', project: projectId, project_id: projectId, project_name: 'admin', roles: ['admin', 'member', 'reader'],
    user_domain: 'default', project_domain: 'default', user_identity: `${userId} ${projectId} - default default`, remote_address: '127.0.0.1',
    auth_token: control.identity.issue(), service_catalog: control.identity.contextCatalog(),
  };
}

/** Casts to a host's compute service. */
export async function castCompute(control: Control, host: string, method: string, args: Record<string, unknown>, context: WireContext): Promise<void> {
  await control.messaging.client.cast({ topic: 'compute', server: host, version: '6.0' }, method, structuredClone(args), context);
}

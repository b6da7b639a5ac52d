/** Makes the clients of all services out of the configuration's sections. */
import type { Log } from '../base/log.js';
import type { AuthOptions } from './auth-options.js';
import { GlanceClient } from './glance.js';
import { Keystone } from './keystone.js';
import { NeutronClient } from './neutron.js';
import { PlacementClient } from './placement.js';
import type { Glance, Neutron, Placement } from './types.js';

/** Sections of nova.conf that the clients need. */
export interface OpenstackOptions {
  readonly placement: AuthOptions;
  readonly neutron: AuthOptions;
  /** Needs no credentials: images are read with the user's token. */
  readonly glance: AuthOptions;
  /** `[service_user]`; used if `sendServiceUserToken`. */
  readonly serviceUser?: AuthOptions;
  /** `[service_user] send_service_user_token`: requests to neutron and glance carry the service's token beside the user's. */
  readonly sendServiceUserToken?: boolean;
  /** `[compute] resource_provider_association_refresh`, seconds; default 300; 0: never. */
  readonly associationRefreshSeconds?: number;
}

/** The clients. */
export interface Openstack {
  readonly placement: Placement;
  readonly neutron: Neutron;
  readonly glance: Glance;
  /** `prefetch()` logs in ahead of need. */
  readonly keystone: Keystone;
  /** Ends all connections. */
  close(): Promise<void>;
}

/**
 * Makes the clients; nothing is sent yet.
 * @throws CONFIG_INVALID if `[placement]`, `[neutron]` or a used `[service_user]` lacks credentials, or a certificate cannot be read
 */
export function createOpenstack(options: OpenstackOptions, log: Log): Openstack {
  const keystone = new Keystone(log);
  const catalogFrom = keystone.requiredSource(options.placement);
  keystone.requiredSource(options.neutron);
  const { serviceUser: section } = options;
  const serviceUser = options.sendServiceUserToken && section ? { section: section.section, source: keystone.requiredSource(section) } : undefined;
  const placement = keystone.session(options.placement, { service: 'placement', serviceType: 'placement' });
  const neutron = keystone.session(options.neutron, { service: 'neutron', serviceType: 'network', version: /\/v2\.0$/, serviceUser });
  const glance = keystone.session(options.glance, { service: 'glance', serviceType: 'image', version: /\/v[12](\.\d+)?$/, serviceUser, catalogFrom });
  const refreshMs = options.associationRefreshSeconds === undefined ? undefined : options.associationRefreshSeconds * 1000;
  return {
    placement: new PlacementClient(placement, refreshMs),
    neutron: new NeutronClient(neutron),
    glance: new GlanceClient(glance),
    keystone,
    close: () => keystone.close(),
  };
}

/** What the openstack room offers: REST clients of placement, neutron and glance over a keystone session (contract E, F, G). */
import type { Readable } from 'node:stream';

/** With whose rights a request is made. */
export type Identity =
  /** The service's own credentials of that client's section. */
  | { readonly kind: 'service' }
  /** The user's token out of an RPC context, with the service user's token beside it where `[service_user]` says so. */
  | { readonly kind: 'user'; readonly token: string; readonly catalog: readonly unknown[] };

/** Common to every request: shown in the other side's log, and aborts. */
export interface RequestScope {
  readonly requestId: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly identity: Identity;
}

/** For whom placement is asked; it is always asked with the service's own rights. Without a request id the request makes one. */
export type PlacementScope = Partial<Pick<RequestScope, 'requestId' | 'signal'>>;

/** Inventory of one resource class (placement). */
export interface Inventory {
  readonly total: number; readonly reserved: number; readonly allocation_ratio: number;
  readonly min_unit: number; readonly max_unit: number; readonly step_size: number;
}

/** Placement as a compute service uses it; generations and conflicts are handled inside. What is known of a provider is kept and read again every 300 s. */
export interface Placement {
  /** Makes sure the provider exists. @throws IDENTITY when another uuid owns the name, or the uuid has another name */
  ensureProvider(uuid: string, name: string, scope?: PlacementScope): Promise<void>;
  inventories(provider: string, scope?: PlacementScope): Promise<Readonly<Record<string, Inventory>>>;
  /** PUTs if different; classes with total 0 are left out. @throws REST_FAILED of type `placement.inventory.inuse` when a class that has allocations would go */
  setInventories(provider: string, inventories: Readonly<Record<string, Inventory>>, scope?: PlacementScope): Promise<void>;
  /** Adds `present`, takes `absent` off, leaves foreign ones; creates missing CUSTOM_ traits. Unknown standard traits are left out and returned. */
  setTraits(provider: string, present: readonly string[], absent: readonly string[], scope?: PlacementScope): Promise<readonly string[]>;
  /** Allocations on a provider: consumer uuid to resources. */
  allocationsOf(provider: string, scope?: PlacementScope): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>>;
  /** Moves all allocations of one consumer to another (contract E.2). @returns false if `from` has none */
  moveAllocations(from: string, to: string, scope?: PlacementScope): Promise<boolean>;
  /** Takes one provider's part out of a consumer's allocations (contract E.2, a failed or finished evacuation). */
  removeProviderFromAllocations(consumer: string, provider: string, scope?: PlacementScope): Promise<void>;
  /** Deletes a consumer's allocations; 404 is fine. */
  deleteAllocations(consumer: string, scope?: PlacementScope): Promise<void>;
}

/** A neutron port, the fields used here. */
export interface Port {
  readonly id: string; readonly network_id: string; readonly mac_address: string; readonly status: string; readonly admin_state_up: boolean;
  readonly device_id: string; readonly device_owner: string; readonly tenant_id: string; readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
  readonly 'binding:host_id'?: string; readonly 'binding:vif_type'?: string; readonly 'binding:vif_details'?: Readonly<Record<string, unknown>>;
  readonly 'binding:vnic_type'?: string; readonly 'binding:profile'?: Readonly<Record<string, unknown>>; readonly dns_name?: string;
  readonly security_groups?: readonly string[]; readonly resource_request?: unknown;
}
/** A neutron network. */
export interface Network {
  readonly id: string; readonly name: string; readonly mtu?: number; readonly tenant_id?: string; readonly subnets: readonly string[]; readonly shared?: boolean; readonly 'router:external'?: boolean;
  readonly 'provider:physical_network'?: string | null; readonly 'provider:network_type'?: string | null; readonly dns_domain?: string; readonly port_security_enabled?: boolean;
}
/** A neutron subnet. */
export interface Subnet {
  readonly id: string; readonly network_id: string; readonly cidr: string; readonly ip_version: 4 | 6; readonly gateway_ip: string | null; readonly enable_dhcp: boolean;
  readonly dns_nameservers: readonly string[]; readonly host_routes: readonly { readonly destination: string; readonly nexthop: string }[]; readonly ipv6_address_mode?: string | null;
}
/** A floating address. */
export interface FloatingIp { readonly id: string; readonly floating_ip_address: string; readonly fixed_ip_address: string | null; readonly port_id: string | null }

/** Neutron. Filters are query parameters; an array repeats the parameter. */
export interface Neutron {
  ports(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Port[]>;
  /** @throws PORT_NOT_FOUND */
  port(scope: RequestScope, id: string): Promise<Port>;
  createPort(scope: RequestScope, port: Readonly<Record<string, unknown>>): Promise<Port>;
  updatePort(scope: RequestScope, id: string, port: Readonly<Record<string, unknown>>): Promise<Port>;
  /** 404 is fine. */
  deletePort(scope: RequestScope, id: string): Promise<void>;
  /** Makes a host's binding of a port the active one (extension `binding-extended`). That it is (409), or that there is none (404), is fine. @returns false if there is none */
  activatePortBinding(scope: RequestScope, id: string, host: string): Promise<boolean>;
  /** Deletes a host's binding of a port. 404 is fine. */
  deletePortBinding(scope: RequestScope, id: string, host: string): Promise<void>;
  networks(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Network[]>;
  subnets(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly Subnet[]>;
  floatingIps(scope: RequestScope, filters: Readonly<Record<string, string | readonly string[]>>): Promise<readonly FloatingIp[]>;
  /** Security groups of a project: id and name only (`fields=id&fields=name&tenant_id=`). */
  securityGroups(scope: RequestScope, projectId: string): Promise<readonly { readonly id: string; readonly name: string }[]>;
  /** Extension aliases, cached for 10 minutes. */
  extensions(scope: RequestScope): Promise<ReadonlySet<string>>;
}

/** A Glance image record. */
export interface GlanceImage {
  readonly id: string; readonly name: string | null; readonly status: string; readonly size: number | null; readonly min_disk: number; readonly min_ram: number;
  readonly disk_format: string | null; readonly container_format: string | null; readonly checksum: string | null;
  readonly os_hash_algo: string | null; readonly os_hash_value: string | null; readonly properties: Readonly<Record<string, unknown>>;
}
/** Glance. */
export interface Glance {
  /** @throws IMAGE_NOT_FOUND */
  image(scope: RequestScope, id: string): Promise<GlanceImage>;
  /** Deletes an image record; 404 is fine. */
  deleteImage(scope: RequestScope, id: string): Promise<void>;
  /** Images with these properties (an image's own or a user's), newest first. */
  images(scope: RequestScope, filters: Readonly<Record<string, string>>): Promise<readonly GlanceImage[]>;
  /** Sets attributes and properties; all others stay. @throws IMAGE_NOT_FOUND */
  updateImage(scope: RequestScope, id: string, values: Readonly<Record<string, string | number>>): Promise<void>;
  /**
   * Stores the image's bytes, as they come; `disk_format` and `container_format` must be set. Never retried. The image is `active` afterwards.
   * @param sent told the bytes so far
   * @throws the stream's own error, IMAGE_NOT_FOUND (also if it was deleted meanwhile), REST_FAILED, REST_UNREACHABLE; the image is then in an undefined state
   */
  upload(scope: RequestScope, id: string, bytes: Readable, sent?: (bytes: number) => void): Promise<void>;
  /** The image's bytes. @throws IMAGE_NOT_FOUND, IMAGE_UNACCEPTABLE (no data) */
  download(scope: RequestScope, id: string): Promise<Readable>;
}

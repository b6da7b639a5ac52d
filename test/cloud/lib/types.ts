/** What the APIs answer, as far as the tests look at it. */

/** A server. */
export interface Server {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly addresses: Readonly<Record<string, readonly { readonly addr: string; readonly version: 4 | 6; readonly 'OS-EXT-IPS-MAC:mac_addr': string }[]>>;
  readonly fault?: { readonly code: number; readonly message: string; readonly details?: string };
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly 'OS-EXT-STS:vm_state': string;
  readonly 'OS-EXT-STS:power_state': number;
  readonly 'OS-EXT-SRV-ATTR:host': string | null;
  readonly 'OS-EXT-SRV-ATTR:instance_name': string;
}

/** An action of a server, with its events. */
export interface Action {
  readonly action: string;
  readonly message: string | null;
  readonly request_id: string;
  readonly events: readonly { readonly event: string; readonly result: string | null; readonly finish_time: string | null; readonly host?: string; readonly traceback?: string | null }[];
}

/** A port. */
export interface Port {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly device_id: string;
  readonly device_owner: string;
  readonly mac_address: string;
  readonly network_id: string;
  readonly fixed_ips: readonly { readonly ip_address: string; readonly subnet_id: string }[];
  readonly 'binding:host_id'?: string;
  readonly 'binding:vif_type'?: string;
  readonly 'binding:profile'?: Readonly<Record<string, unknown>>;
}

/** A compute service. */
export interface Service {
  readonly id: string;
  readonly host: string;
  readonly binary: string;
  readonly state: 'up' | 'down';
  readonly status: 'enabled' | 'disabled';
  readonly forced_down: boolean;
  readonly updated_at: string;
}

/** A hypervisor. */
export interface Hypervisor {
  readonly id: string;
  readonly hypervisor_hostname: string;
  readonly hypervisor_type: string;
  readonly state: string;
  readonly uptime?: string | null;
  readonly vcpus: number;
  readonly vcpus_used: number;
  readonly memory_mb: number;
  readonly memory_mb_used: number;
  readonly local_gb: number;
  readonly local_gb_used: number;
  readonly running_vms: number;
  readonly host_ip: string;
}

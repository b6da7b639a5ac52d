/**
 * What a container is, in the plain terms of this room. `compute/` translates Nova's Instance, RequestSpec and NetworkInfo into
 * these once; below that nobody sees a Nova object.
 */

import type { ApplicationConfig } from './application/config.js';

/** Where an image's bytes come from. `compute/` binds it to Glance with the right token. */
export interface ImageSource {
  /** Glance's image id; the cache's key together with `checksum`. */
  readonly id: string;
  /** Bytes of the stored file, if known. */
  readonly size: number | undefined;
  /** Hash that the bytes must have: algorithm by its OpenSSL name, value in hex. */
  readonly checksum: { readonly algorithm: string; readonly value: string } | undefined;
  /** The format that Glance claims, checked against the bytes. */
  readonly diskFormat: string;
  readonly containerFormat: string;
  /** The stream fails by itself unless it is what was sent, and is packed anew: `checksum` names the image and is not these bytes'. */
  readonly repacked?: boolean;
  /** True for a template: a layer to lie over others, no whole tree. */
  readonly layer?: boolean;
  /** What its servers run, where its properties say so; else what is in it counts. */
  readonly application?: ApplicationConfig;
  /** Opens the byte stream. Called only where the cache lacks the image. */
  open(signal: AbortSignal): Promise<NodeJS.ReadableStream>;
}

/** One fixed address of a network interface. */
export interface AddressSpec {
  /** `10.0.0.5` or `fd00::5`. */
  readonly address: string;
  readonly prefixLength: number;
}

/** One route. Destination `default4`/`default6` are written as `0.0.0.0/0` and `::/0`. */
export interface RouteSpec {
  readonly destination: string;
  /** Next hop; undefined: on link. */
  readonly gateway: string | undefined;
}

/** How a port is plugged on the host (os-vif: vif_plug_ovs, vif_plug_linux_bridge). */
export type PlugSpec =
  | { readonly type: 'ovs'; readonly bridge: string; readonly hybrid: boolean; /** false: the port exists already, made by somebody else */ readonly createPort: boolean; readonly datapathType: string | undefined }
  | { readonly type: 'bridge'; readonly bridge: string; readonly createBridge: boolean };

/** One network interface of a container. */
export interface VifSpec {
  /** Neutron port id. */
  readonly id: string;
  /** Host end's name: `tap` + first 11 characters of the port id. */
  readonly hostDevice: string;
  /** Name inside: `eth0`, `eth1`... in order. */
  readonly guestDevice: string;
  readonly mac: string;
  readonly mtu: number | undefined;
  readonly plug: PlugSpec;
  readonly addresses: readonly AddressSpec[];
  readonly routes: readonly RouteSpec[];
  readonly dns: readonly string[];
}

/** Limits of a container. */
export interface LimitSpec {
  readonly vcpus: number;
  /** cgroup CPU weight in v1 shares (2..262144); undefined: 1024 per vCPU. */
  readonly cpuShares: number | undefined;
  /** CFS quota and period in microseconds; undefined quota: `vcpus * period`; negative: none. */
  readonly cpuQuota: number | undefined;
  readonly cpuPeriod: number | undefined;
  readonly memoryMiB: number;
  readonly swapMiB: number;
  readonly pids: number;
  /** Size of the root disk in GiB; 0: as large as the operator's default. */
  readonly rootGiB: number;
}

/** What of a clone's identity is made anew beside its name and addresses. */
export type NewIdentity = 'keys' | 'machine-id';

/** All that a container is made from; kept on disk as `spec.json` in its directory. */
export interface ContainerSpec {
  /** Instance uuid. */
  readonly id: string;
  /** Nova's name, as `instance-0000001a`. */
  readonly name: string;
  readonly hostname: string;
  readonly imageId: string;
  /** Image ids of the templates that lie over the image's tree, each over the ones before it. */
  readonly templates?: readonly string[];
  readonly limits: LimitSpec;
  readonly vifs: readonly VifSpec[];
  /** For a container that resumes from another one's memory; nothing by default. */
  readonly newIdentity?: readonly NewIdentity[];
  /** It has files of lxcfs (`figureFiles`) over the kernel's; found out at its start. */
  readonly figures?: boolean;
  /** It rescues the one of its id that is set aside, whose root file system it has at `/mnt/rescue`. */
  readonly rescue?: true;
  /** PID 1's path and arguments; undefined: the image's `/sbin/init`. */
  readonly init: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Project, user, name shown to the host's administrator. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What a container does. `suspended`: frozen on disk; `crashed`: PID 1 ended by itself with a failure; `missing`: no trace of it on this host. */
export type ContainerState = 'running' | 'paused' | 'suspended' | 'stopped' | 'crashed' | 'missing';

/** How the host sees one container. */
export interface ContainerView {
  readonly id: string;
  readonly name: string;
  readonly state: ContainerState;
  /** Host pid of PID 1 while it lives. */
  readonly pid: number | undefined;
  readonly exitCode: number | undefined;
  readonly startedAt: string | undefined;
}

/** Usage of a running container. */
export interface ContainerStats {
  /** CPU time in nanoseconds. */
  readonly cpuNs: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly uptimeSeconds: number;
  readonly disk: { readonly readBytes: number; readonly writeBytes: number; readonly readOps: number; readonly writeOps: number };
  /** Counters as the guest sees them: rx is what it received. */
  readonly nics: readonly { readonly mac: string; readonly rxBytes: number; readonly txBytes: number; readonly rxPackets: number; readonly txPackets: number; readonly rxErrors: number; readonly txErrors: number; readonly rxDrops: number; readonly txDrops: number }[];
}

/** What a look at a new container's images found. */
export interface ImagesFound {
  /** One of them has cloud-init. */
  readonly cloudInit: boolean;
}

/** What a host offers, true figures. */
export interface HostResources {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly memoryAvailableMiB: number;
  /** Size and free space in GiB of the file system under instances_path. */
  readonly diskGiB: number;
  readonly diskFreeGiB: number;
  readonly architecture: string;
  readonly cpuModel: string;
  readonly cpuVendor: string;
  readonly cpuFlags: readonly string[];
  readonly uptime: string;
}

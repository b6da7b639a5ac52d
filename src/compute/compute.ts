/** What every file of this room works with: the doors to the rooms below, the settings, the host's identity. */
import type { ContainerHost } from '../container/container-host.js';
import type { KeyedLock, Semaphore } from '../base/lock.js';
import type { Log } from '../base/log.js';
import type { Operation } from '../base/operation.js';
import type { RpcClient, WireContext } from '../messaging/types.js';
import type { NovaObject } from '../nova/object.js';
import type { Conductor } from '../nova/types.js';
import type { Glance, Neutron, Placement } from '../openstack/types.js';
import type { LiveHauls } from './live/hauls.js';
import type { LiveQueue } from './live/queue.js';
import type { DiskTransport } from './moves/transport.js';
import type { EventWaiters } from './events.js';
import type { Notifier } from './notifier.js';
import type { Operations } from './operations.js';
import type { ResourceTracker } from './resource-tracker.js';
import type { ComputeSettings } from './settings.js';

/** The node that this service is: record id, uuid (= resource provider), name. */
export interface Node {
  /** `ComputeNode.id`; known after the first audit. */
  id: number;
  readonly uuid: string;
  readonly hypervisorHostname: string;
}

/** Everything a handler may use. */
export interface Compute {
  readonly settings: ComputeSettings;
  readonly log: Log;
  readonly conductor: Conductor;
  readonly rpc: RpcClient;
  readonly containers: ContainerHost;
  /** Undefined where the host has no certificates for it. */
  readonly transport: DiskTransport | undefined;
  /** Hauls of running containers. */
  readonly hauls: LiveHauls;
  /** Live migrations away from this host. */
  readonly live: LiveQueue;
  readonly placement: Placement;
  readonly neutron: Neutron;
  readonly glance: Glance;
  readonly node: Node;
  /** The control plane's clock, milliseconds since 1970; undefined before the first sign of life was stored. */
  readonly cloudNow: () => number | undefined;
  /** Per instance uuid: one state-changing operation at a time. */
  readonly locks: KeyedLock;
  /** Per instance uuid: one change of the info cache at a time, beside the operation that holds `locks`. */
  readonly cacheLocks: KeyedLock;
  readonly builds: Semaphore;
  readonly snapshots: Semaphore;
  /** Containers that are destroyed side by side. */
  readonly destroys: Semaphore;
  readonly events: EventWaiters;
  readonly tracker: ResourceTracker;
  readonly notifier: Notifier;
  readonly operations: Operations;
}

/** One RPC as its handler gets it. */
export interface Call {
  readonly method: string;
  readonly context: WireContext;
  /** Arguments by name, validated, objects parsed. */
  readonly args: Readonly<Record<string, unknown>>;
  readonly operation: Operation;
}

/** A call about one instance. */
export interface InstanceCall extends Call {
  readonly instance: NovaObject;
  readonly uuid: string;
}

/** The uuid of an Instance. */
export function uuidOf(instance: NovaObject): string {
  const uuid = instance.text('uuid');
  if (!uuid) throw new Error('Instance without uuid');
  return uuid;
}

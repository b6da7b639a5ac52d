/** What the nova room offers: versioned objects as typed values, the conductor, notifications (contract B, J). */
import type { WireContext } from '../messaging/types.js';
import type { NovaObject } from './object.js';

/** The control plane's release, learnt from `Service.get_minimum_version("nova-conductor")` (contract B.4). */
export type Release = 'zed' | '2025.1' | '2026.2';

/** What an `Instance.save` may demand of the stored row (contract B.5). Absent: no check; null inside the list: must be None. */
export interface SaveExpectation {
  readonly taskState?: readonly (string | null)[];
  readonly vmState?: readonly (string | null)[];
}

/**
 * The conductor's object calls. Failures arrive as RemoteFailure (decide by `className`). Every call waits until the
 * conductor answers again if the broker or the conductor is away, up to the call's time-out.
 */
export interface Conductor {
  /** Known after `connect`. */
  readonly release: Release;
  /** `Service.version` that belongs to the control plane: 64, 68, 74 or what it reports. */
  readonly serviceVersion: number;
  /** Pings until a conductor answers, then learns the release (contract A.11, B.4). */
  connect(signal: AbortSignal): Promise<void>;
  /** Class method, as `Instance.get_by_uuid`: result with objects parsed. */
  classCall(context: WireContext, object: string, method: string, args: readonly unknown[], kwargs?: Record<string, unknown>): Promise<unknown>;
  /** Instance method, as `save`: applies the updates to `object` and returns the method's result. */
  objectCall(context: WireContext, object: NovaObject, method: string, kwargs?: Record<string, unknown>, args?: readonly unknown[]): Promise<unknown>;
  /** A fresh object in the control plane's own version, with `fields` set and marked as changed. */
  create(name: string, fields: Record<string, unknown>): NovaObject;
  /**
   * Saves a sparse copy of `instance` (id, uuid and what changed) and merges the answer.
   * A call that was lost and repeated may meet its own success as UnexpectedTaskStateError: it is compared before it is believed.
   */
  saveInstance(context: WireContext, instance: NovaObject, expected?: SaveExpectation): Promise<void>;
  /** compute_task `build_instances` 1.19 (cast): reschedules a boot. */
  buildInstances(context: WireContext, args: Record<string, unknown>): Promise<void>;
  /** compute_task `migrate_server` 1.20 (call): schedules a resize again. @throws what the scheduler says */
  migrateServer(context: WireContext, args: Record<string, unknown>): Promise<void>;
  /** scheduler fanout casts of contract J.3. */
  schedulerFanout(context: WireContext, method: 'update_instance_info' | 'delete_instance_info' | 'sync_instance_info', args: Record<string, unknown>): Promise<void>;
}

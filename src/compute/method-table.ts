/**
 * All RPC methods of compute 6.x (contract C.1): their wrappers, and whether Haulier does them. `docs/rpc-methods.md` is
 * generated from this table.
 */
import type { Call, Compute, InstanceCall } from './compute.js';
import { buildAndRunInstance } from './boot/build.js';
import { triggerCrashDump } from './methods/crash-dump.js';
import { externalInstanceEvent } from './methods/external-event.js';
import { resumeInstance, suspendInstance } from './methods/freeze.js';
import { getConsoleOutput, getDiagnostics, getInstanceDiagnostics } from './methods/guest-info.js';
import { cacheImages, getHostUptime, injectNetworkInfo, setHostEnabled } from './methods/host.js';
import { attachInterface, detachInterface } from './methods/interfaces.js';
import { checkCanLiveMigrateDestination, checkCanLiveMigrateSource } from './methods/live-check.js';
import { liveMigrationAbort, liveMigrationForceComplete } from './methods/live-control.js';
import { liveMigration } from './methods/live-migration.js';
import { postLiveMigrationAtDestination } from './methods/live-post.js';
import { preLiveMigration, rollbackLiveMigrationAtDestination } from './methods/live-pre.js';
import { pauseInstance, rebootInstance, startInstance, stopInstance, unpauseInstance } from './methods/power.js';
import { quiesceInstance, unquiesceInstance } from './methods/quiesce.js';
import { rebuildInstance } from './methods/rebuild.js';
import { rescueInstance, unrescueInstance } from './methods/rescue.js';
import { confirmResize } from './methods/resize-confirm.js';
import { finishResize } from './methods/resize-finish.js';
import { prepResize } from './methods/resize-prep.js';
import { finishRevertResize, revertResize } from './methods/resize-revert.js';
import { resizeInstance } from './methods/resize.js';
import { getSerialConsole, validateConsolePort } from './methods/serial-console.js';
import { setAdminPassword } from './methods/set-admin-password.js';
import { shelveInstance, shelveOffloadInstance } from './methods/shelve.js';
import { backupInstance, snapshotInstance } from './methods/snapshot.js';
import { prepareTerminate, restoreInstance, softDeleteInstance, terminateInstance } from './methods/terminate.js';
import { unshelveInstance } from './methods/unshelve.js';
import { dropMoveClaim } from './moves/arrived.js';
import { checkInstanceSharedStorage } from './moves/shared-storage.js';
import type { NovaClass } from '../base/errors.js';

/** What happens around a method (contract C.2): T clears the task state on failure, E writes an action event, F a fault, M sets the migration to error. */
export type Wrapper = 'T' | 'E' | 'F' | 'M';

/** How a method that Haulier does not do is answered, and what is put right so that the server stays usable. */
export interface Refusal {
  readonly state: 'not yet' | 'unsupported';
  /** Exception that the caller gets, one that the API turns into a clean answer; default NotImplementedError. */
  readonly error?: NovaClass;
  /** What the sender prepared and nobody else takes back. */
  readonly repair?: 'detach volume';
}

/** A method that Haulier does. */
export type Handler =
  | { readonly state: 'done'; readonly host: (compute: Compute, call: Call) => Promise<unknown> }
  | {
    readonly state: 'done';
    readonly instance: (compute: Compute, call: InstanceCall) => Promise<unknown>;
    /** False: runs beside the instance's lock (reads, and what takes the lock itself). Default true. */
    readonly locked?: boolean;
    /** Runs before the lock is asked for. */
    readonly before?: (compute: Compute, uuid: string) => void;
  };

/** A row of the table. */
export interface Method {
  readonly since: string;
  readonly kind: 'cast' | 'call' | 'cast or call' | 'internal';
  readonly wrappers: readonly Wrapper[];
  readonly does: Handler | Refusal;
}

const novaError = (name: string, code: number): NovaClass => ({ class: name, module: 'nova.exception', code });
const notYet = (refusal: Omit<Refusal, 'state'> = {}): Refusal => ({ state: 'not yet', ...refusal });
const unsupported = (refusal: Omit<Refusal, 'state'> = {}): Refusal => ({ state: 'unsupported', ...refusal });

function row(kind: Method['kind'], wrappers: string, does: Method['does'], since = '6.0'): Method {
  return { since, kind, wrappers: [...wrappers] as Wrapper[], does };
}

const consoleType = novaError('ConsoleTypeUnavailable', 400);

/** Every method by name. */
export const methodTable: Readonly<Record<string, Method>> = {
  add_fixed_ip_to_instance: row('cast', 'F', notYet()),
  allow_share: row('cast', 'EF', unsupported(), '6.4'),
  attach_interface: row('call', 'EF', { state: 'done', instance: attachInterface }),
  attach_volume: row('cast', 'EF', unsupported({ repair: 'detach volume' })),
  backup_instance: row('cast', 'TEF', { state: 'done', instance: backupInstance, locked: false }),
  build_and_run_instance: row('cast', 'TF', { state: 'done', instance: buildAndRunInstance, locked: false }),
  cache_images: row('call', '', { state: 'done', host: cacheImages }),
  check_can_live_migrate_destination: row('call', 'EF', { state: 'done', instance: checkCanLiveMigrateDestination }),
  check_can_live_migrate_source: row('call', 'EF', { state: 'done', instance: checkCanLiveMigrateSource }),
  check_instance_shared_storage: row('call', '', { state: 'done', host: checkInstanceSharedStorage }),
  confirm_resize: row('cast or call', 'EFM', { state: 'done', instance: confirmResize }),
  confirm_snapshot_based_resize_at_source: row('call', 'EFM', unsupported()),
  deny_share: row('cast', 'EF', unsupported(), '6.4'),
  detach_interface: row('cast', 'EF', { state: 'done', instance: detachInterface }),
  detach_volume: row('cast', 'EF', unsupported()),
  drop_move_claim_at_destination: row('call', 'F', { state: 'done', host: dropMoveClaim }),
  extend_volume: row('internal', 'EF', unsupported({ error: novaError('ExtendVolumeNotSupported', 400) })),
  external_instance_event: row('cast', '', { state: 'done', host: externalInstanceEvent }),
  finish_resize: row('cast', 'TEFM', { state: 'done', instance: finishResize }),
  finish_revert_resize: row('cast', 'TEFM', { state: 'done', instance: finishRevertResize }),
  finish_revert_snapshot_based_resize_at_source: row('call', 'TEFM', unsupported()),
  finish_snapshot_based_resize_at_dest: row('call', 'TEFM', unsupported()),
  get_console_output: row('call', 'F', { state: 'done', instance: getConsoleOutput, locked: false }),
  get_diagnostics: row('call', 'F', { state: 'done', instance: getDiagnostics, locked: false }),
  get_host_uptime: row('call', '', { state: 'done', host: getHostUptime }),
  get_instance_diagnostics: row('call', 'F', { state: 'done', instance: getInstanceDiagnostics, locked: false }),
  get_mks_console: row('call', 'F', unsupported({ error: consoleType })),
  get_rdp_console: row('internal', 'F', unsupported({ error: consoleType })),
  get_serial_console: row('call', 'F', { state: 'done', instance: getSerialConsole, locked: false }),
  get_spice_console: row('call', 'F', unsupported({ error: consoleType })),
  get_vnc_console: row('call', 'F', unsupported({ error: consoleType })),
  host_maintenance_mode: row('call', '', unsupported()),
  host_power_action: row('call', '', unsupported()),
  inject_network_info: row('cast', 'F', { state: 'done', instance: injectNetworkInfo, locked: false }),
  live_migration: row('cast', 'EF', { state: 'done', instance: liveMigration, locked: false }), // it sets its migration's status itself
  live_migration_abort: row('cast', 'EF', { state: 'done', instance: liveMigrationAbort, locked: false }),
  live_migration_force_complete: row('cast', 'EF', { state: 'done', instance: liveMigrationForceComplete, locked: false }),
  pause_instance: row('cast', 'TEF', { state: 'done', instance: pauseInstance }),
  post_live_migration_at_destination: row('call', 'EF', { state: 'done', instance: postLiveMigrationAtDestination }),
  power_update: row('internal', 'TEF', unsupported()),
  pre_live_migration: row('call', 'EF', { state: 'done', instance: preLiveMigration }),
  prep_resize: row('cast', 'TEFM', { state: 'done', instance: prepResize }),
  prep_snapshot_based_resize_at_dest: row('call', 'EF', unsupported()),
  prep_snapshot_based_resize_at_source: row('call', 'TEFM', unsupported()),
  quiesce_instance: row('call', '', { state: 'done', instance: quiesceInstance }),
  reboot_instance: row('cast', 'TEF', { state: 'done', instance: rebootInstance }),
  rebuild_instance: row('cast', 'TEF', { state: 'done', instance: rebuildInstance }),
  remove_fixed_ip_from_instance: row('cast', 'F', notYet()),
  remove_volume_connection: row('call', '', unsupported()),
  rescue_instance: row('cast', 'TEF', { state: 'done', instance: rescueInstance }),
  reserve_block_device_name: row('call', 'TF', unsupported({ error: novaError('InvalidVolume', 400) })),
  resize_instance: row('cast', 'TEFM', { state: 'done', instance: resizeInstance }),
  restore_instance: row('cast', 'TEF', { state: 'done', instance: restoreInstance }),
  resume_instance: row('cast', 'TEF', { state: 'done', instance: resumeInstance }),
  revert_resize: row('cast', 'TEFM', { state: 'done', instance: revertResize }),
  revert_snapshot_based_resize_at_dest: row('call', 'TEFM', unsupported()),
  rollback_live_migration_at_destination: row('cast', 'EF', { state: 'done', instance: rollbackLiveMigrationAtDestination }),
  set_admin_password: row('call', 'TEF', { state: 'done', instance: setAdminPassword }),
  set_host_enabled: row('call', '', { state: 'done', host: setHostEnabled }),
  shelve_instance: row('cast', 'TEF', { state: 'done', instance: shelveInstance }),
  shelve_offload_instance: row('cast', 'TEF', { state: 'done', instance: shelveOffloadInstance }),
  snapshot_instance: row('cast', 'TEF', { state: 'done', instance: snapshotInstance, locked: false }),
  soft_delete_instance: row('cast', 'TEF', { state: 'done', instance: softDeleteInstance }),
  start_instance: row('cast', 'TEF', { state: 'done', instance: startInstance }),
  stop_instance: row('cast or call', 'TEF', { state: 'done', instance: stopInstance }),
  suspend_instance: row('cast', 'TEF', { state: 'done', instance: suspendInstance }),
  swap_volume: row('cast', 'EF', unsupported()),
  terminate_instance: row('cast', 'TEF', { state: 'done', instance: terminateInstance, before: prepareTerminate }),
  trigger_crash_dump: row('cast', 'EF', { state: 'done', instance: triggerCrashDump }),
  unpause_instance: row('cast', 'TEF', { state: 'done', instance: unpauseInstance }),
  unquiesce_instance: row('cast', '', { state: 'done', instance: unquiesceInstance }),
  unrescue_instance: row('cast', 'TEF', { state: 'done', instance: unrescueInstance }),
  unshelve_instance: row('cast', 'TEF', { state: 'done', instance: unshelveInstance }),
  validate_console_port: row('call', 'F', { state: 'done', instance: validateConsolePort, locked: false }),
  volume_snapshot_create: row('cast', '', unsupported()),
  volume_snapshot_delete: row('cast', '', unsupported()),
};

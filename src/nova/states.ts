/** States of instances and migrations (nova/compute/vm_states.py, task_states.py, power_state.py; nova/objects/fields.py). */

/** What an instance is, once no task runs. */
export type VmState =
  | 'active' | 'building' | 'paused' | 'suspended' | 'stopped' | 'rescued' | 'resized' | 'soft-delete' | 'deleted' | 'error' | 'shelved' | 'shelved_offloaded';

/** What is being done to an instance; null where nothing is. Mind the dashes of powering-off, powering-on and soft-deleting. */
export type TaskState =
  | 'scheduling' | 'block_device_mapping' | 'networking' | 'spawning'
  | 'image_snapshot' | 'image_snapshot_pending' | 'image_pending_upload' | 'image_uploading' | 'image_backup'
  | 'updating_password'
  | 'resize_prep' | 'resize_migrating' | 'resize_migrated' | 'resize_finish' | 'resize_reverting' | 'resize_confirming'
  | 'rebooting' | 'reboot_pending' | 'reboot_started' | 'rebooting_hard' | 'reboot_pending_hard' | 'reboot_started_hard'
  | 'pausing' | 'unpausing' | 'suspending' | 'resuming' | 'powering-off' | 'powering-on'
  | 'rescuing' | 'unrescuing'
  | 'rebuilding' | 'rebuild_block_device_mapping' | 'rebuild_spawning'
  | 'migrating' | 'deleting' | 'soft-deleting' | 'restoring'
  | 'shelving' | 'shelving_image_pending_upload' | 'shelving_image_uploading' | 'shelving_offloading' | 'unshelving';

/** Power states by name. */
export const powerStates = { NOSTATE: 0, RUNNING: 1, PAUSED: 3, SHUTDOWN: 4, CRASHED: 6, SUSPENDED: 7 } as const;

/** A power state as it is on the wire. */
export type PowerState = (typeof powerStates)[keyof typeof powerStates];

/** Status of a `Migration`. */
export type MigrationStatus =
  | 'queued' | 'accepted' | 'preparing' | 'pre-migrating' | 'migrating' | 'post-migrating' | 'finished' | 'running' | 'completed' | 'done'
  | 'confirming' | 'confirmed' | 'reverting' | 'reverted' | 'failed' | 'error' | 'cancelled';

/** Kind of a `Migration`. */
export type MigrationType = 'migration' | 'resize' | 'live-migration' | 'evacuation';

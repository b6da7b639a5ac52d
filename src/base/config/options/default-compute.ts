/** `[DEFAULT]`: what the host offers, and how servers are built, stopped and moved (nova/conf/compute.py, configdrive.py). */
import { boolean, choice, float, integer, text } from '../option.js';

/** What the host offers. */
export const resourceOptions = {
  reserved_host_cpus: integer({ default: 0, min: 0, help: 'CPUs kept for the host.' }),
  reserved_host_memory_mb: integer({ default: 512, min: 0, help: 'MiB of memory kept for the host.' }),
  reserved_host_disk_mb: integer({ default: 0, min: 0, help: 'MiB of disk kept for the host.' }),
  cpu_allocation_ratio: float({ min: 0, help: 'vCPUs for a CPU. If set it overrides what placement has.' }),
  ram_allocation_ratio: float({ min: 0, help: 'Promised for real memory. If set it overrides what placement has.' }),
  disk_allocation_ratio: float({ min: 0, help: 'Promised for real disk. If set it overrides what placement has.' }),
  // 16.0 and 1.5 until 2025.1
  initial_cpu_allocation_ratio: float({ default: 4.0, min: 0, help: 'The same for a host that registers for the first time.' }),
  initial_ram_allocation_ratio: float({ default: 1.0, min: 0, help: 'The same for a host that registers for the first time.' }),
  initial_disk_allocation_ratio: float({ default: 1.0, min: 0, help: 'The same for a host that registers for the first time.' }),
};

/** How servers are built, stopped and moved. */
export const serverOptions = {
  max_concurrent_builds: integer({ default: 10, min: 0, help: 'Builds side by side; 0: no limit.' }),
  max_concurrent_snapshots: integer({ default: 5, min: 0, help: 'Snapshots side by side; 0: no limit.' }),
  max_concurrent_live_migrations: integer({ default: 1, min: 0, help: 'Live migrations away from this host side by side; 0: no limit.' }),
  vif_plugging_timeout: integer({ default: 300, min: 0, help: 'Seconds to wait for network-vif-plugged; 0: do not wait.' }),
  vif_plugging_is_fatal: boolean({ default: true, help: 'Fail the boot when it does not come.' }),
  network_allocate_retries: integer({ default: 0, min: 0, help: 'How often a failed network allocation is tried again.' }),
  block_device_allocate_retries: integer({ default: 60, min: 0, help: 'How often a new volume is looked at until it is available.' }),
  block_device_allocate_retries_interval: integer({ default: 3, min: 0, help: 'Seconds between these looks.' }),
  max_local_block_devices: integer({ default: 3, help: 'Local disks of a server (swap, ephemeral); -1: no limit.' }),
  default_ephemeral_format: text({ help: 'File system of ephemeral disks.' }),
  default_access_ip_network_name: text({ help: 'Network whose address becomes the server\'s access address.' }),
  allow_resize_to_same_host: boolean({ default: false, help: 'Whether a resize may stay on the host.' }),
  migrate_max_retries: integer({ default: -1, min: -1, help: 'How many other hosts a live migration tries; -1: all.' }),
  live_migration_retry_count: integer({ default: 30, min: 0, help: 'How often to look for a fixed address on the destination.' }),
  shutdown_timeout: integer({ default: 60, min: 0, help: 'Seconds that a server gets to shut down before it is killed.' }),
  resume_guests_state_on_host_boot: boolean({ default: false, help: 'Start the servers that ran when the host went down.' }),
  password_length: integer({ default: 12, min: 0, help: 'Letters of a generated admin password.' }),
  force_config_drive: boolean({ default: false, help: 'Give every server a config drive.' }),
  config_drive_format: choice(['iso9660', 'vfat'], { default: 'iso9660', help: 'Accepted; a container sees the config drive as a folder.' }),
};

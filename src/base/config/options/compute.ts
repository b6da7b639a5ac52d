/** `[compute]`, `[workarounds]`, `[upgrade_levels]`, `[filter_scheduler]`, `[image_cache]` (nova/conf/, the files of these names). */
import { boolean, choice, integer, list, text, type Section } from '../option.js';

/** `[compute]`. */
export const compute = {
  help: 'The compute service.',
  options: {
    consecutive_build_service_disable_threshold: integer({ default: 10, help: 'Failed builds are reported to the scheduler unless this is 0.' }),
    resource_provider_association_refresh: integer({ default: 300, min: 0, help: 'Seconds for which what placement has about this host is kept; 0: until SIGHUP.' }),
    live_migration_wait_for_vif_plug: boolean({ default: true, help: 'Wait for network-vif-plugged of the destination before a live migration starts.' }),
    shutdown_retry_interval: integer({ default: 10, min: 1, help: 'Seconds after which the shutdown signal is sent again.' }),
    max_disk_devices_to_attach: integer({ default: -1, min: -1, help: 'Disks of one server; -1: no limit.' }),
    image_type_exclude_list: list({ default: [], help: 'Image formats that this host does not report as supported.' }),
    provider_config_location: text({ default: '/etc/nova/provider_config/', help: 'Folder of YAML files with inventories and traits to add.' }),
    sharing_providers_max_uuids_per_request: integer({ default: 200, min: 1, help: 'Providers asked for in one request to placement.' }),
    cpu_shared_set: text({ help: 'Host CPUs for vCPUs: 4-12,^8,15.' }),
    cpu_dedicated_set: text({ help: 'Host CPUs for PCPUs: 4-12,^8,15.' }),
  },
} satisfies Section;

/** `[libvirt]`: what of it holds for containers too. */
export const libvirt = {
  help: 'The options of this section that hold for containers too.',
  options: {
    rescue_image_id: text({ help: 'Image from which servers are rescued, if the request names none; without it a server\'s own one.' }),
    live_migration_completion_timeout: integer({ default: 800, min: 0, help: 'Seconds for each GiB of memory and disk (at least 2 of each) that a live migration may take; 0: no limit.' }),
    live_migration_timeout_action: choice(['abort', 'force_complete'], { default: 'abort', help: 'What is done then.' }),
  },
} satisfies Section;

/** `[workarounds]`. */
export const workarounds = {
  help: 'Exceptions from the rules.',
  options: {
    disable_group_policy_check_upcall: boolean({ default: false, help: 'No late check of server groups, which needs the API database.' }),
    skip_hypervisor_version_check_on_lm: boolean({ default: false, help: 'Live migration to an older hypervisor version is allowed.' }),
    disable_compute_service_check_for_ffu: boolean({ default: false, help: 'Too old services in the cloud are a warning, not an error.' }),
    handle_virt_lifecycle_events: boolean({ default: true, help: 'A container that ends by itself changes its server\'s power state at once.' }),
    wait_for_vif_plugged_event_during_hard_reboot: list({ default: [], help: 'VNIC types for which a hard reboot waits for network-vif-plugged.' }),
    reserve_disk_resource_for_image_cache: boolean({ default: false, help: 'The image cache counts as reserved disk.' }),
  },
} satisfies Section;

/** `[upgrade_levels]`. */
export const upgrade_levels = {
  help: 'RPC version caps.',
  options: {
    compute: text({ help: 'Highest version sent to compute services: a number, a release name, or auto.' }),
    conductor: text({ help: 'The same for conductors.' }),
    baseapi: text({ help: 'The same for the base API.' }),
  },
} satisfies Section;

/** `[filter_scheduler]`: what a compute service reads of it. */
export const filter_scheduler = {
  help: 'The scheduler.',
  options: {
    track_instance_changes: boolean({ default: true, help: 'Tell the schedulers which servers this host has.' }),
  },
} satisfies Section;

/** `[image_cache]`. */
export const image_cache = {
  help: 'The image cache.',
  options: {
    manager_interval: integer({ default: 2400, min: -1, deprecated: ['DEFAULT.image_cache_manager_interval'], help: 'Seconds between clean-ups; 0: 60, -1: never.' }),
    subdirectory_name: text({ default: '_base', deprecated: ['DEFAULT.image_cache_subdirectory_name'], help: 'Folder under instances_path.' }),
    remove_unused_base_images: boolean({ default: true, deprecated: ['DEFAULT.remove_unused_base_images'], help: 'Remove images that no server uses.' }),
    remove_unused_original_minimum_age_seconds: integer({ default: 86400, deprecated: ['DEFAULT.remove_unused_original_minimum_age_seconds'], help: 'Only if unused for so many seconds.' }),
    precache_concurrency: integer({ default: 1, min: 1, help: 'Hosts that fetch an image side by side (the conductor reads it).' }),
  },
} satisfies Section;

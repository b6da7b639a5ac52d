/** From the option table to the plain options of each room. */
import { dirname } from 'node:path';
import type { Config, LoadedConfig } from '../base/config/load.js';
import { HaulierError } from '../base/errors.js';
import { findCommand } from '../base/run.js';
import type { ContainerHostOptions } from '../container/container-host.js';
import type { SerialPorts } from '../container/serial-consoles.js';
import type { ComputeSettings } from '../compute/settings.js';
import type { HaulSettings } from '../haul/settings.js';
import type { MessagingOptions } from '../messaging/options.js';
import type { AuthOptions } from '../openstack/auth-options.js';
import type { OpenstackOptions } from '../openstack/openstack.js';

/** Options of the messaging room. @throws CONFIG_INVALID without a transport_url */
export function messagingOptions(config: Config): MessagingOptions {
  const { DEFAULT } = config;
  if (!DEFAULT.transport_url) throw new HaulierError('CONFIG_INVALID', { file: 'configuration', section: 'DEFAULT', option: 'transport_url', problem: 'is needed' });
  return {
    transportUrl: DEFAULT.transport_url,
    controlExchange: DEFAULT.control_exchange,
    rpcResponseTimeout: DEFAULT.rpc_response_timeout,
    executorThreadPoolSize: DEFAULT.executor_thread_pool_size,
    program: 'haulier',
    rabbit: config.oslo_messaging_rabbit as MessagingOptions['rabbit'] & object,
  };
}

/** Options of the container room. */
export function containerOptions(config: Config): ContainerHostOptions {
  const { haulier, DEFAULT, os_vif_ovs } = config;
  return {
    instancesPath: DEFAULT.instances_path,
    host: DEFAULT.host,
    runPath: haulier.run_path,
    runc: findCommand(haulier.runc), // conmon takes only a path
    conmon: haulier.conmon,
    criu: haulier.criu,
    ovsVsctl: haulier.ovs_vsctl,
    ovsdbConnection: os_vif_ovs.ovsdb_connection,
    cgroupParent: haulier.cgroup_parent,
    subidBase: haulier.subid_base,
    subidRanges: haulier.subid_ranges,
    defaultRootGiB: haulier.default_root_gb,
    imageMaxBytes: haulier.image_max_bytes,
    imageMaxEntries: haulier.image_max_entries,
    imageTimeoutSeconds: haulier.image_timeout,
    consoleLogBytes: haulier.console_log_bytes,
    networkMtu: os_vif_ovs.network_device_mtu,
    serial: serialPorts(config),
    lazyResume: haulier.lazy_resume,
    quiesceSeconds: haulier.quiesce_timeout,
    lxcfs: haulier.lxcfs_path || undefined,
    crashDumps: { path: haulier.crash_dump_path || undefined, keep: haulier.crash_dump_keep, maxBytes: haulier.crash_dump_max_bytes },
    snapshotKey: haulier.snapshot_key,
  };
}

const defaultSerialPorts = { first: 10_000, end: 20_000 };

/** Where serial consoles are; a range that is none is the default one, as Nova takes it (nova/console/serial.py `_get_port_range`). */
function serialPorts({ serial_console: { enabled, port_range: range, proxyclient_address: address } }: Config): SerialPorts | undefined {
  if (!enabled) return undefined;
  const [first = NaN, end = NaN] = range.split(':').map(Number);
  return { address, ...(first < end && end <= 65_536 ? { first, end } : defaultSerialPorts) };
}

/** Settings of the haul room. */
export function haulSettings(config: Config): HaulSettings {
  const { haulier, DEFAULT } = config;
  return {
    host: DEFAULT.host, ca: haulier.haul_ca, cert: haulier.haul_cert, key: haulier.haul_key,
    address: haulier.haul_address, port: haulier.haul_port, bandwidthMiB: haulier.haul_bandwidth, compression: haulier.haul_compression,
    policy: { mode: haulier.haul_mode, permitPostCopy: haulier.haul_permit_post_copy, preCopyFromMiB: haulier.haul_pre_copy_from },
  };
}

type AuthSection = Config['neutron'] | Config['placement'] | Config['glance'];
type Credentials = Omit<Config['service_user'], 'send_service_user_token'>;

function credentials(section: string, values: Credentials): AuthOptions {
  return {
    section,
    authType: values.auth_type, authUrl: values.auth_url, username: values.username, userId: values.user_id, password: values.password,
    userDomainId: values.user_domain_id, userDomainName: values.user_domain_name, projectId: values.project_id, projectName: values.project_name,
    projectDomainId: values.project_domain_id, projectDomainName: values.project_domain_name, defaultDomainId: values.default_domain_id,
    defaultDomainName: values.default_domain_name, domainId: values.domain_id, domainName: values.domain_name, systemScope: values.system_scope,
    cafile: values.cafile, certfile: values.certfile, keyfile: values.keyfile, insecure: values.insecure, timeout: values.timeout,
  };
}

function endpoint(section: string, values: AuthSection): AuthOptions {
  return {
    ...credentials(section, values),
    regionName: values.region_name, validInterfaces: values.valid_interfaces, endpointOverride: values.endpoint_override,
    serviceType: values.service_type, retries: values.connect_retries,
  };
}

/** Options of the openstack room. */
export function openstackOptions(config: Config): OpenstackOptions {
  const glance = endpoint('glance', config.glance);
  return {
    placement: endpoint('placement', config.placement),
    neutron: endpoint('neutron', config.neutron),
    glance: { ...glance, endpointOverride: config.glance.endpoint_override ?? config.glance.api_servers?.[0], retries: config.glance.num_retries },
    serviceUser: credentials('service_user', config.service_user),
    sendServiceUserToken: config.service_user.send_service_user_token,
    associationRefreshSeconds: config.compute.resource_provider_association_refresh,
  };
}

/** Settings of the compute room. */
export function computeSettings(loaded: LoadedConfig): ComputeSettings {
  const { DEFAULT, haulier, filter_scheduler, workarounds, api, neutron, image_cache, compute, libvirt } = loaded.config;
  return {
    host: DEFAULT.host,
    hypervisorHostname: haulier.hypervisor_hostname,
    myIp: DEFAULT.my_ip,
    statePath: DEFAULT.state_path,
    instancesPath: DEFAULT.instances_path,
    configDirs: loaded.files.map(dirname),
    instanceNameTemplate: DEFAULT.instance_name_template,
    reportInterval: DEFAULT.report_interval,
    serviceDownTime: DEFAULT.service_down_time,
    updateResourcesInterval: DEFAULT.update_resources_interval,
    syncPowerStateInterval: DEFAULT.sync_power_state_interval,
    healInfoCacheInterval: DEFAULT.heal_instance_info_cache_interval,
    runningDeletedAction: DEFAULT.running_deleted_instance_action,
    runningDeletedPollInterval: DEFAULT.running_deleted_instance_poll_interval,
    runningDeletedTimeout: DEFAULT.running_deleted_instance_timeout,
    instanceDeleteInterval: DEFAULT.instance_delete_interval,
    reclaimInstanceInterval: DEFAULT.reclaim_instance_interval,
    periodicEnable: DEFAULT.periodic_enable,
    periodicFuzzyDelay: DEFAULT.periodic_fuzzy_delay,
    resumeGuestsOnHostBoot: DEFAULT.resume_guests_state_on_host_boot,
    reservedCpus: DEFAULT.reserved_host_cpus,
    reservedMemoryMb: DEFAULT.reserved_host_memory_mb,
    reservedDiskMb: DEFAULT.reserved_host_disk_mb,
    cpuAllocationRatio: DEFAULT.cpu_allocation_ratio || undefined,
    ramAllocationRatio: DEFAULT.ram_allocation_ratio || undefined,
    diskAllocationRatio: DEFAULT.disk_allocation_ratio || undefined,
    initialCpuAllocationRatio: DEFAULT.initial_cpu_allocation_ratio,
    initialRamAllocationRatio: DEFAULT.initial_ram_allocation_ratio,
    initialDiskAllocationRatio: DEFAULT.initial_disk_allocation_ratio,
    vifPluggingTimeout: DEFAULT.vif_plugging_timeout,
    vifPluggingIsFatal: DEFAULT.vif_plugging_is_fatal,
    maxConcurrentBuilds: DEFAULT.max_concurrent_builds,
    maxConcurrentSnapshots: DEFAULT.max_concurrent_snapshots,
    maxConcurrentLiveMigrations: DEFAULT.max_concurrent_live_migrations,
    liveMigrationWaitForVifPlug: compute.live_migration_wait_for_vif_plug,
    liveMigrationCompletionTimeout: libvirt.live_migration_completion_timeout,
    liveMigrationTimeoutAction: libvirt.live_migration_timeout_action,
    haulPermitRestart: haulier.haul_permit_restart,
    liveLookMs: DEFAULT.service_down_time * 500,
    shelvedOffloadTime: DEFAULT.shelved_offload_time,
    shelvedPollInterval: DEFAULT.shelved_poll_interval,
    resizeConfirmWindow: DEFAULT.resize_confirm_window,
    shutdownTimeout: DEFAULT.shutdown_timeout,
    ovsBridge: neutron.ovs_bridge,
    trackInstanceChanges: filter_scheduler.track_instance_changes,
    disableGroupPolicyCheck: workarounds.disable_group_policy_check_upcall,
    disableServiceVersionCheck: workarounds.disable_compute_service_check_for_ffu,
    imageCacheInterval: image_cache.manager_interval,
    removeUnusedImages: image_cache.remove_unused_base_images,
    removeUnusedImagesSeconds: image_cache.remove_unused_original_minimum_age_seconds,
    pidsLimit: haulier.pids_limit,
    rescueImageId: loaded.config.libvirt.rescue_image_id,
    serialBaseUrl: loaded.config.serial_console.base_url,
    consoleTokenTtl: loaded.config.consoleauth.token_ttl,
    dhcpDomain: api.dhcp_domain,
    forceConfigDrive: DEFAULT.force_config_drive,
    configDriveSkipVersions: api.config_drive_skip_versions.split(' '),
    vendorData: { providers: api.vendordata_providers, file: api.vendordata_jsonfile_path || undefined, targets: api.vendordata_dynamic_targets, failureFatal: api.vendordata_dynamic_failure_fatal },
  };
}

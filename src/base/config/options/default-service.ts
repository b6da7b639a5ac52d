/** `[DEFAULT]`: who this service is, its messaging, its log, its periodic tasks (nova/conf/netconf.py, paths.py, service.py, rpc.py, compute.py; oslo.messaging, oslo.log). */
import { boolean, choice, integer, text, typed, type HostFacts } from '../option.js';
import { hostDomainType } from '../types.js';

/** Names and paths. */
export const identityOptions = {
  host: typed(hostDomainType, { default: (facts: HostFacts) => facts.hostName, sample: '<host name>', help: 'Name of this service: its queue, the host of its servers and of its port bindings. Must be the name of this host\'s neutron agent.' }),
  my_ip: text({ default: (facts: HostFacts) => facts.address, sample: '<address of this host>', help: 'Address of this host on the management network; the ComputeNode\'s host_ip.' }),
  my_block_storage_ip: text({ default: '$my_ip', help: 'Address of this host on the block storage network.' }),
  pybasedir: text({ default: '/usr/lib/python3/dist-packages', help: 'Where Nova\'s modules lie. Haulier uses it only where another value refers to $pybasedir.' }),
  // nova's own default is $pybasedir, which no package leaves so
  state_path: text({ default: '/var/lib/nova', help: 'Folder of the service\'s state; holds compute_id.' }),
  instances_path: text({ default: '$state_path/instances', help: 'Folder of the servers, one folder each, and of the image cache.' }),
  default_availability_zone: text({ default: 'nova', help: 'Availability zone of compute services that are in none.' }),
  internal_service_availability_zone: text({ default: 'internal', help: 'Availability zone of the other services.' }),
  enable_new_services: boolean({ default: true, help: 'Enable this service when it registers for the first time.' }),
  instance_name_template: text({ default: 'instance-%08x', help: 'Python format of OS-EXT-SRV-ATTR:instance_name, from the instance\'s row id.' }),
};

/** Messaging. */
export const messagingOptions = {
  transport_url: text({ default: 'rabbit://', secret: true, help: 'Brokers: rabbit://user:password@host:5672,user:password@host2:5672/vhost. Password and names percent-encoded.' }),
  // oslo.messaging's own default is openstack; every Nova service sets nova
  control_exchange: text({ default: 'nova', help: 'Exchange of the RPC topics.' }),
  rpc_response_timeout: integer({ default: 60, help: 'Seconds to wait for the answer to a call.' }),
  long_rpc_timeout: integer({ default: 1800, help: 'Seconds to wait for the answer to a long call; signs of life every rpc_response_timeout.' }),
  executor_thread_pool_size: integer({ default: 64, deprecated: ['rpc_thread_pool_size'], help: 'Requests that are handled side by side.' }),
};

/** The log. */
export const logOptions = {
  debug: boolean({ default: false, help: 'Log level debug instead of info.' }),
  log_file: text({ deprecated: ['logfile'], help: 'File to log to; relative to log_dir. Standard error if not set.' }),
  log_dir: text({ deprecated: ['logdir'], help: 'Folder of log_file.' }),
  use_json: boolean({ default: false, help: 'One JSON object a line on a terminal too; into files and pipes it is always so.' }),
  use_stderr: boolean({ default: false, help: 'Log to standard error as well when log_file is set.' }),
};

/** The service record and the periodic tasks. Seconds; for spacings 0 is the default of 60 and a negative number is never. */
export const periodicOptions = {
  report_interval: integer({ default: 10, help: 'Seconds between reports that the service is alive.' }),
  service_down_time: integer({ default: 60, help: 'Seconds without a report after which a service counts as down.' }),
  periodic_enable: boolean({ default: true, help: 'Run periodic tasks at all.' }),
  periodic_fuzzy_delay: integer({ default: 60, min: 0, help: 'Longest random delay in seconds before the first periodic task.' }),
  manager_shutdown_timeout: integer({ default: 160, min: 0, help: 'Seconds that running operations get when the service stops.' }),
  update_resources_interval: integer({ default: 0, help: 'Seconds between reports of the host\'s resources.' }),
  sync_power_state_interval: integer({ default: 600, help: 'Seconds between comparisons of power states with the database.' }),
  // 1000 until 2025.1
  sync_power_state_pool_size: integer({ default: 5, help: 'Servers compared side by side.' }),
  // 60 until 2025.1
  heal_instance_info_cache_interval: integer({ default: -1, help: 'Seconds between refreshes of one server\'s network information.' }),
  running_deleted_instance_action: choice(['reap', 'log', 'shutdown', 'noop'], { default: 'reap', help: 'What to do with a container whose server was deleted.' }),
  running_deleted_instance_poll_interval: integer({ default: 1800, help: 'Seconds between looks for such containers.' }),
  running_deleted_instance_timeout: integer({ default: 0, help: 'Seconds since the deletion before anything is done.' }),
  instance_delete_interval: integer({ default: 300, help: 'Seconds between retries to delete left-over files.' }),
  maximum_instance_delete_attempts: integer({ default: 5, min: 1, help: 'How often left-over files are tried.' }),
  reclaim_instance_interval: integer({ default: 0, help: 'Seconds for which a deleted server can be restored; 0: deleted at once.' }),
  scheduler_instance_sync_interval: integer({ default: 120, help: 'Seconds between lists of this host\'s servers to the schedulers.' }),
  shelved_offload_time: integer({ default: 0, help: 'Seconds after which a shelved server leaves the host; 0 at once, -1 never.' }),
  shelved_poll_interval: integer({ default: 3600, help: 'Seconds between looks for shelved servers to offload.' }),
  resize_confirm_window: integer({ default: 0, min: 0, help: 'Seconds after which a resize confirms itself; 0 never.' }),
  rescue_timeout: integer({ default: 0, min: 0, help: 'Seconds after which a rescued server is unrescued; 0 never.' }),
  reboot_timeout: integer({ default: 0, min: 0, help: 'Seconds after which a stuck reboot becomes a hard reboot; 0 never.' }),
  instance_build_timeout: integer({ default: 0, min: 0, help: 'Seconds after which a build counts as failed; 0 never.' }),
  volume_usage_poll_interval: integer({ default: 0, help: 'Seconds between reports of volume usage; 0 never.' }),
  instance_usage_audit: boolean({ default: false, help: 'Send compute.instance.exists once a period.' }),
  instance_usage_audit_period: text({ default: 'month', help: 'The period: hour, day, month or year, with @offset.' }),
};

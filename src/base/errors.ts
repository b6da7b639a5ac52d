/**
 * The one table of errors: code, message, the Nova exception that a caller gets, and what the operator can do.
 * `docs/errors.md` is generated from it.
 */

/** How an error looks to Nova: class and HTTP-like code of `nova.exception` (nova/exception.py). */
export interface NovaClass {
  /** Class name in `module`; must exist in every supported release. */
  readonly class: string;
  /** Python module; `nova.exception` or `builtins`. */
  readonly module: 'nova.exception' | 'builtins';
  /** The class's `code` attribute, sent in `kwargs`. */
  readonly code: number;
}

interface ErrorRow {
  /** Message; `{name}` is replaced by the detail of that name. */
  readonly message: string;
  readonly nova: NovaClass;
  /** What the operator or user can do about it. */
  readonly advice: string;
}

const nova = (name: string, code: number): NovaClass => ({ class: name, module: 'nova.exception', code });
const notImplemented: NovaClass = { class: 'NotImplementedError', module: 'builtins', code: 501 };

/** Every error that Haulier raises itself. */
export const errorTable = {
  CONFIG_INVALID: { message: '{file}: [{section}] {option}: {problem}', nova: nova('ConfigurationInvalid', 500), advice: 'Correct the option in the named file.' },
  COMMAND_FAILED: { message: '{command} failed ({outcome}): {stderr}', nova: nova('NovaException', 500), advice: 'Read the tail of its error output.' },
  COMMAND_TIMEOUT: { message: '{command} did not finish within {seconds} s: {stderr}', nova: nova('NovaException', 500), advice: 'Look for a stuck device or an overloaded host.' },
  CANCELLED: { message: '{what} was given up: {reason}', nova: nova('NovaException', 500), advice: 'Nothing; the operation was cancelled or its service stopped.' },
  DEADLINE: { message: '{what} took longer than {seconds} s', nova: nova('NovaException', 500), advice: 'Look at what it waited for.' },
  UNSUPPORTED: { message: '{what} is not supported by Haulier', nova: notImplemented, advice: 'See docs/rpc-methods.md.' },
  BAD_ARGUMENT: { message: '{method}: argument {argument}: {problem}', nova: nova('Invalid', 400), advice: 'The sender does not follow the RPC contract; compare the Nova releases.' },
  IMAGE_UNACCEPTABLE: { message: 'Image {image} is unacceptable: {reason}', nova: nova('ImageUnacceptable', 400), advice: 'Upload a root file system as tarball, SquashFS or disk (raw or qcow2, container format bare), or an OCI layout or docker save archive (container format docker): docs/images.md.' },
  IMAGE_NOT_FOUND: { message: 'Image {image} could not be found.', nova: nova('ImageNotFound', 404), advice: 'The image was deleted or is not visible to the project.' },
  IMAGE_TOO_LARGE: { message: 'Image {image} is too large for the flavor: {reason}', nova: nova('FlavorDiskSmallerThanImage', 400), advice: 'Use a flavor with a larger root disk.' },
  DISK_SHRINK: { message: 'Resize error: Unable to resize disk down: it has {now} GiB, the new flavor {wanted}', nova: nova('ResizeError', 500), advice: 'Choose a flavor whose root disk is not smaller.' },
  TEMPLATE_UNACCEPTABLE: { message: 'Template {template} cannot be attached: {reason}', nova: nova('ImageUnacceptable', 400), advice: 'Correct haulier:templates of the image, the flavor or the server (docs/templates.md).' },
  TEMPLATE_CAPTURE: { message: 'No template can be captured: {reason}', nova: nova('Invalid', 400), advice: 'Mark the container, install, then capture (docs/templates.md).' },
  DISK_FULL: { message: 'No space left on {path}: {reason}', nova: nova('NovaException', 500), advice: 'Free space under instances_path.' },
  INSTANCE_NOT_FOUND: { message: 'Instance {instance} could not be found.', nova: nova('InstanceNotFound', 404), advice: 'The container does not exist on this host.' },
  INSTANCE_STATE: { message: 'Instance {instance} in state {state}: cannot {action} while the instance is in this state.', nova: nova('InstanceInvalidState', 409), advice: 'Bring the instance into the right state first.' },
  INSTANCE_NOT_RUNNING: { message: 'Instance {instance} is not running.', nova: nova('InstanceNotRunning', 400), advice: 'Start it first.' },
  INSTANCE_BUSY: { message: 'Instance {instance} is busy with {operation}', nova: nova('InstanceInvalidState', 409), advice: 'Wait for the operation to end.' },
  PORT_BINDING_FAILED: { message: 'Binding failed for port {port}, please check neutron logs for more information.', nova: nova('PortBindingFailed', 500), advice: 'Is the agent of this host alive, and does the host name match?' },
  PORT_IN_USE: { message: 'Port {port} is still in use.', nova: nova('PortInUse', 409), advice: 'Name a free port.' },
  PORT_NOT_FOUND: { message: 'Port id {port} could not be found.', nova: nova('PortNotFound', 404), advice: 'Name an existing port.' },
  NETWORK_NOT_FOUND: { message: 'Network {network} could not be found.', nova: nova('NetworkNotFound', 404), advice: 'Name an existing network.' },
  NETWORK_AMBIGUOUS: { message: 'More than one possible network found. Specify network ID(s) to select which one(s) to connect to.', nova: nova('NetworkAmbiguous', 409), advice: 'Name a network.' },
  NETWORK_FAILED: { message: 'Failed to allocate the network(s): {reason}', nova: nova('NovaException', 500), advice: 'Read neutron\'s answer in the message.' },
  PORT_LIMIT: { message: 'Maximum number of ports exceeded', nova: nova('PortLimitExceeded', 403), advice: 'Raise the project\'s quota of ports, or delete some.' },
  ADDRESS_IN_USE: { message: 'Fixed IP address {address} is already in use on network {network}.', nova: nova('FixedIpAlreadyInUse', 409), advice: 'Name a free address, or none.' },
  ADDRESSES_EXHAUSTED: { message: 'No fixed IP addresses available for network: {network}', nova: nova('NoMoreFixedIps', 400), advice: 'Give the network a larger subnet.' },
  INTERFACE_TAG: { message: 'Tagged network interface attachment is not supported for this server instance.', nova: nova('NetworkInterfaceTaggedAttachNotSupported', 400), advice: 'Attach it without a tag.' },
  INTERFACE_ATTACH_FAILED: { message: 'Failed to attach network adapter device to {instance}: {reason}', nova: nova('InterfaceAttachFailed', 500), advice: 'The server is as before, and a port that was made for it is gone. Read the reason.' },
  INTERFACE_DETACH_FAILED: { message: 'Failed to detach network adapter device from {instance}: {reason}', nova: nova('InterfaceDetachFailed', 500), advice: 'Read the reason and detach it again.' },
  VIF_PLUG_FAILED: { message: 'Virtual interface creation failed: {reason}', nova: nova('VirtualInterfaceCreateException', 500), advice: 'Is the bridge there, and is the agent of this host alive?' },
  VIF_PLUG_TIMEOUT: { message: 'No network-vif-plugged for port {port} within {seconds} s', nova: nova('VirtualInterfaceCreateException', 500), advice: 'Is the agent of this host alive?' },
  VIF_UNSUPPORTED: { message: 'Port {port}: VIF type {type} is not supported', nova: nova('VirtualInterfacePlugException', 500), advice: 'Haulier plugs ovs and bridge ports.' },
  NO_RESOURCES: { message: 'Insufficient compute resources: {reason}.', nova: nova('ComputeResourcesUnavailable', 400), advice: 'Schedule elsewhere or free resources.' },
  RUNTIME_FAILED: { message: 'The container runtime failed to {action}: {reason}', nova: nova('NovaException', 500), advice: 'Read the reason; `haulier check` says whether the host is fit.' },
  NOT_RESCUABLE: { message: 'Instance {instance} cannot be rescued: {reason}', nova: nova('InstanceNotRescuable', 400), advice: 'Read the reason; name another rescue image. The server is as before if it is not in error.' },
  SUSPEND_FAILED: { message: 'Failed to suspend instance: {reason}', nova: nova('InstanceSuspendFailure', 400), advice: 'The server runs on as before; `haulier can-freeze` names what stands in the way.' },
  RESUME_FAILED: { message: 'Failed to resume instance: {reason}', nova: nova('InstanceResumeFailure', 400), advice: 'Its images are kept: mend the cause and resume again, or reboot it hard to start it without its memory.' },
  QUIESCE_FAILED: { message: 'Failed to quiesce instance: {reason}', nova: nova('InstanceQuiesceFailed', 409), advice: 'The server runs on; its /etc/qemu/fsfreeze-hook failed.' },
  PASSWORD_FAILED: { message: 'Failed to set admin password on {instance} because {reason}', nova: nova('InstancePasswordSetFailed', 500), advice: 'The password is as it was. The account is root, or what the image\'s os_admin_user says.' },
  CRASH_DUMP_UNSUPPORTED: { message: 'Triggering crash dump is not supported: {reason}', nova: nova('TriggerCrashDumpNotSupported', 400), advice: 'Set crash_dump_path in [haulier]; core files are made on x86-64 only.' },
  CRASH_DUMP_FAILED: { message: 'No crash dump of the instance could be made: {reason}', nova: nova('NovaException', 500), advice: 'The server runs on as before; `haulier can-freeze` names what stands in the way.' },
  SNAPSHOT_KEY: { message: 'Snapshots with memory need the option snapshot_key of [haulier]: {reason}', nova: nova('Invalid', 400), advice: 'Make a key with `haulier snapshot-key` and give every host of the deployment the same file.' },
  MEMORY_SNAPSHOT_FAILED: { message: 'Failed to snapshot instance with its memory: {reason}', nova: nova('NovaException', 500), advice: 'The server goes on as before; `haulier can-freeze` names what stands in the way. Without `haulier:memory` its disk alone can be taken.' },
  MEMORY_IMAGE_REFUSED: { message: 'Image {image} is a snapshot with memory and is refused: {reason}', nova: nova('ImageUnacceptable', 400), advice: 'Nothing of it has run. See docs/snapshots.md; if nobody changed the image, take the snapshot again.' },
  MEMORY_IMAGE_MISFIT: { message: 'Image {image} is a snapshot with memory that this host cannot resume: {reason}', nova: nova('ComputeResourcesUnavailable', 400), advice: 'Boot it on a host with such a CPU, kernel and criu.' },
  HAUL_UNREACHABLE: { message: 'Migration error: {host} cannot be reached at {address}: {reason}', nova: nova('MigrationError', 500), advice: 'Is the service of that host up, and do both hosts have haul_ca, haul_cert and haul_key of the same deployment?' },
  HAUL_REFUSED: { message: 'Migration error: the other host refuses: {reason}', nova: nova('MigrationError', 500), advice: 'Try again: a haul is announced once and for a short time. Read the other host\'s log.' },
  HAUL_VERSION: { message: 'Migration error: the other host speaks version {theirs} of the haul protocol, this one {ours}', nova: nova('MigrationError', 500), advice: 'Bring both hosts to the same release.' },
  HAUL_LOST: { message: 'Migration error: the other host was lost: {reason}', nova: nova('MigrationError', 500), advice: 'Look at the network between the hosts and at the other host\'s service.' },
  HAUL_ABORTED: { message: 'Migration error: the other host gave up: {reason}', nova: nova('MigrationError', 500), advice: 'Read the reason; the other host\'s log has more.' },
  HAUL_PROTOCOL: { message: 'Migration error: the other host breaks the haul protocol: {reason}', nova: nova('MigrationError', 500), advice: 'Bring both hosts to the same release; if they are, this is a bug.' },
  HAUL_DAMAGED: { message: 'Migration error: {what} arrived damaged: {reason}', nova: nova('MigrationError', 500), advice: 'Try again; look at the disks and memory of both hosts.' },
  HAUL_FAILED: { message: 'Migration error: {reason}', nova: nova('MigrationError', 500), advice: 'Read the reason; the server is where it was.' },
  HAUL_NO_DECISION: { message: 'There is nothing to decide about a haul of {instance}: {reason}', nova: nova('Conflict', 409), advice: 'An operator decides only where the destination does not answer and this host\'s record says `offered`: `haulier haul watch` shows the stage `asking`.' },
  HAUL_OFF: { message: 'Migration error: this host takes part in no hauls: {reason}', nova: nova('MigrationError', 500), advice: 'Set haul_ca, haul_cert and haul_key in [haulier].' },
  LIVE_MIGRATION_REFUSED: { message: 'Migration pre-check error: {reason}', nova: nova('MigrationPreCheckError', 500), advice: 'The server runs on where it is. Mend what the reason names, or name another host.' },
  LIVE_MIGRATION_STATE: { message: 'Migration {migration} state of instance {instance} is {state}. Cannot {method} while the migration is in this state.', nova: nova('InvalidMigrationState', 400), advice: 'Look at the migration: it is over, or past the point from which it only goes on.' },
  LIVE_MIGRATION_LOST: { message: 'Instance {instance} is not running: its container was hauled to {host}, but is not there', nova: nova('InstanceNotRunning', 400), advice: 'Look for the container on both hosts and in their logs, before the server is rebuilt or deleted.' },
  EVACUATION_REFUSED: { message: 'The server cannot be evacuated: it was on its way to {host} in a live migration, and {reason}', nova: nova('InstanceEvacuateNotSupported', 400), advice: 'Two of it would run. Where it has arrived that host takes it over by itself; a host that does not answer must be started first, or its live migration be ended by hand once it is known that the container is not there.' },
  STORAGE_SHARED: { message: '{path} is not on local storage: {reason}', nova: nova('InvalidLocalStorage', 500), advice: 'Leave the choice to Nova (`auto`), or ask for no block migration.' },
  STORAGE_NOT_SHARED: { message: '{path} is not on shared storage: {reason}', nova: nova('InvalidSharedStorage', 500), advice: 'Ask for block migration, or leave the choice to Nova (`auto`).' },
  CONSOLE_UNAVAILABLE: { message: 'Guest does not have a console available.', nova: nova('ConsoleNotAvailable', 404), advice: 'Start the server once.' },
  CONSOLE_TYPE_UNAVAILABLE: { message: 'Unavailable console type {type}.', nova: nova('ConsoleTypeUnavailable', 400), advice: 'Set enabled in [serial_console]; the server must run.' },
  INSTANCE_NOT_READY: { message: 'Instance {instance} is not ready', nova: nova('InstanceNotReady', 409), advice: 'Wait until it is built.' },
  SERIAL_PORTS_EXHAUSTED: { message: 'Not able to acquire a free port for {address}', nova: nova('SocketPortRangeExhaustedException', 500), advice: 'Widen port_range of [serial_console]; proxyclient_address must be an address of this host.' },
  REST_FAILED: { message: '{service}: {method} {path} answered {status}: {reason}', nova: nova('NovaException', 500), advice: 'Look into that service\'s log.' },
  REST_UNREACHABLE: { message: '{service} cannot be reached: {reason}', nova: nova('NovaException', 500), advice: 'Is the service up and the endpoint right?' },
  KEYSTONE_REFUSED: { message: 'keystone refused the credentials of [{section}]: {reason}', nova: nova('NovaException', 500), advice: 'Correct the user, password and project of that section.' },
  STATE_DAMAGED: { message: 'State file {path} is damaged: {reason}', nova: nova('NovaException', 500), advice: 'Restore the file from a backup. Without it: a server whose spec.json or state.json is lost can only be deleted; other records are made anew when they are removed.' },
  IDENTITY: { message: 'This host cannot take the place it claims: {reason}', nova: nova('InvalidConfiguration', 500), advice: 'See the reason; node names and compute_id must not change.' },
  HOST_IN_USE: { message: 'Another haulier process works with the containers of {path}', nova: nova('InvalidConfiguration', 500), advice: 'Only one may: stop the service (or the other command) first.' },
  FAULT_INJECTED: { message: 'Fault injected at {point}', nova: nova('NovaException', 500), advice: 'Only tests do this.' },
} as const satisfies Record<string, ErrorRow>;

/** A code of the error table. */
export type ErrorCode = keyof typeof errorTable;

type Details = Readonly<Record<string, string | number | boolean | undefined>>;

/** An error of the table. `message` is the row's text with `{detail}` filled in. */
export class HaulierError extends Error {
  readonly code: ErrorCode;
  readonly details: Details;
  constructor(code: ErrorCode, details: Details = {}, options?: ErrorOptions) {
    super(errorTable[code].message.replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? `<${name}>`)), options);
    this.name = code;
    this.code = code;
    this.details = details;
  }
  /** The Nova exception that this error is on the wire. */
  get nova(): NovaClass {
    return errorTable[this.code].nova;
  }
  get advice(): string {
    return errorTable[this.code].advice;
  }
}

/** True if `error` is a HaulierError, of one of `codes` if any are given. */
export function isHaulierError(error: unknown, ...codes: ErrorCode[]): error is HaulierError {
  return error instanceof HaulierError && (codes.length === 0 || codes.includes(error.code));
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

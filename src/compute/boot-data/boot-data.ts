/** Collects what a new server's system is to know: out of the instance, the request, neutron and the configuration. */
import type { Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { driveFiles } from './config-drive.js';
import { vendorData } from './vendor-data.js';
import { serviceScope } from '../scope.js';
import type { Operation } from '../../base/operation.js';
import type { BootData } from '../../container/boot-data/boot-data.js';
import type { ImagesFound } from '../../container/spec.js';
import type { InjectedFile } from '../../container/boot-data/injected-files.js';
import type { WireContext } from '../../messaging/types.js';
import type { VifInfo } from '../../nova/network-info.js';
import type { NovaObject } from '../../nova/object.js';

/** What came with the request and is stored nowhere. */
export interface BootRequest {
  readonly adminPassword: string | undefined;
  readonly files: readonly InjectedFile[];
  /** The user data is on the drive for whoever asks, but is not run by Haulier: a rescue system is not to be set up as the server was. */
  readonly withoutScript?: true;
}

/** Of the arguments of a boot (`admin_password`), a rebuild (`new_pass`) or a rescue (`rescue_password`). */
export function bootRequest(args: Readonly<Record<string, unknown>>): BootRequest {
  const password = args['admin_password'] ?? args['new_pass'] ?? args['rescue_password'];
  const files: readonly unknown[] = Array.isArray(args['injected_files']) ? args['injected_files'] : [];
  return {
    adminPassword: typeof password === 'string' && password !== '' ? password : undefined,
    files: files.flatMap((file) => (Array.isArray(file) && typeof file[0] === 'string' && typeof file[1] === 'string' ? [{ path: file[0], content: Buffer.from(file[1], 'base64') }] : [])),
  };
}

const defaultAdmin = 'root';

/** The account that keys and passwords are for: the image's property `os_admin_user`, as in Nova's libvirt driver, else root. */
export function adminUser(instance: NovaObject): string {
  return instance.strings('system_metadata')['image_os_admin_user'] || defaultAdmin;
}

/** nova/virt/configdrive.py `required_by`. */
function needsDrive(compute: Compute, instance: NovaObject): boolean {
  return (instance.text('config_drive') ?? '') !== ''
    || (compute.settings.forceConfigDrive && instance.text('launched_at') === undefined)
    || instance.strings('system_metadata')['image_img_config_drive'] === 'mandatory';
}

/** A server's container that was made and has not been started. */
interface Newcomer {
  readonly context: WireContext;
  readonly instance: NovaObject;
  readonly operation: Operation;
}

/**
 * Whether a container that was not made yet could be given its drive: before anything is ended that it replaces.
 * @throws CONFIG_INVALID, UNSUPPORTED (vendor data)
 */
export async function checkBootData(compute: Compute, instance: NovaObject, { cloudInit }: ImagesFound): Promise<void> {
  if (needsDrive(compute, instance) || cloudInit) await vendorData(compute);
}

/** Both of what follows. @throws as they do */
export async function giveBootData(compute: Compute, about: Newcomer, vifs: readonly VifInfo[], request: BootRequest): Promise<void> {
  await giveTree(compute, about, request);
  await giveDrive(compute, about, vifs, request);
}

/** What goes into its tree: password, keys, user data script, files. Needs no network. @throws DISK_FULL */
export async function giveTree(compute: Compute, { instance, operation }: Newcomer, request: BootRequest): Promise<void> {
  const data: BootData = { configDrive: undefined, adminUser: adminUser(instance), adminPassword: request.adminPassword, publicKeys: publicKeys(instance), userData: request.withoutScript ? undefined : userData(instance), files: request.files };
  await compute.containers.giveBootData(uuidOf(instance), data, operation);
}

/**
 * Its config drive, if it is to have one. `config_drive` is set on the instance where operator or image want one
 * (nova/virt/configdrive.py `update_instance`); the next save stores it. A system with cloud-init has one in any case: in a container
 * cloud-init does not know that it may ask a metadata service, and to ask it takes the network away (docs/boot-data.md).
 * @throws CONFIG_INVALID, UNSUPPORTED (vendor data), REST_*
 */
export async function giveDrive(compute: Compute, { context, instance, operation }: Newcomer, vifs: readonly VifInfo[], request: BootRequest): Promise<void> {
  const needed = needsDrive(compute, instance);
  if (!needed && !(await compute.containers.hasCloudInit(uuidOf(instance)))) return;
  if (needed && !instance.text('config_drive')) instance.set('config_drive', 'True');
  const configDrive = await drive(compute, context, instance, vifs, request, operation);
  await compute.containers.giveBootData(uuidOf(instance), { configDrive, adminUser: adminUser(instance), adminPassword: undefined, publicKeys: [], userData: undefined, files: [] }, operation);
}

function userData(instance: NovaObject): Buffer | undefined {
  const text = instance.text('user_data');
  return text === undefined ? undefined : Buffer.from(text, 'base64');
}

/** A key of another type than ssh (x509) is no line of authorized_keys. */
function publicKeys(instance: NovaObject): string[] {
  const key = instance.text('key_data')?.trim() ?? '';
  return /^(ssh-|ecdsa-|sk-)[^\n]+$/.test(key) ? [key] : [];
}

async function drive(compute: Compute, context: WireContext, instance: NovaObject, vifs: readonly VifInfo[], request: BootRequest, operation: Operation): Promise<Map<string, Buffer>> {
  const { settings, conductor } = compute;
  const uuid = uuidOf(instance);
  const [whole, vendor, securityGroups] = await Promise.all([
    conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: ['keypairs', 'ec2_ids', 'metadata', 'flavor'] }) as Promise<NovaObject>,
    vendorData(compute),
    groupNames(compute, context, instance, operation.signal),
  ]);
  return driveFiles({
    instance: whole, vifs, vendor, securityGroups, userData: userData(instance), files: request.files ?? [], adminPassword: request.adminPassword,
    domain: settings.dhcpDomain, skippedVersions: settings.configDriveSkipVersions, release: conductor.release,
  });
}

/** Names of the security groups of its ports, port by port: one on two ports is there twice (nova/network/security_group_api.py `get_instances_security_groups_bindings`). */
async function groupNames(compute: Compute, context: WireContext, instance: NovaObject, signal: AbortSignal): Promise<string[]> {
  const scope = serviceScope(context, signal);
  const [ports, groups] = await Promise.all([compute.neutron.ports(scope, { device_id: uuidOf(instance) }), compute.neutron.securityGroups(scope, instance.text('project_id') ?? '')]);
  const names = new Map(groups.map(({ id, name }) => [id, name || id]));
  return ports.flatMap((port) => port.security_groups ?? []).flatMap((id) => names.get(id) ?? []);
}

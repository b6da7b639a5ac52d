/** `Instance` as typed values over its object. Reading never asks the conductor; what a message did not carry is undefined. */
import { HaulierError } from '../base/errors.js';
import { flavorOf, type Flavor } from './flavor.js';
import { instanceName } from './instance-name.js';
import { hasComputeId } from './instance-save.js';
import type { VifInfo } from './network-info.js';
import { NovaObject } from './object.js';
import type { PowerState, TaskState, VmState } from './states.js';
import type { Conductor } from './types.js';

/** The three fields that say where an instance is; they change together (contract B.5). */
export interface Place {
  /** `[DEFAULT] host`. */
  readonly host: string;
  /** `ComputeNode.hypervisor_hostname`. */
  readonly node: string;
  /** `ComputeNode.id`. */
  readonly computeId: number;
}

/** Properties of the image an instance was made of are kept in its system metadata under this prefix. */
const imagePrefix = 'image_';

/** One instance. Setters mark fields as changed; `Conductor.saveInstance(context, instance.object)` stores them. */
export class Instance {
  readonly object: NovaObject;
  readonly #nameTemplate: string;

  /**
   * @param nameTemplate `[DEFAULT] instance_name_template`
   * @throws BAD_ARGUMENT if `object` is no Instance or has no uuid
   */
  constructor(object: NovaObject, nameTemplate = 'instance-%08x') {
    const problem = object.name !== 'Instance' ? 'is no Instance' : object.text('uuid') === undefined ? 'has no uuid' : undefined;
    if (problem) throw new HaulierError('BAD_ARGUMENT', { method: 'Instance', argument: object.name, problem });
    this.object = object;
    this.#nameTemplate = nameTemplate;
  }

  get uuid(): string { return this.object.text('uuid') ?? ''; }
  get id(): number | undefined { return this.object.number('id'); }
  /** The hypervisor's name for it, as `instance-0000002a`. */
  get name(): string { return instanceName(this.object, this.#nameTemplate); }
  get hostname(): string | undefined { return this.object.text('hostname'); }
  get displayName(): string | undefined { return this.object.text('display_name'); }
  get projectId(): string | undefined { return this.object.text('project_id'); }
  get userId(): string | undefined { return this.object.text('user_id'); }
  get availabilityZone(): string | undefined { return this.object.text('availability_zone'); }
  /** Undefined if booted from a volume. */
  get imageRef(): string | undefined { return this.object.text('image_ref') || undefined; }
  get keyName(): string | undefined { return this.object.text('key_name'); }
  /** The public key's text. */
  get keyData(): string | undefined { return this.object.text('key_data'); }
  /** Base64. */
  get userData(): string | undefined { return this.object.text('user_data'); }
  get rootDeviceName(): string | undefined { return this.object.text('root_device_name'); }
  get isLocked(): boolean { return this.object.flag('locked') ?? false; }
  get isDeleted(): boolean { return this.object.flag('deleted') ?? false; }
  /** The column is text: `True` or empty. */
  get hasConfigDrive(): boolean { return (this.object.text('config_drive') ?? '') !== ''; }
  /** ISO 8601; undefined before the first boot is done. */
  get launchedAt(): string | undefined { return this.object.text('launched_at'); }
  set launchedAt(time: string | undefined) { this.object.set('launched_at', time ?? null); }

  get host(): string | undefined { return this.object.text('host'); }
  get node(): string | undefined { return this.object.text('node'); }
  get computeId(): number | undefined { return this.object.number('compute_id'); }
  /** Sets `host`, `node` and, where the object has it, `compute_id`; undefined puts the instance nowhere. */
  place(place: Place | undefined): void {
    this.object.set('host', place?.host ?? null);
    this.object.set('node', place?.node ?? null);
    if (hasComputeId(this.object.version)) this.object.set('compute_id', place?.computeId ?? null);
  }

  get vmState(): VmState | undefined { return this.object.text('vm_state') as VmState | undefined; }
  set vmState(state: VmState) { this.object.set('vm_state', state); }
  /** Undefined where nothing is being done. */
  get taskState(): TaskState | undefined { return this.object.text('task_state') as TaskState | undefined; }
  set taskState(state: TaskState | undefined) { this.object.set('task_state', state ?? null); }
  get powerState(): PowerState | undefined { return this.object.number('power_state') as PowerState | undefined; }
  set powerState(state: PowerState) { this.object.set('power_state', state); }

  /** Undefined if the message did not carry it; ask for `flavor` with `Instance.get_by_uuid` then. */
  get flavor(): Flavor | undefined { return this.#flavor('flavor'); }
  get oldFlavor(): Flavor | undefined { return this.#flavor('old_flavor'); }
  get newFlavor(): Flavor | undefined { return this.#flavor('new_flavor'); }
  #flavor(field: string): Flavor | undefined {
    const flavor = this.object.object(field);
    return flavor && flavorOf(flavor);
  }

  /** What the user attached; empty if not carried. */
  get metadata(): Readonly<Record<string, string>> { return this.object.strings('metadata'); }
  get systemMetadata(): Readonly<Record<string, string>> { return this.object.strings('system_metadata'); }
  /**
   * Changes keys of the system metadata; undefined removes one. The save replaces the whole set (contract B.5), so it must have
   * been loaded. Nothing is marked if nothing changes.
   * @throws BAD_ARGUMENT if the message did not carry it
   */
  setSystemMetadata(values: Readonly<Record<string, string | undefined>>): void {
    if (!this.object.has('system_metadata')) throw new HaulierError('BAD_ARGUMENT', { method: 'Instance.save', argument: 'system_metadata', problem: 'was not loaded, saving it would delete all keys' });
    const all = new Map(Object.entries(this.object.strings('system_metadata')));
    const changed = Object.entries(values).filter(([key, value]) => all.get(key) !== value);
    for (const [key, value] of changed) {
      if (value === undefined) all.delete(key);
      else all.set(key, value);
    }
    if (changed.length > 0) this.object.set('system_metadata', Object.fromEntries(all));
  }
  /** Properties of the image it was made of, without their prefix (nova/utils.py `get_system_metadata_from_image`). */
  get imageProperties(): Readonly<Record<string, string>> {
    return Object.fromEntries(Object.entries(this.systemMetadata).filter(([key]) => key.startsWith(imagePrefix)).map(([key, value]) => [key.slice(imagePrefix.length), value]));
  }

  /** The interfaces in its cache; empty if the cache is, undefined if the message did not carry one. */
  get networkInfo(): VifInfo[] | undefined {
    const cache = this.object.object('info_cache');
    return cache && networkInfoOf(cache);
  }
  /** Puts interfaces into the instance's own copy of the cache, as loaded: `infoCache` makes what stores them. */
  loadNetworkInfo(vifs: readonly VifInfo[]): void {
    this.object.object('info_cache')?.load('network_info', JSON.stringify(vifs));
  }

  /** The migration's context while a move is under way. */
  get migrationContext(): NovaObject | undefined { return this.object.object('migration_context'); }
}

/** The interfaces of an `InstanceInfoCache`; a null text (never saved) is an empty list. */
export function networkInfoOf(cache: NovaObject): VifInfo[] {
  const text = cache.text('network_info');
  if (!text) return [];
  try {
    const vifs = JSON.parse(text) as unknown;
    if (Array.isArray(vifs)) return vifs as VifInfo[];
  } catch {
    // falls through to the error below
  }
  throw new HaulierError('BAD_ARGUMENT', { method: 'InstanceInfoCache', argument: 'network_info', problem: 'is no JSON list' });
}

/** A cache object that holds `vifs`, to be stored with `objectCall(context, cache, 'save')`. */
export function infoCache(conductor: Conductor, instanceUuid: string, vifs: readonly VifInfo[]): NovaObject {
  return conductor.create('InstanceInfoCache', { instance_uuid: instanceUuid, network_info: JSON.stringify(vifs) });
}

/**
 * What this host offers and what of it is used: the ComputeNode record, the placement inventories, the audit
 * (nova/compute/resource_tracker.py, contract D.4). Claims are kept here in memory; the scheduler counts in placement.
 */
import type { Node } from './compute.js';
import { abilityTraits, cpuTraits, hostTraits, managedTraits, ownTraits } from './traits.js';
import type { ComputeSettings } from './settings.js';
import { inventoriesOf } from './inventories.js';
import { recordValues } from './node-values.js';
import { isMoving, newest, uncounted, usageOf, usageWith, type Usage } from './usage.js';
import { KeyedLock } from '../base/lock.js';
import type { Log } from '../base/log.js';
import type { Abilities } from '../container/abilities.js';
import type { ContainerHost } from '../container/container-host.js';
import type { HostResources } from '../container/spec.js';
import type { WireContext } from '../messaging/types.js';
import { createComputeNode, updateComputeNode, computeNodeByUuid, type ComputeNodeValues } from '../nova/compute-node.js';
import { adminContext, readingDeleted } from '../nova/context.js';
import { isNova } from './failure-report.js';
import type { NovaObject } from '../nova/object.js';
import type { Conductor } from '../nova/types.js';
import type { Placement } from '../openstack/types.js';

const saveDelayMs = 1000;

/** The doors that the tracker works through. */
export interface TrackerParts {
  readonly settings: ComputeSettings;
  readonly log: Log;
  readonly conductor: Conductor;
  readonly containers: ContainerHost;
  readonly placement: Placement;
  readonly node: Node;
  /** `Service.id` and whether the service is disabled now. */
  readonly service: () => { readonly id: number; readonly disabled: boolean };
}

/** One host's tracker. */
export class ResourceTracker {
  readonly #usage = new Map<string, Usage>();
  /** What instances take besides their own size: the size they come here with, or the one that a revert brings back. */
  readonly #moves = new Map<string, { readonly usage: Usage; readonly since: number }>();
  /** Builds that run now: they drop or settle their claim themselves. */
  readonly #claims = new Set<string>();
  readonly #lock = new KeyedLock();
  #record: NovaObject | undefined;
  #failedBuilds = 0;
  #abilities: Abilities | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly parts: TrackerParts) {}

  /** Counts an instance that is being built here. */
  claim(uuid: string, instance: NovaObject): void {
    this.#claims.add(uuid);
    this.update(uuid, instance);
  }
  /** Takes over an instance's new states. */
  update(uuid: string, instance: NovaObject): void {
    if (uncounted.has(instance.text('vm_state') ?? '')) this.#usage.delete(uuid);
    else this.#usage.set(uuid, usageOf(instance, this.#usage.get(uuid)));
    this.#saveSoon();
  }
  drop(uuid: string): void {
    this.#claims.delete(uuid);
    if (this.#usage.delete(uuid)) this.#saveSoon();
  }
  /** Counts what a move takes here besides the instance's own size, in the size of `flavor`. */
  moving(uuid: string, instance: NovaObject, flavor: NovaObject): void {
    this.#moves.set(uuid, { usage: usageWith(instance, flavor), since: performance.now() });
    this.#saveSoon();
  }
  /** The move takes nothing here any more. */
  moved(uuid: string): void {
    if (this.#moves.delete(uuid)) this.#saveSoon();
  }
  /** True for what is counted here: an instance whose host is this one, by the last audit or since. */
  counts(uuid: string): boolean {
    return this.#usage.has(uuid);
  }
  built(uuid: string, instance: NovaObject): void {
    this.#claims.delete(uuid);
    this.#failedBuilds = 0;
    this.update(uuid, instance);
  }
  /** Lowers this host's weight at the scheduler (`stats.failed_builds`). */
  buildFailed(): void {
    this.#failedBuilds++;
    this.#saveSoon();
  }
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /**
   * The periodic audit: reads the instances anew, writes the record and placement.
   * @throws IDENTITY when the provider's name belongs to another uuid
   */
  async audit(context: WireContext): Promise<void> {
    await this.#lock.hold('audit', async () => {
      const { conductor, settings, node } = this.parts;
      const began = performance.now();
      const instances = (await conductor.classCall(context, 'InstanceList', 'get_by_host_and_node', [settings.host, node.hypervisorHostname], {
        expected_attrs: ['system_metadata', 'numa_topology', 'flavor', 'migration_context', 'resources'],
      })) as NovaObject;
      const seen = new Set<string>();
      for (const instance of instances.objects()) {
        const uuid = instance.text('uuid') ?? '';
        if (uncounted.has(instance.text('vm_state') ?? '')) continue;
        seen.add(uuid);
        this.#usage.set(uuid, usageOf(instance, undefined));
      }
      // a claim of this moment is not in the database yet; the build that holds it drops it itself
      for (const uuid of [...this.#usage.keys()]) if (!seen.has(uuid) && !this.#claims.has(uuid)) this.#usage.delete(uuid);
      await this.#auditMoves(context, instances, began);
      const resources = await this.parts.containers.resources();
      await this.#writeRecord(context, resources);
      await this.#writePlacement(resources);
      await this.#dropOrphanedAllocations(context, seen);
    });
  }

  /** Moves to and from this host, anew from the database (nova `_update_usage_from_migrations`); what is claimed meanwhile stays. */
  async #auditMoves(context: WireContext, here: NovaObject, began: number): Promise<void> {
    const { conductor, settings, node } = this.parts;
    const list = (await conductor.classCall(context, 'MigrationList', 'get_in_progress_and_error', [settings.host, node.hypervisorHostname])) as NovaObject;
    const found = new Map<string, Usage>();
    for (const migration of newest(list.objects())) {
      const uuid = migration.text('instance_uuid') ?? '';
      const instance = here.objects().find((item) => item.text('uuid') === uuid) ?? (await this.#mover(context, uuid));
      const id = instance?.object('migration_context')?.number('migration_id');
      if (!instance || !isMoving(instance) || (id !== undefined && id !== migration.get('id'))) continue;
      const resize = migration.text('migration_type') === 'resize';
      const incoming = migration.text('dest_compute') === settings.host;
      const outgoing = migration.text('source_compute') === settings.host;
      const isHere = instance.text('host') === settings.host;
      // on one host: the other of the two sizes; else the size at this end, unless the instance itself is counted here
      const grown = instance.get('instance_type_id') !== migration.get('old_instance_type_id');
      const side = incoming && outgoing ? (grown ? 'old_flavor' : 'new_flavor') : isHere ? undefined : incoming ? 'new_flavor' : outgoing ? 'old_flavor' : undefined;
      const flavor = side && instance.object(resize ? side : 'flavor');
      if (flavor) found.set(uuid, usageWith(instance, flavor));
    }
    for (const [uuid, { since }] of this.#moves) if (since < began && !found.has(uuid)) this.#moves.delete(uuid);
    for (const [uuid, usage] of found) if ((this.#moves.get(uuid)?.since ?? 0) < began) this.#moves.set(uuid, { usage, since: began });
  }

  async #mover(context: WireContext, uuid: string): Promise<NovaObject | undefined> {
    try {
      return (await this.parts.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: ['migration_context', 'flavor'] })) as NovaObject;
    } catch (error) {
      if (isNova(error, 'InstanceNotFound')) return undefined;
      throw error;
    }
  }

  /** Of criu and the kernel; undefined until `tellAbilities` knows. */
  get abilities(): Abilities | undefined {
    return this.#abilities;
  }

  /** Has criu's abilities probed, and says what is true of them at placement. */
  async tellAbilities(): Promise<void> {
    const abilities = await this.parts.containers.abilities();
    const { problem } = abilities;
    if (problem !== undefined) this.parts.log.warn({ problem }, 'servers of this host cannot be suspended');
    this.#abilities = abilities;
    await this.#lock.hold('audit', async () => this.#writePlacement(await this.parts.containers.resources()));
  }

  #saveSoon(): void {
    if (!this.#record || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lock.hold('audit', async () => this.#writeRecord(adminContext(), await this.parts.containers.resources()))
        .catch((error: unknown) => this.parts.log.warn({ err: error }, 'cannot save the ComputeNode record'));
    }, saveDelayMs);
    this.#timer.unref();
  }

  async #writeRecord(context: WireContext, resources: HostResources): Promise<void> {
    const { conductor, settings, node } = this.parts;
    this.#record ??= await computeNodeByUuid(conductor, context, node.uuid);
    const values = this.#values(resources);
    if (this.#record) await this.#update(context, this.#record, values);
    else {
      this.#record = await createComputeNode(conductor, context, { uuid: node.uuid, host: settings.host, serviceId: this.parts.service().id }, values, {
        cpu_allocation_ratio: settings.cpuAllocationRatio ?? settings.initialCpuAllocationRatio,
        ram_allocation_ratio: settings.ramAllocationRatio ?? settings.initialRamAllocationRatio,
        disk_allocation_ratio: settings.diskAllocationRatio ?? settings.initialDiskAllocationRatio,
      });
    }
    node.id = this.#record.number('id') ?? node.id;
  }

  /** A record that was deleted behind our back is made anew by the next audit. */
  async #update(context: WireContext, record: NovaObject, values: ComputeNodeValues): Promise<void> {
    try {
      await updateComputeNode(this.parts.conductor, context, record, values);
    } catch (error) {
      if (isNova(error, 'ComputeHostNotFound')) this.#record = undefined;
      throw error;
    }
  }

  #values(resources: HostResources): ComputeNodeValues {
    const { settings, node, conductor: { release } } = this.parts;
    return recordValues({ settings, node, resources, release, failedBuilds: this.#failedBuilds }, [...this.#usage.values()], [...this.#moves.values()].map((move) => move.usage));
  }

  async #writePlacement(resources: HostResources): Promise<void> {
    const { placement, node, settings, conductor } = this.parts;
    await placement.ensureProvider(node.uuid, node.hypervisorHostname);
    await placement.setInventories(node.uuid, inventoriesOf(resources, settings, await placement.inventories(node.uuid)));
    // until the probe is through, what an earlier run said of criu stands
    const [own, managed] = this.#abilities ? [abilityTraits(this.#abilities), [...managedTraits, ...ownTraits]] : [[], managedTraits];
    const present = [...hostTraits(conductor.release), ...cpuTraits(resources), ...own, ...(this.parts.service().disabled ? ['COMPUTE_STATUS_DISABLED'] : [])];
    const unknown = await placement.setTraits(node.uuid, present, managed.filter((trait) => !present.includes(trait)));
    if (unknown.length > 0) this.parts.log.info({ traits: unknown }, 'this placement does not know these traits');
  }

  /** Allocations of instances that were deleted behind our back; never of any other (contract E.2). */
  async #dropOrphanedAllocations(context: WireContext, ours: ReadonlySet<string>): Promise<void> {
    const { placement, conductor, node, log } = this.parts;
    for (const consumer of Object.keys(await placement.allocationsOf(node.uuid))) {
      if (ours.has(consumer) || this.#usage.has(consumer) || this.#moves.has(consumer)) continue;
      try {
        const instance = (await conductor.classCall(readingDeleted(context), 'Instance', 'get_by_uuid', [consumer], { expected_attrs: [] })) as NovaObject;
        if (instance.get('deleted') !== true) continue;
        log.warn({ instance: consumer }, 'deleting the allocation of a deleted instance');
        await placement.deleteAllocations(consumer);
      } catch (error) {
        if (!isNova(error, 'InstanceNotFound')) throw error; // not found: a migration's, or being scheduled
      }
    }
  }
}

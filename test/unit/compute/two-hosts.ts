/** Two compute services over one fake cloud, which hands on what one casts to the other: for moves, step by step and with failures. */
import { HaulierError } from '../../../src/base/errors.js';
import type { Compute } from '../../../src/compute/compute.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { initHost } from '../../../src/compute/init-host.js';
import { arrivedLabel, type DiskTransport, type Ticket } from '../../../src/compute/moves/transport.js';
import { hypervisorType } from '../../../src/compute/node-values.js';
import type { ComputeSettings } from '../../../src/compute/settings.js';
import type { LimitSpec } from '../../../src/container/spec.js';
import { MessageUndeliverable, MessagingTimeout } from '../../../src/messaging/types.js';
import { toWire, type Primitive } from '../../../src/nova/object.js';
import { FakeContainers } from './fakes.js';
import { wire } from './fake-nova.js';
import { context, FakeGlance, host, makeCompute, messages, nodeUuid, settings, uuid, world, type World } from './world.js';

export const other = 'fake1';
export const otherNode = 'f5b7dc48-52c5-4f8c-b81d-415ea9403952';
export const migrationUuid = '47db2eb1-8600-4f2b-a3f2-33bede96afc6';

type Fields = Record<string, unknown>;
const prep = messages('resize').find((message) => message.method === 'prep_resize')!;

/** A host of it. */
export interface Host { compute: Compute; readonly containers: FakeContainers; readonly send: World['send'] }

/** Hauls between the fakes. */
class FakeTransport implements DiskTransport {
  readonly expected = new Map<string, LimitSpec>();
  constructor(readonly name: string, readonly cloud: TwoHosts) {}
  async expect(id: string, _from: string, limits: LimitSpec): Promise<Ticket> {
    await this.cloud.w.steps.pass(`${this.name} expect`);
    this.expected.set(id, limits);
    return { token: `for ${id}` };
  }
  async forget(id: string): Promise<void> { this.expected.delete(id); }
  async send(id: string, to: string, ticket: Ticket): Promise<void> {
    await this.cloud.w.steps.pass('haul');
    const from = this.cloud.at(this.name).containers.made.get(id);
    const there = this.cloud.at(to);
    const limits = this.cloud.transports.get(to)?.expected.get(id);
    if (!from || !limits || ticket['token'] !== `for ${id}`) throw new HaulierError('FAULT_INJECTED', { point: 'no such haul' });
    there.containers.made.set(id, { state: 'stopped', spec: { ...from.spec, limits, labels: { ...from.spec.labels, [arrivedLabel]: 'yes' } } });
    await this.cloud.w.steps.pass('hauled');
  }
}

/** See above. */
export class TwoHosts {
  readonly hosts = new Map<string, Host>();
  readonly transports = new Map<string, FakeTransport>();
  /** Casts that were delivered and have ended; a failure of one is its own matter. */
  readonly #running = new Set<Promise<unknown>>();
  readonly failures: unknown[] = [];
  readonly down = new Set<string>();

  readonly glance: FakeGlance;

  private constructor(readonly w: World) {
    this.glance = new FakeGlance(w.steps);
  }

  /** The recorded server runs on `host`; the API has asked for a move. */
  static async begin(change: Partial<ComputeSettings> = {}): Promise<TwoHosts> {
    const w = await world(change);
    const it = new TwoHosts(w);
    await w.boot();
    it.glance.records.push({ id: String(it.row['image_ref']), name: null, status: 'active', size: 1, min_disk: 0, min_ram: 0, disk_format: 'raw', container_format: 'bare', checksum: null, os_hash_algo: null, os_hash_value: null, properties: {} });
    for (const [name, id, node, containers] of [[host, 7, nodeUuid, w.containers], [other, 8, otherNode, new FakeContainers(w.steps)]] as const) {
      const transport = new FakeTransport(name, it);
      it.transports.set(name, transport);
      const compute = await makeCompute(w, containers, { ...settings, ...change, host: name, hypervisorHostname: name }, { id, uuid: node }, transport, it.glance);
      const endpoint = computeEndpoint(compute);
      it.hosts.set(name, { compute, containers, send: (method, args, about = context) => endpoint.handle({ method, namespace: undefined, version: '6.0', args: structuredClone(args), context: about, isCall: true, signal: new AbortController().signal }) });
      w.nova.nodes.push({ id, uuid: node, host: name, hypervisor_hostname: name, hypervisor_type: hypervisorType });
    }
    w.nova.onCast = (target, method, args, about) => {
      const to = target.server ?? '';
      if (it.down.has(to)) throw new MessageUndeliverable('', `compute.${to}`);
      const work = it.at(to).send(method, args, about).catch((error: unknown) => it.failures.push(error));
      it.#running.add(work);
      void work.finally(() => it.#running.delete(work));
    };
    w.nova.onCall = async (target, method, args, about) => {
      if (method === 'migrate_server') return null;
      if (it.down.has(target.server ?? '')) throw new MessagingTimeout(method, 'compute', 60);
      return toWire(await it.at(target.server ?? '').send(method, args, about)) ?? null;
    };
    w.steps.whenever('containers.startContainer', () => void Promise.resolve().then(() => {
      for (const port of w.neutron.stored.keys()) for (const { compute } of it.hosts.values()) compute.events.deliver(uuid, 'network-vif-plugged', port, 'completed');
    }));
    w.nova.events.length = 0;
    w.steps.clear();
    return it;
  }

  at(name: string): Host {
    const found = this.hosts.get(name);
    if (!found) throw new Error(`no host ${name}`);
    return found;
  }

  /** A service that died and starts again: its memory is gone, its disk is not. */
  async restart(name: string, change: Partial<ComputeSettings> = {}): Promise<void> {
    const { containers } = this.at(name);
    const before = this.at(name).compute;
    const transport = new FakeTransport(name, this);
    this.transports.set(name, transport);
    const compute = await makeCompute(this.w, containers, { ...before.settings, ...change }, { id: before.node.id, uuid: before.node.uuid }, transport, this.glance);
    const endpoint = computeEndpoint(compute);
    this.hosts.set(name, { compute, containers, send: (method, args, about = context) => endpoint.handle({ method, namespace: undefined, version: '6.0', args: structuredClone(args), context: about, isCall: true, signal: new AbortController().signal }) });
    this.#running.clear(); // what the dead one did ends never
    await initHost(compute);
    await this.settled();
  }

  /** Waits until every cast, and what it cast, has ended. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  get row(): Fields {
    return this.w.nova.row(uuid);
  }
  get migration(): Fields {
    const last = this.w.nova.migrations.at(-1);
    if (!last) throw new Error('no migration');
    return last;
  }
  /** What a person sees: states, host, size. */
  get seen(): unknown {
    return [this.row['vm_state'], this.row['task_state'], this.row['host'], this.row['vcpus'], this.migration['status']];
  }
  /** Which hosts have what of the container. */
  get disks(): unknown {
    const parts = (name: string): string[] => {
      const { containers } = this.at(name);
      const made = containers.made.get(uuid);
      return [...(made ? [`${made.state} ${made.spec.limits.vcpus}`] : []), ...(containers.moves.aside.has(uuid) ? ['kept'] : [])];
    };
    return { [host]: parts(host), [other]: parts(other) };
  }

  /** The flavor with one vCPU and one GiB more. */
  flavor(change: Fields = {}): Primitive {
    return wire('Flavor', '1.2', { ...(prep.args['flavor'] as Primitive)['nova_object.data'], id: 5, vcpus: 2, root_gb: 2, ...change });
  }

  /** What the API and the conductor do, up to prep_resize at `to`. @returns when all that came of it has ended */
  async resize(to: string, change: { flavor?: Fields; filter?: Fields } = {}): Promise<void> {
    const { nova, placement } = this.w;
    const flavor = this.flavor(change.flavor);
    const now = this.row;
    now['task_state'] = 'resize_prep';
    nova.migrations.push({
      id: 10 + nova.migrations.length, uuid: migrationUuid, instance_uuid: uuid, status: 'pre-migrating', migration_type: flavor['nova_object.data']['id'] === now['instance_type_id'] ? 'migration' : 'resize', source_compute: now['host'], source_node: now['node'],
      dest_compute: null, dest_node: null, dest_host: null, dest_compute_id: null, old_instance_type_id: now['instance_type_id'], new_instance_type_id: flavor['nova_object.data']['id'], created_at: '2026-11-22T02:03:00Z', updated_at: null,
      hidden: false, cross_cell_move: false, memory_total: null, memory_processed: null, memory_remaining: null, disk_total: null, disk_processed: null, disk_remaining: null, user_id: null, project_id: null, deleted: false, deleted_at: null,
    });
    placement.allocations.set(migrationUuid, placement.allocations.get(uuid) ?? {});
    placement.allocations.set(uuid, { [to === host ? nodeUuid : otherNode]: { VCPU: 2 } });
    await this.at(to).send('prep_resize', {
      ...structuredClone(prep.args), instance: this.w.instance(), flavor, node: to, migration: wire('Migration', '1.8', { ...this.migration }),
      filter_properties: { limits: {}, ...change.filter }, request_spec: null,
    }).catch((error: unknown) => this.failures.push(error));
    await this.settled();
  }

  /** The API's part, then confirm_resize at the source. */
  async confirm(): Promise<void> {
    this.migration['status'] = 'confirming';
    await this.at(String(this.migration['source_compute'])).send('confirm_resize', { instance: this.w.instance(), migration: wire('Migration', '1.8', { ...this.migration }) });
    await this.settled();
  }
  async revert(): Promise<void> {
    this.migration['status'] = 'reverting';
    this.row['task_state'] = 'resize_reverting';
    await this.at(String(this.migration['dest_compute'])).send('revert_resize', { instance: this.w.instance(), migration: wire('Migration', '1.8', { ...this.migration }), request_spec: null }).catch((error: unknown) => this.failures.push(error));
    await this.settled();
  }
  get bound(): unknown {
    return [...this.w.neutron.stored.values()].map((port) => port['binding:host_id']);
  }
}

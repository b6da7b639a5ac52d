/** Two hosts for live migrations: what nova-api and the conductor do between them (nova/conductor/tasks/live_migrate.py), over the fakes. */
import { HaulierError } from '../../../src/base/errors.js';
import type { ComputeSettings } from '../../../src/compute/settings.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { initHost } from '../../../src/compute/init-host.js';
import { hypervisorType } from '../../../src/compute/node-values.js';
import { RemoteFailure } from '../../../src/messaging/types.js';
import { NovaObject, parseValue, type Primitive } from '../../../src/nova/object.js';
import { wire } from './fake-nova.js';
import { FakeHauls, HaulNet } from './fake-hauls.js';
import { FakeContainers } from './fakes.js';
import { migrationUuid, other, otherNode, TwoHosts, type Host } from './two-hosts.js';
import { context, host, makeCompute, messages, nodeUuid, settings, uuid, type World } from './world.js';

export const third = 'fake3';
export const thirdNode = '0b7d3c4e-52c5-4f8c-b81d-415ea9403953';
const evacuationUuid = '4e0ea99b-7d61-4d97-937e-ca119bbba81b';
const rebuild = messages('rebuild').find((message) => message.method === 'rebuild_instance' && 'accel_uuids' in message.args)!;

/** See above. */
export class LiveHosts {
  readonly net = new HaulNet();
  readonly failures: unknown[] = [];
  /** What travelled: by method, the arguments. */
  readonly sent: { readonly method: string; readonly args: Record<string, unknown> }[] = [];

  private constructor(readonly it: TwoHosts) {}

  /** The recorded server runs on `host`; neutron keeps a binding for each host. */
  static async begin(change: Partial<ComputeSettings> = {}): Promise<LiveHosts> {
    const live = new LiveHosts(await TwoHosts.begin(change));
    live.w.neutron.aliases.add('binding-extended');
    await live.#start(host, change, live.w.containers);
    await live.#start(other, change, new FakeContainers(live.w.steps));
    const { onCall, onCast } = live.w.nova;
    live.w.nova.onCall = async (target, method, args, about) => {
      live.sent.push({ method, args });
      try {
        return await onCall!(target, method, args, about);
      } catch (error) { // as it is on the wire
        throw error instanceof HaulierError ? new RemoteFailure({ class: error.nova.class, module: 'nova.exception', message: error.message, tb: [], args: [], kwargs: {} }) : error;
      }
    };
    live.w.nova.onCast = (target, method, args, about) => { live.sent.push({ method, args }); onCast!(target, method, args, about); };
    return live;
  }

  async #start(name: string, change: Partial<ComputeSettings>, containers: FakeContainers): Promise<void> {
    const hauls = new FakeHauls(this.w.steps, name, this.net, containers);
    const identity = name === host ? { id: 7, uuid: nodeUuid } : name === other ? { id: 8, uuid: otherNode } : { id: 9, uuid: thirdNode };
    const compute = await makeCompute(this.w, containers, { ...settings, ...change, host: name, hypervisorHostname: name }, identity, undefined, this.it.glance, hauls);
    const endpoint = computeEndpoint(compute);
    const send: World['send'] = (method, args, about = context) =>
      endpoint.handle({ method, namespace: undefined, version: '6.0', args: structuredClone(args), context: about, isCall: true, signal: new AbortController().signal });
    this.it.hosts.set(name, { compute, containers, send });
  }

  /** One more host, to which a server can be evacuated. */
  async addThird(): Promise<void> {
    await this.#start(third, this.at(host).compute.settings, new FakeContainers(this.w.steps));
    this.w.nova.nodes.push({ id: 9, uuid: thirdNode, host: third, hypervisor_hostname: third, hypervisor_type: hypervisorType });
  }

  /** What the API and the conductor do when the server's host is down, up to rebuild_instance at `to`. @throws what it throws */
  async evacuate(to = third): Promise<void> {
    const { nova, placement } = this.w;
    this.it.row['task_state'] = 'rebuilding';
    const migration = { ...this.it.migration, id: 90, uuid: evacuationUuid, status: 'accepted', migration_type: 'evacuation', source_compute: this.it.row['host'], dest_compute: null, dest_node: null };
    nova.migrations.push(migration);
    placement.allocations.get(uuid)![to === third ? thirdNode : otherNode] = { VCPU: 1 };
    await this.at(to).send('rebuild_instance', { ...structuredClone(rebuild.args), instance: this.w.instance(), image_ref: null, recreate: true, on_shared_storage: null, preserve_ephemeral: false, migration: wire('Migration', '1.8', { ...migration }), scheduled_node: to, limits: {}, request_spec: null });
  }

  get w(): World { return this.it.w; }
  at(name: string): Host { return this.it.at(name); }
  hauls(name: string): FakeHauls { return this.net.hosts.get(name)!.hauls; }

  /** A service that died and starts again. @param open undecided hauls away from it */
  async restart(name: string, open: ReadonlyMap<string, Promise<void>> = new Map()): Promise<void> {
    await this.#start(name, this.at(name).compute.settings, this.at(name).containers);
    const hauls = this.hauls(name);
    for (const [id, end] of open) hauls.open.set(id, end);
    await initHost(this.at(name).compute, open);
  }

  #migration(): Primitive {
    return wire('Migration', '1.8', { ...this.it.migration });
  }

  /** What the API and the conductor do, up to the answer of check_can_live_migrate_destination. */
  async check(change: { block?: boolean | null; commit?: boolean | null } = {}): Promise<NovaObject> {
    const row = this.it.row;
    row['task_state'] = 'migrating';
    this.w.nova.migrations.push({
      id: 30 + this.w.nova.migrations.length, uuid: migrationUuid, instance_uuid: uuid, status: 'accepted', migration_type: 'live-migration', source_compute: row['host'], source_node: row['node'],
      dest_compute: null, dest_node: null, dest_host: null, dest_compute_id: null, old_instance_type_id: 1, new_instance_type_id: 1, created_at: '2026-11-22T02:03:00Z', updated_at: null, hidden: false, cross_cell_move: false,
      memory_total: null, memory_processed: null, memory_remaining: null, disk_total: null, disk_processed: null, disk_remaining: null, user_id: null, project_id: null, deleted: false, deleted_at: null,
    });
    this.w.placement.allocations.set(migrationUuid, this.w.placement.allocations.get(uuid) ?? {});
    this.w.placement.allocations.set(uuid, { [this.to === other ? otherNode : nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } });
    const answer = await this.at(this.to).send('check_can_live_migrate_destination', { instance: this.w.instance(), block_migration: change.block ?? null, disk_over_commit: change.commit ?? null, migration: this.#migration(), limits: null });
    return parseValue(answer) as NovaObject;
  }

  /** Where the server is not. */
  get to(): string {
    return this.it.row['host'] === host ? other : host;
  }

  /** The conductor's second half: bindings for the destination, then live_migration at the source. @returns when it has ended */
  async migrate(): Promise<void> {
    try {
      const to = this.to;
      await this.cast(await this.check(), to);
    } catch (error) {
      this.failures.push(error);
    }
    await this.it.settled();
  }

  /** live_migration at the source. @throws what it throws */
  async cast(data: NovaObject, to = this.to): Promise<void> {
    for (const entry of data.objects('vifs')) {
      const port = entry.text('port_id') ?? '';
      this.w.neutron.bindings.set(port, new Set([...(this.w.neutron.bindings.get(port) ?? []), to]));
      entry.set('vif_type', 'ovs');
      entry.set('vnic_type', 'normal');
      entry.set('profile_json', '{}');
      entry.set('vif_details_json', JSON.stringify({ bridge_name: 'br-there', ovs_hybrid_plug: false }));
    }
    Object.assign(this.it.migration, { dest_compute: to, dest_node: to });
    await this.at(String(this.it.row['host'])).send('live_migration', { dest: to, instance: this.w.instance(), block_migration: null, migration: this.#migration(), migrate_data: data.toPrimitive() as unknown as Record<string, unknown> });
  }

  /** Which hosts have the container, and its ports. */
  get places(): unknown {
    return [host, other].map((name) => {
      const { made, plugged } = this.at(name).containers;
      return `${made.get(uuid)?.state ?? '-'} ${plugged.get(uuid)?.size ?? 0}`;
    });
  }
  /** States, host, status of the migration. */
  get seen(): unknown {
    const { row, migration } = this.it;
    return [row['vm_state'], row['task_state'], row['host'], migration['status']];
  }
  /** Of the ports: their host, other bindings, marks. */
  get ports(): unknown {
    return [...this.w.neutron.stored.values()].map((port) => [port['binding:host_id'], [...(this.w.neutron.bindings.get(port.id) ?? [])], port['binding:profile']]);
  }
  get held(): unknown {
    return Object.fromEntries([...this.w.placement.allocations].map(([consumer, by]) => [consumer === uuid ? 'server' : 'migration', Object.keys(by).map((node) => (node === nodeUuid ? host : other))]));
  }
}

export const broken = (): Error => new HaulierError('HAUL_LOST', { reason: 'broken' });
export const moved = { seen: ['active', null, other, 'completed'], places: ['- 0', 'running 1'], ports: [[other, [], {}]], held: { server: [other] } };
export const stayed = (status: string): object => ({ seen: ['active', null, host, status], places: ['running 1', '- 0'], ports: [[host, [], {}]], held: { server: [host] } });
export const all = ({ seen, places, ports, held }: LiveHosts): object => ({ seen, places, ports, held });

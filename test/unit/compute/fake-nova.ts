/**
 * A control plane behind the RPC client: keeps rows, enforces expected states as nova's database API does
 * (nova/db/main/api.py `_instance_update`), and answers in the shape of the recordings. The real `NovaConductor` runs on it.
 */
import type { RpcClient, Target, WireContext } from '../../../src/messaging/types.js';
import type { Primitive } from '../../../src/nova/object.js';
import { failure } from '../nova/fake-rpc.js';
import type { Steps } from './steps.js';

type Row = Record<string, unknown>;
type Args = Record<string, unknown>;

/** The wire form of an object. */
export function wire(name: string, version: string, data: Row, changes: readonly string[] = []): Primitive {
  return { 'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data, ...(changes.length > 0 ? { 'nova_object.changes': changes } : {}) };
}

const joined = new Set(['info_cache', 'flavor', 'old_flavor', 'new_flavor', 'security_groups', 'tags', 'ec2_ids', 'pci_requests', 'keypairs', 'numa_topology', 'device_metadata', 'trusted_certs', 'migration_context', 'resources', 'vcpu_model', 'pci_devices', 'services', 'fault', 'metadata', 'system_metadata']);

export class FakeNova implements RpcClient {
  readonly instances = new Map<string, Row>();
  readonly caches = new Map<string, string>();
  readonly vifs: Row[] = [];
  readonly faults: Row[] = [];
  /** What each `Instance.save` demanded of the row. */
  readonly demands: Args[] = [];
  readonly actions: string[] = [];
  readonly events: { uuid: string; name: string; error: unknown; done: boolean }[] = [];
  readonly migrations: Row[] = [];
  readonly groups = new Map<string, Row>();
  readonly nodes: Row[] = [];
  readonly casts: { method: string; args: Args }[] = [];
  service: Row | undefined;
  /** Who takes calls and casts to compute services. */
  onCall: ((target: Target, method: string, args: Args, context: WireContext) => Promise<unknown>) | undefined;
  onCast: ((target: Target, method: string, args: Args, context: WireContext) => void) | undefined;

  constructor(readonly steps: Steps, public serviceVersion = 68) {}

  row(uuid: string): Row {
    const row = this.instances.get(uuid);
    if (!row) throw new Error(`no instance ${uuid}`);
    return row;
  }

  async call(target: Target, method: string, args: Args, context: WireContext): Promise<unknown> {
    const copy = structuredClone(args);
    if (method === 'ping') return { service: 'conductor', arg: copy['arg'] };
    if (method === 'object_class_action_versions') return structuredClone(await this.#classCall(String(copy['objname']), String(copy['objmethod']), copy['args'] as unknown[], copy['kwargs'] as Args, context));
    if (method === 'object_action') return structuredClone(await this.#action(copy['objinst'] as Primitive, String(copy['objmethod']), copy['kwargs'] as Args));
    const answer = await this.onCall?.(target, method, copy, context);
    if (answer === undefined) throw new Error(`unexpected call ${method}`);
    return answer;
  }
  async cast(target: Target, method: string, args: Args, context?: WireContext): Promise<void> {
    await this.steps.pass(`cast ${method}`);
    this.casts.push({ method, args: structuredClone(args) });
    if (target.topic === 'compute' && context) this.onCast?.(target, method, structuredClone(args), context);
  }
  async fanout(target: Target, method: string, args: Args): Promise<void> {
    await this.cast(target, method, args);
  }

  #instance(uuid: string, context: WireContext, attributes: readonly string[] = []): Primitive {
    const row = this.instances.get(uuid);
    if (!row || (row['deleted'] === true && context['read_deleted'] === 'no')) throw failure('InstanceNotFound');
    // the three flavors are one column
    const wanted = attributes.includes('flavor') ? [...attributes, 'old_flavor', 'new_flavor'] : attributes;
    const data = Object.fromEntries(Object.entries(row).filter(([field]) => !joined.has(field) || wanted.includes(field)));
    if (attributes.includes('info_cache')) data['info_cache'] = wire('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: this.caches.get(uuid) ?? null });
    return wire('Instance', '2.8', data);
  }

  #migrations(rows: readonly Row[]): Primitive {
    return wire('MigrationList', '1.5', { objects: rows.map((migration) => wire('Migration', '1.8', { ...migration })) });
  }

  #list(rows: readonly Row[], context: WireContext, attributes: unknown): Primitive {
    return wire('InstanceList', '2.6', { objects: rows.filter((row) => row['deleted'] !== true).map((row) => this.#instance(String(row['uuid']), context, (attributes ?? []) as string[])) });
  }

  async #classCall(object: string, method: string, args: readonly unknown[], kwargs: Args, context: WireContext): Promise<unknown> {
    const name = `${object}.${method}`;
    await this.steps.pass(name === 'InstanceActionEvent.event_start' || name === 'InstanceActionEvent.event_finish_with_failure' ? `${name} ${String(args[1])}` : name);
    const uuid = String(args[0] ?? kwargs['uuid']);
    const rows = [...this.instances.values()];
    switch (name) {
      case 'Service.get_minimum_version': return this.serviceVersion;
      case 'Service.get_by_host_and_binary': return this.service ? wire('Service', '1.22', { ...this.service }) : null;
      case 'Instance.get_by_uuid': return this.#instance(uuid, context, (kwargs['expected_attrs'] ?? []) as string[]);
      case 'InstanceList.get_by_host': return this.#list(rows.filter((row) => row['host'] === args[0]), context, kwargs['expected_attrs']);
      case 'InstanceList.get_by_host_and_node': return this.#list(rows.filter((row) => row['host'] === args[0] && row['node'] === args[1]), context, kwargs['expected_attrs']);
      case 'InstanceList.get_by_filters': return this.#list(rows.filter((row) => Object.entries(args[0] as Row).every(([field, value]) => row[field] === value)), context, kwargs['expected_attrs']);
      case 'InstanceList.get_uuids_by_host': return rows.filter((row) => row['host'] === args[0] && row['deleted'] !== true).map((row) => row['uuid']);
      case 'InstanceInfoCache.get_by_instance_uuid':
        if (!this.instances.has(uuid) || this.row(uuid)['deleted'] === true) throw failure('InstanceInfoCacheNotFound');
        return wire('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: this.caches.get(uuid) ?? null });
      case 'VirtualInterface.delete_by_instance_uuid':
        this.vifs.splice(0, this.vifs.length, ...this.vifs.filter((vif) => vif['instance_uuid'] !== uuid));
        return null;
      case 'VirtualInterfaceList.get_by_instance_uuid': return wire('VirtualInterfaceList', '1.0', { objects: this.vifs.filter((vif) => vif['instance_uuid'] === uuid).map((vif) => wire('VirtualInterface', '1.3', { ...vif })) });
      case 'InstanceAction.action_start': this.actions.push(String(args[1])); return null;
      case 'InstanceActionEvent.event_start': this.events.push({ uuid, name: String(args[1]), error: undefined, done: false }); return null;
      case 'InstanceActionEvent.event_finish_with_failure': {
        const event = this.events.find((item) => item.uuid === uuid && item.name === args[1] && !item.done);
        if (!event) throw failure('InstanceActionEventNotFound');
        event.done = true;
        event.error = kwargs['exc_val'];
        return null;
      }
      case 'ComputeNodeList.get_all_by_uuids': return wire('ComputeNodeList', '1.17', { objects: this.nodes.filter((node) => (args[0] as string[]).includes(String(node['uuid']))).map((node) => wire('ComputeNode', '1.19', { ...node })) });
      case 'ComputeNodeList.get_all_by_host': {
        const found = this.nodes.filter((node) => node['host'] === args[0]);
        if (found.length === 0) throw failure('ComputeHostNotFound');
        return wire('ComputeNodeList', '1.17', { objects: found.map((node) => wire('ComputeNode', '1.19', { ...node })) });
      }
      case 'MigrationList.get_by_filters': {
        const fits = (migration: Row): boolean => Object.entries(args[0] as Row).every(([field, value]) => (field === 'host' ? [migration['source_compute'], migration['dest_compute']].includes(value) : [value].flat().includes(migration[field])));
        return this.#migrations(this.migrations.filter(fits));
      }
      case 'MigrationList.get_in_progress_and_error':
        return this.#migrations(this.migrations.filter((migration) => [migration['source_compute'], migration['dest_compute']].includes(args[0]) && !['confirmed', 'reverted', 'done', 'completed', 'failed', 'cancelled'].includes(String(migration['status']))));
      case 'MigrationList.get_unconfirmed_by_dest_compute':
        return this.#migrations(this.migrations.filter((migration) => migration['dest_compute'] === args[1] && migration['status'] === 'finished'));
      case 'Migration.get_by_id_and_instance': {
        const found = this.migrations.find((migration) => migration['id'] === args[0] && migration['instance_uuid'] === args[1]);
        if (!found) throw failure('MigrationNotFoundForInstance');
        return wire('Migration', '1.8', { ...found });
      }
      case 'ComputeNode.get_first_node_by_host_for_old_compat': {
        const node = this.nodes.find((item) => item['host'] === args[0]);
        if (!node) throw failure('ComputeHostNotFound');
        return wire('ComputeNode', '1.19', { ...node });
      }
      case 'InstanceGroup.get_by_instance_uuid': {
        const group = [...this.groups.values()].find((item) => (item['members'] as string[]).includes(uuid));
        if (!group) throw failure('InstanceGroupNotFound');
        return wire('InstanceGroup', '1.11', { ...group });
      }
      case 'Migration.get_by_id': {
        const found = this.migrations.find((migration) => migration['id'] === args[0]);
        if (!found) throw failure('MigrationNotFound');
        return wire('Migration', '1.8', { ...found });
      }
      case 'InstanceGroup.get_by_uuid':
      case 'InstanceGroup.get_by_name': {
        const group = [...this.groups.values()].find((item) => item['uuid'] === args[0] || item['name'] === args[0]);
        if (!group) throw failure('InstanceGroupNotFound');
        return wire('InstanceGroup', '1.11', { ...group });
      }
      case 'ConsoleAuthToken.clean_console_auths_for_instance':
      case 'ConsoleAuthToken.clean_expired_console_auths': return null;
      default: throw new Error(`the fake conductor does not know ${name}`);
    }
  }

  async #action(object: Primitive, method: string, kwargs: Args): Promise<unknown> {
    const data = object['nova_object.data'];
    const changed = Object.fromEntries((object['nova_object.changes'] ?? []).map((field) => [field, data[field]]));
    const name = `${object['nova_object.name']}.${method}`;
    await this.steps.pass(name === 'Instance.save' ? `Instance.save ${'vm_state' in changed ? String(changed['vm_state']) : '-'}/${'task_state' in changed ? String(changed['task_state']) : '-'}` : name);
    switch (name) {
      case 'Instance.save': return [this.#save(data, changed, kwargs), null];
      case 'Instance.destroy': {
        const row = this.instances.get(String(data['uuid']));
        if (!row || row['deleted'] === true) throw failure('InstanceNotFound');
        Object.assign(row, { deleted: true, deleted_at: '2026-11-22T02:02:00Z' });
        this.caches.delete(String(data['uuid']));
        return [{ deleted: true, deleted_at: '2026-11-22T02:02:00Z', obj_what_changed: [] }, null];
      }
      case 'InstanceInfoCache.save': {
        const uuid = String(data['instance_uuid']);
        // a deleted row's cache is not seen and not made again (`instance_info_cache_update`)
        if (this.instances.get(uuid)?.['deleted'] !== true) this.caches.set(uuid, String(data['network_info']));
        return [{ created_at: '2026-11-22T02:01:25Z', updated_at: null, deleted_at: null, deleted: false, obj_what_changed: [] }, null];
      }
      case 'InstanceFault.create': this.faults.push(changed); return [{ id: this.faults.length, obj_what_changed: [] }, null];
      case 'VirtualInterface.create':
        this.vifs.push(changed);
        return [{ id: this.vifs.length, created_at: '2026-11-22T02:01:30Z', updated_at: null, deleted_at: null, deleted: false, obj_what_changed: [] }, null];
      case 'VirtualInterface.destroy':
        this.vifs.splice(0, this.vifs.length, ...this.vifs.filter((vif) => vif['uuid'] !== data['uuid']));
        return [{ obj_what_changed: [] }, null];
      case 'ComputeNode.create': {
        const node = { id: 1, ...changed };
        this.nodes.push(node);
        return [{ id: 1, created_at: '2026-11-22T02:01:30Z', obj_what_changed: [] }, null];
      }
      case 'ComputeNode.save': {
        const node = this.nodes.find((item) => item['id'] === data['id'] && item['uuid'] === data['uuid']);
        if (!node) throw failure('ComputeHostNotFound');
        Object.assign(node, changed);
        return [{ updated_at: '2026-11-22T02:01:31Z', obj_what_changed: [] }, null];
      }
      case 'Service.create':
        this.service = { id: 4, disabled: false, ...changed };
        return [{ ...this.service, obj_what_changed: [] }, null];
      case 'Service.save':
        if (!this.service || this.service['id'] !== data['id']) throw failure('ServiceNotFound');
        Object.assign(this.service, changed);
        return [{ last_seen_up: '2026-11-22T02:01:31Z', updated_at: '2026-11-22T02:01:31Z', obj_what_changed: [] }, null];
      case 'Migration.save':
        Object.assign(this.migrations.find((item) => item['id'] === data['id']) ?? {}, changed);
        return [{ updated_at: '2026-11-22T02:01:31Z', obj_what_changed: [] }, null];
      case 'ConsoleAuthToken.authorize': return [{ id: 1, tls_port: null, token: 'the-token', expires: 1795313541, created_at: '2026-11-22T02:02:21Z', updated_at: null, obj_what_changed: [] }, 'the-token'];
      case 'BlockDeviceMapping.destroy': return [{ deleted: true, obj_what_changed: [] }, null];
      case 'InstanceGroup.get_hosts': {
        const members = ((data['members'] ?? []) as string[]).filter((member) => !((kwargs['exclude'] ?? []) as string[]).includes(member));
        return [{ obj_what_changed: [] }, [...new Set(members.map((member) => this.instances.get(member)?.['host']).filter((host) => host !== null && host !== undefined))]];
      }
      default: throw new Error(`the fake conductor does not know ${name}`);
    }
  }

  #save(data: Row, changed: Row, kwargs: Args): Row {
    const row = this.instances.get(String(data['uuid']));
    this.demands.push(kwargs);
    if (!row || row['deleted'] === true) throw failure('InstanceNotFound');
    const expects = (key: string): unknown[] | undefined => (kwargs[key] === undefined || kwargs[key] === null ? undefined : [kwargs[key]].flat());
    const tasks = expects('expected_task_state');
    if (tasks && !tasks.includes(row['task_state'] ?? null)) {
      throw failure(row['task_state'] === 'deleting' && !tasks.includes('deleting') ? 'UnexpectedDeletingTaskStateError' : 'UnexpectedTaskStateError');
    }
    const states = expects('expected_vm_state');
    if (states && !states.includes(row['vm_state'] ?? null)) throw failure('UnexpectedVMStateError');
    if ('node' in changed && !('compute_id' in changed)) throw failure('ObjectActionError');
    Object.assign(row, changed);
    // a sparse copy is answered with nearly every column
    const columns = Object.fromEntries(Object.entries(row).filter(([field]) => !joined.has(field) && !(field in changed)));
    return { ...columns, updated_at: '2026-11-22T02:01:31Z', obj_what_changed: [] };
  }
}

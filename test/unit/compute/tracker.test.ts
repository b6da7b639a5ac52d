import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { inventoriesOf } from '../../../src/compute/inventories.js';
import { nodeIdentity } from '../../../src/compute/node-identity.js';
import { hypervisorType } from '../../../src/compute/node-values.js';
import { cpuTraits, hostTraits, managedTraits } from '../../../src/compute/traits.js';
import { NovaObject } from '../../../src/nova/object.js';
import type { Inventory } from '../../../src/openstack/types.js';
import { wire } from './fake-nova.js';
import { context, host, nodeUuid, settings, uuid, world, type World } from './world.js';

test('inventories: totals, reserved, ratios: configured, else the present, else the initial; nothing with total 0', async (t) => {
  const { containers } = await world();
  const present = { MEMORY_MB: { allocation_ratio: 1.7 } as Inventory };
  t.deepEqual(inventoriesOf(containers.host, { ...settings, cpuAllocationRatio: 2 }, present), {
    VCPU: { total: 8, reserved: 1, min_unit: 1, max_unit: 8, step_size: 1, allocation_ratio: 2 },
    MEMORY_MB: { total: 16_000, reserved: 512, min_unit: 1, max_unit: 16_000, step_size: 1, allocation_ratio: 1.7 },
    DISK_GB: { total: 100, reserved: 2, min_unit: 1, max_unit: 100, step_size: 1, allocation_ratio: 1 },
  });
  t.deepEqual(Object.keys(inventoriesOf({ ...containers.host, diskGiB: 0 }, settings, {})), ['VCPU', 'MEMORY_MB']);
});

test('traits: only what is true', async (t) => {
  const { containers } = await world();
  t.deepEqual(hostTraits('2025.1'), ['COMPUTE_NODE', 'COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_NET_ATTACH_INTERFACE']);
  t.true(hostTraits('2026.2').includes('OWNER_NOVA'));
  t.deepEqual(cpuTraits(containers.host), ['HW_CPU_X86_SSE', 'HW_CPU_X86_AVX2']);
  t.deepEqual(cpuTraits({ ...containers.host, architecture: 'aarch64' }), []);
  for (const trait of ['COMPUTE_NET_ATTACH_INTERFACE', 'COMPUTE_STATUS_DISABLED', 'COMPUTE_TRUSTED_CERTS']) t.true(managedTraits.includes(trait), trait);
});

const audited = async (w: World): Promise<Record<string, unknown>> => {
  await w.compute.tracker.audit(context);
  return w.nova.nodes[0]!;
};

test('the audit makes the record, with reserved and used summed, then saves only changes', async (t) => {
  const w = await world();
  Object.assign(w.nova.row(uuid), { host, node: host, vm_state: 'active', task_state: null, os_type: 'linux' });
  const node = await audited(w);
  t.deepEqual(['host', 'hypervisor_hostname', 'uuid', 'service_id', 'hypervisor_type', 'host_ip', 'vcpus', 'vcpus_used', 'memory_mb', 'memory_mb_used', 'local_gb', 'local_gb_used', 'free_ram_mb', 'free_disk_gb', 'disk_available_least', 'running_vms', 'current_workload'].map((field) => node[field]),
    [host, host, nodeUuid, 4, hypervisorType, '192.0.2.2', 8, 2, 16_000, 640, 100, 3, 15_360, 97, 80, 1, 0]);
  t.is(typeof node['cpu_info'], 'string');
  t.deepEqual(node['stats'], { failed_builds: '0', io_workload: '0', num_instances: '1', num_vm_active: '1', num_task_None: '1', num_os_type_linux: '1', [`num_proj_${String(w.nova.row(uuid)['project_id'])}`]: '1' });
  t.deepEqual([...w.placement.traits].sort(), ['COMPUTE_IMAGE_TYPE_RAW', 'COMPUTE_NET_ATTACH_INTERFACE', 'COMPUTE_NODE', 'HW_CPU_X86_AVX2', 'HW_CPU_X86_SSE']);
  t.is(w.compute.node.id, 1);
  w.steps.clear();
  await audited(w);
  t.deepEqual([w.steps.count('ComputeNode.save'), w.steps.count('ComputeNode.create')], [0, 0]);
});

test('traits of criu: none before the probe, then what is true, taken off when it is not any more', async (t) => {
  const w = await world();
  const own = (): string[] => [...w.placement.traits].filter((trait) => trait.startsWith('CUSTOM_')).sort();
  w.placement.traits.add('CUSTOM_HAULIER_DIRTY_TRACKING').add('CUSTOM_OF_THE_OPERATOR'); // of an earlier run, on another kernel
  await audited(w);
  t.deepEqual(own(), ['CUSTOM_HAULIER_DIRTY_TRACKING', 'CUSTOM_OF_THE_OPERATOR']);
  t.is(w.compute.tracker.abilities, undefined);
  await w.compute.tracker.tellAbilities();
  t.deepEqual(own(), ['CUSTOM_HAULIER_FREEZE', 'CUSTOM_HAULIER_LAZY_PAGES', 'CUSTOM_OF_THE_OPERATOR']);
  await audited(w);
  t.deepEqual(own(), ['CUSTOM_HAULIER_FREEZE', 'CUSTOM_HAULIER_LAZY_PAGES', 'CUSTOM_OF_THE_OPERATOR']);
  w.containers.found = { ...w.containers.found, problem: 'criu is too old' };
  await w.compute.tracker.tellAbilities();
  t.deepEqual(own(), ['CUSTOM_OF_THE_OPERATOR']);
});

test('builds count as I/O, other tasks as workload', async (t) => {
  const w = await world();
  Object.assign(w.nova.row(uuid), { host, node: host, task_state: 'spawning' });
  w.nova.instances.set('b', { ...w.nova.row(uuid), uuid: 'b', id: 3, vm_state: 'active', task_state: 'powering-off' });
  const node = await audited(w);
  t.deepEqual([(node['stats'] as Record<string, string>)['io_workload'], node['current_workload']], ['1', 2]);
});

test('a claim that the audit does not find stays; one that was dropped while the audit read does not come back for good', async (t) => {
  const w = await world();
  const instance = NovaObject.from(w.instance());
  w.compute.tracker.claim(uuid, instance); // not in the database yet
  t.is((await audited(w))['vcpus_used'], 2);
  Object.assign(w.nova.row(uuid), { host, node: host });
  const call = w.nova.call.bind(w.nova);
  w.nova.call = async (...args) => {
    const read = await call(...args);
    if (args[2]['objmethod'] === 'get_by_host_and_node') w.compute.tracker.drop(uuid);
    return read;
  };
  await w.compute.tracker.audit(context);
  w.nova.call = call;
  Object.assign(w.nova.row(uuid), { host: null, node: null });
  t.is((await audited(w))['vcpus_used'], 1);
});

test('a message without the flavor does not forget the swap; deleted and offloaded servers do not count', async (t) => {
  const w = await world();
  const flavor = wire('Flavor', '1.2', { vcpus: 1, memory_mb: 128, root_gb: 1, ephemeral_gb: 0, swap: 2048, extra_specs: {} });
  Object.assign(w.nova.row(uuid), { host, node: host, vm_state: 'active', task_state: null, flavor });
  t.is((await audited(w))['local_gb_used'], 5);
  const sparse = NovaObject.from(wire('Instance', '2.8', { uuid, id: 2, vm_state: 'stopped', task_state: null, vcpus: 1, memory_mb: 128, root_gb: 1, ephemeral_gb: 0 }));
  w.compute.tracker.update(uuid, sparse);
  w.nova.instances.get(uuid)!['vm_state'] = 'shelved_offloaded';
  t.is((await audited(w))['local_gb_used'], 2);
  w.compute.tracker.stop();
});

test('failed builds lower the weight until one succeeds', async (t) => {
  const w = await world();
  w.compute.tracker.buildFailed();
  w.compute.tracker.buildFailed();
  t.is(((await audited(w))['stats'] as Record<string, string>)['failed_builds'], '2');
  w.compute.tracker.built(uuid, NovaObject.from(w.instance()));
  t.is(((await audited(w))['stats'] as Record<string, string>)['failed_builds'], '0');
  w.compute.tracker.stop();
});

test('allocations of deleted servers are dropped, of nobody else', async (t) => {
  const w = await world();
  w.nova.instances.set('gone', { uuid: 'gone', id: 9, deleted: true });
  for (const consumer of ['gone', 'a-migration']) w.placement.allocations.set(consumer, { [nodeUuid]: { VCPU: 1 } });
  await w.compute.tracker.audit(context);
  t.deepEqual([...w.placement.allocations.keys()].sort(), [uuid, 'a-migration'].sort());
});

test('a record that was deleted behind our back is made anew', async (t) => {
  const w = await world();
  await audited(w);
  w.nova.nodes.length = 0;
  w.containers.host = { ...w.containers.host, diskFreeGiB: 1 };
  await t.throwsAsync(w.compute.tracker.audit(context), { name: 'ComputeHostNotFound' });
  t.is((await audited(w))['disk_available_least'], 1);
});

async function identity(service: Record<string, unknown> | undefined, nodes: Record<string, unknown>[], file?: string, more: { guests?: number; version?: number; second?: string } = {}): Promise<{ node: Awaited<ReturnType<typeof nodeIdentity>>; written: string }> {
  const w = await world({}, more.version ?? 68);
  w.nova.nodes.push(...nodes);
  const folder = await mkdtemp(join(tmpdir(), 'identity-'));
  const config = await mkdtemp(join(tmpdir(), 'identity-'));
  if (file !== undefined) await writeFile(join(folder, 'compute_id'), file);
  if (more.second !== undefined) await writeFile(join(config, 'compute_id'), more.second);
  const record = service ? NovaObject.from(wire('Service', '1.22', service)) : undefined;
  const node = await nodeIdentity(w.compute.conductor, context, { ...settings, statePath: folder, configDirs: [config] }, record, more.guests ?? 0);
  return { node, written: await readFile(join(folder, 'compute_id'), 'utf8').catch(() => '') };
}
const known = { id: 5, uuid: nodeUuid, host, hypervisor_hostname: host };
const service = { id: 4, host, version: 68 };

test('identity: a new host writes its file; a known one is found by it', async (t) => {
  const fresh = await identity(undefined, []);
  t.regex(fresh.node.uuid, /^[0-9a-f-]{36}$/);
  t.is(fresh.written, fresh.node.uuid);
  t.deepEqual((await identity(service, [known], `${nodeUuid}\n`)).node, { id: 5, uuid: nodeUuid, hypervisorHostname: host });
  t.is((await identity(service, [], nodeUuid)).node.uuid, nodeUuid); // the node record was deleted
});

test('identity: an old service is upgraded, its node\'s uuid goes into the file', async (t) => {
  t.deepEqual([(await identity({ ...service, version: 64 }, [known])).written, (await identity({ ...service, version: 64 }, [known], undefined, { version: 64 })).written], [nodeUuid, nodeUuid]);
});

for (const [name, args, reason] of [
  ['the file is lost', [service, [known]], new RegExp(`should hold ${nodeUuid}`)],
  ['the file is lost, and the node is not found under this name', [service, [{ ...known, hypervisor_hostname: 'old-name' }]], /is missing/],
  ['the file is lost, and there is no node', [service, []], /is missing/],
  ['the node belongs to another host', [service, [{ ...known, host: 'other' }], nodeUuid], /is known as other/],
  ['the node was renamed', [service, [{ ...known, hypervisor_hostname: 'old-name' }], nodeUuid], /old-name/],
  ['a new service on a host with guests', [undefined, [], undefined, { guests: 2 }], /2 containers are here/],
  ['two files disagree', [service, [known], nodeUuid, { second: '11111111-6fb9-447f-9482-9f3e2e18a7e3' }], /disagree/],
  ['the file is damaged', [service, [known], 'nonsense'], new RegExp(`does not hold a uuid; it should hold ${nodeUuid}`)],
  ['the file is empty', [service, [known], ''], new RegExp(`does not hold a uuid; it should hold ${nodeUuid}`)],
  ['the file is cut off, and nobody knows what was in it', [undefined, [], nodeUuid.slice(0, 20)], /does not hold a uuid; it should hold the uuid of this node/],
] as [string, Parameters<typeof identity>, RegExp][]) {
  test(`identity: refused when ${name}`, async (t) => {
    const error = await t.throwsAsync(identity(...args), { code: 'IDENTITY' });
    t.regex(error.message, reason);
  });
}

/** What the tests of live migration share: asking for one, looking at it, and what must be true of a server wherever it runs. */
import type { ExecutionContext } from 'ava';
import { container, hosts, type HostName } from './host.js';
import { haulierLog, inside, mustRun, until } from './machine.js';
import type { Scene } from './scene.js';
import { hostOf } from './snapshots.js';
import type { Server } from './types.js';

/** A migration as `os-migrations` shows it. */
export interface Migration { readonly id: number; readonly uuid: string; readonly status: string; readonly migration_type: string; readonly source_compute: string; readonly dest_compute: string | null }
/** One that runs, with its figures. */
export interface Running extends Migration {
  readonly memory_total_bytes: number | null; readonly memory_processed_bytes: number | null; readonly memory_remaining_bytes: number | null;
  readonly disk_total_bytes: number | null; readonly disk_processed_bytes: number | null; readonly disk_remaining_bytes: number | null;
}
interface Binding { readonly host: string; readonly status: string }

export const otherOf = (host: HostName): HostName => hosts.find((item) => item !== host)!;

/** Newest first. */
export async function migrations(scene: Scene, id: string): Promise<Migration[]> {
  const all = (await scene.admin.call<{ migrations: Migration[] }>('nova', 'GET', `/v2.1/os-migrations?instance_uuid=${id}`)).migrations;
  return all.toSorted((a, b) => b.id - a.id);
}

/** Those that are under way. */
export async function underWay(scene: Scene, id: string): Promise<Running[]> {
  return (await scene.admin.call<{ migrations: Running[] }>('nova', 'GET', `/v2.1/servers/${id}/migrations`)).migrations;
}

/** Asks. @param to undefined: the scheduler chooses */
export async function ask(scene: Scene, id: string, to?: HostName): Promise<void> {
  await scene.act(id, { 'os-migrateLive': { host: to ?? null, block_migration: 'auto' } });
}

/** Waits until no task runs, and the newest migration is over. */
export async function over(scene: Scene, id: string, seconds = 120): Promise<{ server: Server; migration: Migration }> {
  return until('the migration is over', seconds, async () => {
    const server = await scene.show(id);
    const [migration] = await migrations(scene, id);
    const ended = migration && ['completed', 'error', 'failed', 'cancelled'].includes(migration.status);
    return ended && server['OS-EXT-STS:task_state'] === null ? { server, migration } : undefined;
  }, async () => [await migrations(scene, id), (await scene.show(id))['OS-EXT-STS:task_state'], ...hosts.map((host) => haulierLog(host).slice(-1500))]);
}

const listed = async (host: HostName, folder: string, word: string): Promise<string[]> =>
  (await inside(host, ['sh', '-c', `cd ${folder} 2>/dev/null && ls -d ${word} 2>/dev/null`])).stdout.trim().split('\n').filter(Boolean);

/** What must be true of a server that runs at `host`: there and nowhere else, by every service's word. */
export async function runsAt(t: ExecutionContext, scene: Scene, id: string, host: HostName): Promise<Server> {
  const server = await scene.reach(id, 'ACTIVE');
  t.is(hostOf(server), host);
  t.is(server['OS-EXT-STS:power_state'], 1);
  t.is((await container(host, id))?.status, 'running');
  await until('nothing of it at the other host', 40, async () => (await remains(scene, id, otherOf(host))).length === 0, () => remains(scene, id, otherOf(host)));
  t.deepEqual(await scene.allocation(id), { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 });
  t.deepEqual(await provider(scene, id), [host]);
  for (const { uuid } of await migrations(scene, id)) t.is(await scene.allocation(uuid), undefined, 'allocation of a migration');
  for (const port of await scene.ports(id)) {
    t.is(port['binding:host_id'], host);
    t.deepEqual(port['binding:profile'] ?? {}, {});
    const { bindings } = await scene.admin.call<{ bindings: Binding[] }>('neutron', 'GET', `/v2.0/ports/${port.id}/bindings`);
    t.deepEqual(bindings.map((binding) => [binding.host, binding.status]), [[host, 'ACTIVE']]);
  }
  return server;
}

/** Hosts that hold its allocation. */
async function provider(scene: Scene, id: string): Promise<string[]> {
  const { allocations } = await scene.admin.call<{ allocations: Record<string, unknown> }>('placement', 'GET', `/allocations/${id}`);
  return Promise.all(Object.keys(allocations).map(async (uuid) => (await scene.admin.call<{ name: string }>('placement', 'GET', `/resource_providers/${uuid}`)).name));
}

async function remains(scene: Scene, id: string, host: HostName): Promise<string[]> {
  const ports = (await scene.ports(id)).map((port) => port.id.slice(0, 11));
  const links = await mustRun(host, ['sh', '-c', 'ip -o link; ovs-vsctl list-ports br-int']);
  const tables = (await inside(host, ['/usr/sbin/nft', 'list', 'tables'])).stdout;
  return [
    ...(await container(host, id) ? ['a container'] : []),
    ...(await listed(host, '/var/lib/nova/instances', `${id}* _in-*`)),
    ...(await listed(host, '/run/haulier/ports', id)),
    ...ports.filter((port) => links.includes(port)),
    ...ports.filter((port) => tables.includes(`haul-tap${port}`)).map((port) => `nft table of ${port}`),
  ].map((what) => `${host}: ${what}`);
}

/** The hosts as the cloud sees them: services, hypervisors, providers, joining and leaving. */
import test from 'ava';
import { ApiError } from './lib/api.js';
import { hosts, startHaulier, stopHaulier } from './lib/host.js';
import { cloud, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';
import type { Hypervisor } from './lib/types.js';

const ratiosVersion = '2.53'; // the last family of microversions whose hypervisors have figures ends at 2.87

async function hypervisor(scene: Scene, host: string, version = ratiosVersion): Promise<Hypervisor> {
  const { hypervisors } = await scene.admin.call<{ hypervisors: Hypervisor[] }>('nova', 'GET', '/v2.1/os-hypervisors/detail', undefined, version);
  const found = hypervisors.find((item) => item.hypervisor_hostname === host);
  if (!found) throw new Error(`no hypervisor ${host}`);
  return found;
}

test.serial('both hosts are up, and their figures are true', async (t) => {
  const scene = await Scene.begin(t);
  for (const host of hosts) {
    t.like(await until(`${host} up`, 20, async () => { const service = await scene.service(host); return service.state === 'up' ? service : undefined; }), { status: 'enabled' });
    const seen = await hypervisor(scene, host);
    const [cpus, memory, disk] = (await mustRun(host, ['sh', '-c', 'getconf _NPROCESSORS_ONLN; sed -n "s/^MemTotal: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo; df -B1 --output=size /var/lib/nova/instances | tail -1'])).trim().split('\n').map(Number);
    t.is(seen.vcpus, cpus!);
    t.is(seen.memory_mb, Math.floor(memory! / 1024));
    t.is(seen.local_gb, Math.floor(disk! / 1024 ** 3));
    t.like(seen, { hypervisor_type: 'haulier', state: 'up', host_ip: host === 'host1' ? '10.70.0.11' : '10.70.0.12' });
    const { uptime } = await hypervisor(scene, host, '2.88');
    t.regex(uptime ?? '', /up .*load average/, 'uptime');
  }
});

test.serial('usage and inventory follow a server', async (t) => {
  const scene = await Scene.begin(t);
  const before = await hypervisor(scene, 'host2');
  const server = await scene.active({ host: 'host2' });
  await until('usage is counted', 10, async () => {
    const now = await hypervisor(scene, 'host2');
    return now.vcpus_used === before.vcpus_used + 1 && now.memory_mb_used === before.memory_mb_used + 128 && now.local_gb_used === before.local_gb_used + 1 && now.running_vms === before.running_vms + 1;
  });
  await scene.delete(server.id);
  await until('usage is given back', 10, async () => (await hypervisor(scene, 'host2')).memory_mb_used === before.memory_mb_used);
  const { id } = await hypervisor(scene, 'host2');
  const { inventories } = await scene.admin.call<{ inventories: Record<string, { total: number }> }>('placement', 'GET', `/resource_providers/${id}/inventories`);
  t.like(inventories, { VCPU: { total: before.vcpus }, MEMORY_MB: { total: before.memory_mb }, DISK_GB: { total: before.local_gb } });
  const { traits } = await scene.admin.call<{ traits: string[] }>('placement', 'GET', `/resource_providers/${id}/traits`);
  t.true(traits.includes('COMPUTE_NODE'));
  t.false(traits.includes('COMPUTE_VOLUME_EXTEND') || traits.includes('COMPUTE_TRUSTED_CERTS'), 'nothing that is not true');
});

test.serial('a disabled host gets no servers, and bears the trait', async (t) => {
  const scene = await Scene.begin(t);
  const { id } = await scene.service('host2');
  const provider = (await hypervisor(scene, 'host2')).id;
  const traits = async (): Promise<string[]> => (await scene.admin.call<{ traits: string[] }>('placement', 'GET', `/resource_providers/${provider}/traits`)).traits;
  scene.after(() => scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { status: 'enabled' }));
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { status: 'disabled', disabled_reason: 'test' });
  t.true((await traits()).includes('COMPUTE_STATUS_DISABLED'));
  const server = await scene.active();
  t.is(server['OS-EXT-SRV-ATTR:host'], 'host1');
  await scene.admin.call('nova', 'PUT', `/v2.1/os-services/${id}`, { status: 'enabled' });
  t.false((await traits()).includes('COMPUTE_STATUS_DISABLED'));
});

test.serial('a host is retired, comes back as a new one, and discover_hosts finds it', async (t) => {
  const scene = await Scene.begin(t);
  await stopHaulier('host2');
  await scene.admin.remove('nova', `/v2.1/os-services/${(await scene.service('host2')).id}`);
  await t.throwsAsync(hypervisor(scene, 'host2'));
  await startHaulier('host2');
  t.is((await mustRun('host2', ['cat', '/var/lib/nova/compute_id'])).length, 36);
  const unmapped = await scene.admin.raw('nova', 'POST', '/v2.1/servers', { server: { name: 'ct-unmapped', imageRef: scene.ground.image, flavorRef: await scene.flavor('h1.tiny'), networks: 'none', host: 'host2' } });
  t.is(unmapped.status, 400, unmapped.text);
  await cloud(['discover']);
  await until('host2 up', 20, async () => (await scene.service('host2')).state === 'up');
  const server = await scene.active({ host: 'host2' }).catch((error: unknown) => t.fail(error instanceof ApiError ? error.body : String(error)));
  t.truthy(server);
});

/** When all is over: whatever is on a host belongs to a server that exists there, and placement counts nothing else. */
import test from 'ava';
import { belongings, hosts } from './lib/host.js';
import { Scene } from './lib/scene.js';
import type { Hypervisor, Port, Server } from './lib/types.js';

test.serial('no host has anything of a server or port that does not exist', async (t) => {
  const scene = await Scene.begin(t);
  const { servers } = await scene.admin.call<{ servers: Server[] }>('nova', 'GET', '/v2.1/servers/detail?all_tenants=1');
  const { ports } = await scene.admin.call<{ ports: Port[] }>('neutron', 'GET', '/v2.0/ports?fields=id');
  const { hypervisors } = await scene.admin.call<{ hypervisors: Hypervisor[] }>('nova', 'GET', '/v2.1/os-hypervisors');
  for (const host of hosts) {
    const here = new Set(servers.filter((server) => server['OS-EXT-SRV-ATTR:host'] === host).map((server) => server.id));
    const { instances, devices } = await belongings(host);
    t.deepEqual([...instances].filter(([id]) => !here.has(id)).map(([, line]) => line), [], host);
    t.deepEqual([...devices].filter(([id]) => !ports.some((port) => port.id.startsWith(id))).map(([, line]) => line), [], host);
    const provider = hypervisors.find((item) => item.hypervisor_hostname === host)!.id;
    const { allocations } = await scene.admin.call<{ allocations: Record<string, unknown> }>('placement', 'GET', `/resource_providers/${provider}/allocations`);
    t.deepEqual(Object.keys(allocations).filter((id) => !servers.some((server) => server.id === id)), [], `placement: ${host}`);
  }
  const { ports: own } = await scene.admin.call<{ ports: Port[] }>('neutron', 'GET', `/v2.0/ports?project_id=${scene.admin.projectId}`);
  t.deepEqual(own, []);
});

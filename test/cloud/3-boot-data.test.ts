/** Boot data through Nova's API: the config drive and the metadata service behind neutron's agents say the same; key, script and passwords; over a live migration and a rebuild. */
import test from 'ava';
import { guest } from './lib/host.js';
import { keyPair } from './lib/key-pair.js';
import { ask, over, runsAt } from './lib/live.js';
import { cloud, haulierLog, mustRun, until } from './lib/machine.js';
import { Scene } from './lib/scene.js';

const script = '#!/bin/sh\necho "booted with user data"\necho run >> /root/runs\n';
/** A network without a router whose subnet has DHCP, which the DHCP agent takes up. @returns its id, and the address of the agent's port, by which the metadata service is reached */
async function networkWithDhcp(scene: Scene): Promise<{ readonly network: string; readonly gate: string }> {
  const { admin } = scene;
  const { network: { id } } = await admin.call<{ network: { id: string } }>('neutron', 'POST', '/v2.0/networks', { network: { name: 'ct-metadata' } });
  scene.after(() => admin.remove('neutron', `/v2.0/networks/${id}`)); // the agent's port goes with it
  await admin.call('neutron', 'POST', '/v2.0/subnets', { subnet: { network_id: id, ip_version: 4, cidr: '10.73.0.0/24', gateway_ip: null } });
  const gate = await until('the DHCP agent\'s port', 40, async () => {
    const { ports } = await admin.call<{ ports: { status: string; fixed_ips: { ip_address: string }[] }[] }>('neutron', 'GET', `/v2.0/ports?network_id=${id}&device_owner=network:dhcp`);
    return ports.find(({ status }) => status === 'ACTIVE')?.fixed_ips[0]?.ip_address;
  });
  return { network: id, gate };
}

const first = 'First-9f3a7c';
const second = 'Second-9f3a7c';
const third = 'Third-9f3a7c';

test.serial('a server with key, script, password and config drive asks the metadata service, moves, and is rebuilt', async (t) => {
  const scene = await Scene.begin(t);
  const { admin, ground } = scene;
  await cloud(['metadata', 'up']);
  scene.after(() => cloud(['metadata', 'down']));
  const { network, gate } = await networkWithDhcp(scene);
  const name = 'ct-boot-data';
  const key = await keyPair(scene, name);

  const server = await scene.active({ host: 'host1', networks: [{ uuid: ground.publicNetwork }, { uuid: network }], extra: { config_drive: true, key_name: name, user_data: Buffer.from(script).toString('base64'), adminPass: first, metadata: { role: 'web' } } });
  const { id } = server;
  const look = (command: string, host: 'host1' | 'host2' = 'host1'): Promise<string> => guest(host, id, command);
  t.is((await admin.call<{ server: { config_drive: string } }>('nova', 'GET', `/v2.1/servers/${id}`)).server.config_drive, 'True');
  t.true((await look('ip route')).includes(`169.254.169.254 via ${gate} dev eth1`));
  t.is((await mustRun('ctl', ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:8775/openstack/latest/meta_data.json'])).trim(), '400', 'Nova answers nobody but neutron\'s agent');

  const parsed = async (command: string): Promise<Record<string, unknown>> => JSON.parse(await look(command)) as Record<string, unknown>;
  const drive = await parsed('cat /config-drive/openstack/latest/meta_data.json');
  const served = await parsed('wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json');
  t.deepEqual({ ...drive, random_seed: '' }, { ...served, random_seed: '', admin_pass: first }, 'the drive says what Nova\'s own metadata service says, and the password');
  t.like(served, { uuid: id, meta: { role: 'web' }, public_keys: { [name]: key } });
  t.is(await look('wget -q -O - http://169.254.169.254/openstack/latest/user_data'), script);
  t.deepEqual(await parsed('cat /config-drive/openstack/latest/network_data.json'), await parsed('wget -q -O - http://169.254.169.254/openstack/latest/network_data.json'));
  for (const path of ['instance-type', 'hostname', 'local-ipv4', 'instance-id', 'ami-id', 'reservation-id', 'security-groups']) {
    const said = (await parsed('cat /config-drive/ec2/latest/meta-data.json'))[path];
    t.is([said].flat().join('\n'), await look(`wget -q -O - http://169.254.169.254/latest/meta-data/${path}`), path);
  }
  t.is((await look('cat /root/.ssh/authorized_keys')).trim(), key);
  const hash = async (host: 'host1' | 'host2' = 'host1'): Promise<string> => (await look('cat /etc/shadow /etc/passwd 2>/dev/null | grep "^root:" | cut -d: -f2 | head -n 1', host)).trim();
  const atBoot = await hash();
  t.regex(atBoot, /^\$6\$/);
  await until('the script has run', 60, async () => (await look('cat /root/runs 2>/dev/null; true')) === 'run\n');

  await scene.act(id, { changePassword: { adminPass: second } });
  await scene.reach(id, 'ACTIVE');
  const changed = await hash();
  t.regex(changed, /^\$6\$/);
  t.not(changed, atBoot);

  await ask(scene, id, 'host2');
  t.is((await over(scene, id)).migration.status, 'completed');
  await runsAt(t, scene, id, 'host2');
  t.like(JSON.parse(await look('cat /config-drive/openstack/latest/meta_data.json', 'host2')), { uuid: id, admin_pass: first });
  t.is(await hash('host2'), changed);
  t.is(await look('wget -q -O - http://169.254.169.254/openstack/latest/user_data', 'host2'), script, 'from the other host too');

  await scene.act(id, { rebuild: { imageRef: ground.image, adminPass: third } });
  await scene.reach(id, 'ACTIVE');
  t.like(JSON.parse(await look('cat /config-drive/openstack/latest/meta_data.json', 'host2')), { uuid: id, admin_pass: third });
  t.is((await look('cat /root/.ssh/authorized_keys', 'host2')).trim(), key);
  await until('the script has run in the new system', 60, async () => (await look('cat /root/runs 2>/dev/null; true', 'host2')) === 'run\n');
  for (const host of ['host1', 'host2'] as const) for (const word of [first, second, third]) t.false(haulierLog(host).includes(word), `${host}: a password in the log`);
});

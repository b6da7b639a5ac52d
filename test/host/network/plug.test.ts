/** Ports on a real Linux bridge and on a real Open vSwitch (userspace datapath), with real containers behind them. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { bridgeMac } from '../../../src/container/network/linux-bridge.js';
import { startSwitch, switchProblem } from './switch.js';
import type { VifSpec } from '../../../src/container/spec.js';
import { hostProblem, inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from '../container/harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/network/plug: ${problem}\n`);

const kill = { timeoutMs: 0, retryMs: 0 };
const there = (device: string): boolean => existsSync(`/sys/class/net/${device}`);
const ping = async (address: string): Promise<void> => { await until(`${address} answers`, () => run('ping', ['-c1', '-W1', address]).then(() => true, () => false)); };

test.before(async (t) => {
  if (problem !== undefined) return;
  await run('ip', ['link', 'set', 'lo', 'up']);
  t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

async function giveAddresses(bridge: string, index: number): Promise<void> {
  await run('sh', ['-c', `echo 0 > /proc/sys/net/ipv6/conf/${bridge}/disable_ipv6; ip addr replace 10.90.${index}.1/24 dev ${bridge}; ip addr replace fd00:90:${index}::1/64 dev ${bridge} nodad; ip link set ${bridge} up`]);
}

async function checkGuest(t: { is: (a: unknown, b: unknown) => void; regex: (a: string, b: RegExp) => void }, bed: Bed, id: string): Promise<void> {
  for (const index of [0, 1]) {
    await ping(`10.90.${index}.5`);
    await ping(`fd00:90:${index}::5`);
  }
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth0/mtu'), '1450');
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth1/address'), 'fa:16:3e:00:00:11');
  t.regex(await inside(bed, id, 'ip', 'route'), /default via 10\.90\.0\.1 dev eth0/);
  t.regex(await inside(bed, id, 'ip', 'route'), /192\.168\.7\.0\/24 via 10\.90\.0\.1 dev eth0/);
  t.regex(await inside(bed, id, 'ip', '-6', 'route'), /default via fd00:90::1 dev eth0/);
  t.is(await inside(bed, id, 'cat', '/etc/resolv.conf'), 'nameserver 10.90.0.2');
  t.regex(await inside(bed, id, 'cat', '/etc/hosts'), /10\.90\.0\.5 guest1/);
  t.is(await inside(bed, id, 'sh', '-c', 'ping -c1 -W2 10.90.0.1 >/dev/null; echo $?'), '0');
}

const routes = [{ destination: '0.0.0.0/0', gateway: '10.90.0.1' }, { destination: '::/0', gateway: 'fd00:90::1' }, { destination: '192.168.7.0/24', gateway: '10.90.0.1' }];

real('two ports on Linux bridges: addresses answer, MTU, routes, DNS; unplugged at stop, plugged at start', async (t) => {
  const { bed } = t.context;
  const vifs = [0, 1].map((index) => makeVif({ type: 'bridge', bridge: `brqht${index}`, createBridge: true }, index, index === 0 ? { routes, dns: ['10.90.0.2'] } : {}));
  const spec = makeSpec(bed.image, { vifs });
  await operate((operation) => bed.host.create(spec, operation));
  for (const vif of vifs) await operate((operation) => bed.host.plug(spec.id, vif, operation)); // early
  t.true(there(vifs[0]?.hostDevice ?? ''));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await giveAddresses('brqht0', 0);
  await giveAddresses('brqht1', 1);
  await checkGuest(t, bed, spec.id);
  t.true((await bed.host.stats(spec.id)).nics[0]!.rxPackets > 0);
  for (const vif of vifs) await operate((operation) => bed.host.plug(spec.id, vif, operation)); // idempotent while it runs
  await ping('10.90.1.5');
  await operate((operation) => bed.host.stopContainer(spec.id, kill, operation));
  t.false(vifs.some((vif) => there(vif.hostDevice)));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await ping('10.90.0.5');
  process.kill((await bed.host.view(spec.id)).pid ?? 0, 'SIGKILL'); // its cable goes with it
  await until('crash seen', async () => (await bed.host.view(spec.id)).state === 'crashed');
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await ping('fd00:90:1::5');
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.false(vifs.some((vif) => there(vif.hostDevice)));
});

real('pitfall: a bridge keeps its MAC when a container comes and goes, Haulier\'s own and one that has none of its own', async (t) => {
  const { bed } = t.context;
  const macOf = async (bridge: string): Promise<string> => (await readFile(`/sys/class/net/${bridge}/address`, 'utf8')).trim();
  // as an agent makes it, with the host's own interface in it, whose MAC it takes; a random one of a container would be lower at times
  await run('ip', ['-batch', '-'], { input: 'link add brqhtmac type bridge\nlink add brqhtnic address fa:ff:ff:00:00:01 type veth peer name brqhtwire\nlink set brqhtnic master brqhtmac up\nlink set brqhtmac up\n' });
  t.is(await macOf('brqhtmac'), 'fa:ff:ff:00:00:01');
  t.teardown(() => run('ip', ['link', 'delete', 'dev', 'brqhtnic']));
  const vifs = [makeVif({ type: 'bridge', bridge: 'brqhtmac', createBridge: false }, 0), makeVif({ type: 'bridge', bridge: 'brqhtown', createBridge: true }, 1)];
  const spec = makeSpec(bed.image, { vifs });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  t.is(await macOf('brqhtmac'), 'fa:ff:ff:00:00:01');
  t.is(await macOf('brqhtown'), bridgeMac('brqhtown'));
  const second = makeVif({ type: 'bridge', bridge: 'brqhtown', createBridge: true }, 2);
  await operate((operation) => bed.host.plug(spec.id, second, operation));
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual([await macOf('brqhtmac'), await macOf('brqhtown')], ['fa:ff:ff:00:00:01', bridgeMac('brqhtown')]);
});

real('a missing bridge is said in plain words and nothing stays', async (t) => {
  const { bed } = t.context;
  const vif = makeVif({ type: 'bridge', bridge: 'brqnone', createBridge: false }, 0);
  const spec = makeSpec(bed.image, { vifs: [vif] });
  await operate((operation) => bed.host.create(spec, operation));
  await t.throwsAsync(operate((operation) => bed.host.startContainer(spec.id, operation)), { message: /there is no bridge brqnone/ });
  t.false(there(vif.hostDevice));
  t.is((await bed.host.view(spec.id)).state, 'stopped');
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

real('two ports on Open vSwitch, plain and hybrid, found by their external ids; destroy leaves none', async (t) => {
  if (switchProblem() !== undefined) {
    process.stderr.write(`SKIPPED Open vSwitch: ${switchProblem()}\n`);
    t.pass();
    return;
  }
  const ovs = await startSwitch();
  const bed = await makeBed({ ovsdbConnection: ovs.database });
  try {
    const vsctl = async (...args: string[]): Promise<string> => (await run('ovs-vsctl', [`--db=${ovs.database}`, ...args])).stdout.trim();
    for (const index of [0, 1]) await vsctl('--', 'add-br', `br-t${index}`, '--', 'set', 'Bridge', `br-t${index}`, 'datapath_type=netdev');
    const vifs: VifSpec[] = [
      makeVif({ type: 'ovs', bridge: 'br-t0', hybrid: false, createPort: true, datapathType: undefined }, 0, { routes, dns: ['10.90.0.2'] }),
      makeVif({ type: 'ovs', bridge: 'br-t1', hybrid: true, createPort: true, datapathType: 'netdev' }, 1),
    ];
    const spec = makeSpec(bed.image, { vifs });
    await operate((operation) => bed.host.create(spec, operation));
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    for (const index of [0, 1]) await giveAddresses(`br-t${index}`, index);
    await checkGuest(t, bed, spec.id);
    const ids = await vsctl('get', 'Interface', vifs[0]!.hostDevice, 'external_ids');
    for (const text of [`iface-id="${vifs[0]!.id}"`, 'iface-status=active', 'attached-mac="fa:16:3e:00:00:10"', `vm-uuid="${spec.id}"`]) t.true(ids.includes(text), `${text} in ${ids}`);
    t.is(await vsctl('get', 'Interface', vifs[0]!.hostDevice, 'mtu_request'), '1450');
    for (const vif of vifs) await operate((operation) => bed.host.plug(spec.id, vif, operation));
    await operate((operation) => bed.host.stopContainer(spec.id, kill, operation));
    t.deepEqual((await vsctl('--bare', '--columns=name', 'find', 'Interface', `external_ids:vm-uuid=${spec.id}`)), '');
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    await ping('10.90.1.5');
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.is(await vsctl('list-ports', 'br-t0'), '');
    t.is(await vsctl('list-ports', 'br-t1'), '');
    t.false(there(`qbr${vifs[1]!.id.slice(0, 11)}`) || there(`qvo${vifs[1]!.id.slice(0, 11)}`) || there(vifs[1]!.hostDevice));
    } finally {
    await bed.end();
    for (const index of [0, 1]) await run('ovs-vsctl', [`--db=${ovs.database}`, '--if-exists', 'del-br', `br-t${index}`]);
    await ovs.stop();
  }
});

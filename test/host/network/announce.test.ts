/** A guest announces its addresses itself: whoever knows another owner of them hears of the new one without asking. */
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { hostProblem, makeBed, makeSpec, makeVif, operate, until, type Bed } from '../container/harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/network/announce: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const bridge = 'brqht5';
const addresses = ['10.90.5.5', 'fd00:90:5::5'];
const earlier = '02:00:00:00:00:99';
const neighbour = async (address: string): Promise<string> => (await run('ip', ['neigh', 'show', address, 'dev', bridge])).stdout;
async function mistake(): Promise<void> {
  for (const address of addresses) await run('ip', ['neigh', 'replace', address, 'lladdr', earlier, 'dev', bridge, 'nud', 'reachable']);
}

real('after a start, after a resume, and when asked', async (t) => {
  const { bed } = t.context;
  const vif = makeVif({ type: 'bridge', bridge, createBridge: true }, 0, { addresses: [{ address: addresses[0]!, prefixLength: 24 }, { address: addresses[1]!, prefixLength: 64 }] });
  const spec = makeSpec(bed.image, { vifs: [vif] });
  const heard = async (when: string): Promise<void> => {
    for (const address of addresses) await until(`${when}: ${address} is known to be ${vif.mac}`, async () => (await neighbour(address)).includes(vif.mac));
  };
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.plug(spec.id, vif, operation));
  await run('sh', ['-c', `echo 0 > /proc/sys/net/ipv6/conf/${bridge}/disable_ipv6; ip addr replace 10.90.5.1/24 dev ${bridge}; ip addr replace fd00:90:5::1/64 dev ${bridge} nodad; ip link set ${bridge} up
    ip link add brqht5a type veth peer name brqht5b; ip link set brqht5b up; ip link set brqht5a master ${bridge} up`]); // a pair that keeps the carrier: without one the neighbours are forgotten

  await mistake();
  t.true((await neighbour(addresses[0]!)).includes(earlier));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await heard('after the start');

  // what the guest has set for good stays
  const { pid } = await bed.host.view(spec.id);
  const net = ['nsenter', `--net=/proc/${pid}/ns/net`, 'ip'] as const;
  await run(net[0], [...net.slice(1), 'neigh', 'replace', '10.90.5.77', 'lladdr', earlier, 'dev', 'eth0', 'nud', 'permanent']);
  await mistake();
  await bed.host.announce(spec.id);
  await heard('when asked');
  t.regex((await run(net[0], [...net.slice(1), 'neigh', 'show', '10.90.5.77'])).stdout, new RegExp(`${earlier} PERMANENT`));

  if ((await criuProblem()) === undefined) {
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await mistake();
    await operate((operation) => bed.host.resume(spec.id, operation));
    await heard('after the resume');
  }
  await operate((operation) => bed.host.destroy(spec.id, operation));
  await t.notThrowsAsync(bed.host.announce(spec.id), 'one that is gone');
});

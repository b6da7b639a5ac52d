/** Ports that come to, and go from, a container that runs, is paused or is stopped; and what a suspend makes of them. */
import { existsSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec, VifSpec } from '../../../src/container/spec.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { hostProblem, inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from '../container/harness.js';

const problem = hostProblem();
const frozen = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/network/change: ${problem}\n`);

const bridges = ['brqhtc0', 'brqhtc1'];
const there = (vif: VifSpec): boolean => existsSync(`/sys/class/net/${vif.hostDevice}`);
const answers = (address: string): Promise<unknown> => until(`${address} answers`, () => run('ping', ['-c1', '-W1', address]).then(() => true, () => false));

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  for (const [index, bridge] of bridges.entries()) {
    await run('ip', ['link', 'add', bridge, 'type', 'bridge']);
    await run('ip', ['addr', 'add', `10.90.${index}.1/24`, 'dev', bridge]);
    await run('ip', ['link', 'set', bridge, 'up']);
  }
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const port = (index: number, change: Partial<VifSpec> = {}): VifSpec => makeVif({ type: 'bridge', bridge: bridges[index] ?? '', createBridge: true }, index, change);
const gateway = (index: number): Pick<VifSpec, 'routes'> => ({ routes: [{ destination: '0.0.0.0/0', gateway: `10.90.${index}.1` }] });

async function boot(bed: Bed, vifs: readonly VifSpec[]): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, { vifs });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  return spec;
}

const change = (bed: Bed, id: string, vifs: readonly VifSpec[]): Promise<void> => operate((operation) => bed.host.changeVifs(id, vifs, operation));
const devices = async (bed: Bed, id: string): Promise<string[]> => (await inside(bed, id, 'ls', '/sys/class/net')).split('\n').filter((name) => name.startsWith('eth'));

real('a second port comes with its address, the first goes, the second has its name and the default route; all of it outlives suspend and stop', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const first = port(0, gateway(0));
  const second = port(1);
  const { id } = await boot(bed, [first]);
  await change(bed, id, [first, second]);
  t.deepEqual(await devices(bed, id), ['eth0', 'eth1']);
  await answers('10.90.0.5');
  await answers('10.90.1.5');
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth1/address'), second.mac);
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth1/ifindex'), '101');
  await change(bed, id, [first, second]); // again: nothing to do
  await answers('10.90.1.5');

  const asFirst = { ...second, guestDevice: 'eth0', ...gateway(1) }; // as the only port of the list would be named
  await change(bed, id, [asFirst]);
  t.false(there(first));
  t.deepEqual(await devices(bed, id), ['eth1']);
  t.regex(await inside(bed, id, 'ip', 'route'), /default via 10\.90\.1\.1 dev eth1/);
  if (frozen === undefined) {
    await operate((operation) => host.suspend(id, operation));
    t.false(there(second));
    await host.updateVifs(id, [asFirst]);
    await operate((operation) => host.resume(id, operation));
    t.deepEqual([await devices(bed, id), await inside(bed, id, 'cat', '/sys/class/net/eth1/ifindex')], [['eth1'], '101']);
    await answers('10.90.1.5');
  } else t.log(`not suspended: ${frozen}`);
  await operate((operation) => host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
  await change(bed, id, [asFirst, { ...first, guestDevice: 'eth1', routes: [] }]);
  t.false(there(first) || there(second), 'nothing is plugged of what does not run');
  await operate((operation) => host.startContainer(id, operation));
  t.deepEqual(await devices(bed, id), ['eth0', 'eth1']);
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth1/address'), second.mac);
  await answers('10.90.0.5');
  await operate((operation) => host.destroy(id, operation));
  t.false(there(first) || there(second));
});

real('a paused container takes a port, and has it when it goes on', async (t) => {
  const { bed } = t.context;
  const { id } = await boot(bed, []);
  await operate((operation) => bed.host.pause(id, operation));
  const vif = port(1);
  await change(bed, id, [vif]);
  await operate((operation) => bed.host.unpause(id, operation));
  t.deepEqual(await devices(bed, id), ['eth1']);
  await answers('10.90.1.5');
  await change(bed, id, []);
  t.deepEqual(await devices(bed, id), []);
  t.false(there(vif));
  await operate((operation) => bed.host.destroy(id, operation));
});

real('a device of the guest\'s own is in the way: it is said, and putting the former ports back leaves nothing of the new one', async (t) => {
  const { bed } = t.context;
  const first = port(0);
  const second = port(1);
  const { id } = await boot(bed, [first]);
  await inside(bed, id, 'ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'own');
  await t.throwsAsync(change(bed, id, [first, second]), { code: 'VIF_PLUG_FAILED', message: /cannot move the interfaces/ });
  await change(bed, id, [first]);
  t.false(there(second));
  t.deepEqual((await bed.host.spec(id))?.vifs.map((vif) => vif.id), [first.id]);
  t.deepEqual(await devices(bed, id), ['eth0', 'eth1'], 'its own is untouched');
  await answers('10.90.0.5');
  await operate((operation) => bed.host.destroy(id, operation));
});

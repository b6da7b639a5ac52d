/**
 * A haul between two hosts whose switch is a process (Open vSwitch, `datapath_type=netdev`): it takes a port's frames before the
 * kernel's rules see them, so that such a port is mute by its link.
 */
import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { makeSpec, makeVif, until } from '../container/harness.js';
import { startSwitch, switchProblem } from '../network/switch.js';
import { cloudBridge, makeHosts, type TestHost } from './hosts.js';
import { haul, NumberClient, numbersImage, portAt } from './numbers.js';

const bridge = 'br-hl';
const problem = (await criuProblem()) ?? switchProblem();
interface World { a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/userspace-switch: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

/** In place of the host's Linux bridge. @returns how to end it */
async function giveSwitch(host: TestHost): Promise<() => Promise<void>> {
  const { database, stop } = await startSwitch((...command) => host.inside(...command));
  Object.assign(host.options, { ovsdbConnection: database });
  const vsctl = (...args: string[]): Promise<unknown> => run('ovs-vsctl', [`--db=${database}`, ...args]);
  await vsctl('--timeout=20', 'add-br', bridge, '--', 'set', 'Bridge', bridge, 'datapath_type=netdev');
  await host.inside('ip', 'link', 'set', 'cloud0', 'nomaster');
  await vsctl('--timeout=20', 'add-port', bridge, 'cloud0');
  return stop;
}

test.before(async (t) => {
  if (problem !== undefined) return;
  const hosts = await makeHosts(authority);
  t.context = { ...hosts, image: await numbersImage() };
  const stops: (() => Promise<void>)[] = [];
  t.context.end = async () => {
    await hosts.end();
    for (const stop of stops) await stop().catch(() => undefined);
  };
  for (const host of [hosts.a, hosts.b]) {
    stops.push(await giveSwitch(host));
    await host.start();
    await host.takeImage(t.context.image);
  }
});
test.after.always(async (t) => { await t.context.end?.(); });

const linkOf = async (host: TestHost, device: string): Promise<string> => /<([^>]*)>/.exec((await host.inside('ip', '-o', 'link', 'show', 'dev', device)).stdout)?.[1] ?? '';

real('ports of a switch that is a process: no link and not a frame while it stands frozen, the connection lives, there and back', async (t) => {
  const { a, b, image } = t.context;
  const vif = { ...portAt(makeVif({ type: 'ovs', bridge, hybrid: false, createPort: true, datapathType: 'netdev' }, 0), 50), plug: { type: 'ovs', bridge, hybrid: false, createPort: true, datapathType: 'netdev' } } as const;
  const spec = makeSpec(image, { vifs: [vif] });
  await a.tell({ do: 'create', id: spec.id, spec });
  await a.tell({ do: 'start', id: spec.id });
  const client = await NumberClient.open('10.99.0.50', 7000);
  t.teardown(() => client.close());
  await client.more(50);

  await b.kill();
  await b.start('stop:haul.destination.restored:1');
  const service = await b.servicePid();
  t.teardown(() => void process.kill(service, 'SIGCONT'));
  const words = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
  await until('it is restored', async () => /^State:\tT/m.test(await readFile(`/proc/${service}/status`, 'utf8').catch(() => '')));
  for (const host of [a, b]) t.false((await linkOf(host, vif.hostDevice)).split(',').includes('UP'), host.name);
  t.true(await run('ping', ['-c2', '-i0.3', '-W1', '10.99.0.50']).then(() => false, () => true));
  t.regex((await run('bridge', ['fdb', 'show', 'br', cloudBridge])).stdout, new RegExp(`^${vif.mac} dev hlc1`, 'm'));
  process.kill(service, 'SIGCONT');
  t.is(await words, 'went through');
  await client.more(50);
  t.true((await linkOf(b, vif.hostDevice)).split(',').includes('UP'));
  t.deepEqual(await a.traces(spec), []);

  await haul(spec.id, b, a);
  await client.more(50);
  client.close();
  t.deepEqual(await b.traces(spec), []);
  await a.tell({ do: 'destroy', id: spec.id });
});

/**
 * The known pitfalls of moving a running container, each by its name. Others are where they belong: a bridge that changes its MAC
 * (test/host/network/plug), the size of pipes (test/unit/container/lazy).
 */
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { checkpointPaths } from '../../../src/container/checkpoint/paths.js';
import { InstanceStore } from '../../../src/container/state.js';
import type { HaulStep } from '../../../src/haul/live/steps.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { until } from '../container/harness.js';
import { cloudBridge, makeHosts, type TestHost } from './hosts.js';
import { bootNumbers, counted, haul, NumberClient, numbersImage } from './numbers.js';

const problem = await criuProblem();
interface World { a: TestHost; b: TestHost; image: ImageSource; end(): Promise<void> }
const test = anyTest as TestFn<World>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/haul/pitfalls: ${problem}\n`);

const authority = new Authority();
process.on('exit', () => rmSync(authority.folder, { recursive: true, force: true }));

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context = { ...(await makeHosts(authority)), image: await numbersImage() };
  for (const host of [t.context.a, t.context.b]) {
    await host.start();
    await host.takeImage(t.context.image);
  }
});
test.after.always(async (t) => { await t.context.end?.(); });

const address = '10.99.0.50';
const outside = '10.99.0.1';
/** The port of the bridge outside behind which a container's MAC was last heard. */
async function heardAt({ vifs: [vif] }: ContainerSpec): Promise<string | undefined> {
  const { stdout } = await run('bridge', ['fdb', 'show', 'br', cloudBridge]);
  return new RegExp(`^${vif!.mac} dev (\\S+)`, 'm').exec(stdout)?.[1];
}

/** Runs a command in the network of the container's PID 1 on a host. */
const inNetwork = async (host: TestHost, pid: number, ...command: string[]): Promise<string> => (await host.inside('nsenter', `--net=/proc/${pid}/ns/net`, ...command)).stdout.trim();
/** PID 1 of a container that is restored and on no record yet. */
const restoredPid = async (host: TestHost, id: string): Promise<number> => Number(await readFile(new InstanceStore(host.options.instancesPath, host.options.runPath).paths(id).pidFile, 'utf8'));
const received = async (host: TestHost, pid: number): Promise<number> => (JSON.parse(await inNetwork(host, pid, 'ip', '-json', '-stats', 'link', 'show', 'eth0')) as { stats64: { rx: { packets: number } } }[])[0]!.stats64.rx.packets;
const fails = (work: Promise<unknown>): Promise<boolean> => work.then(() => false, () => true);

/** Begins a haul from a to b that stands still at one of the destination's steps. */
async function standing(t: ExecutionContext<World>, spec: ContainerSpec, step: HaulStep): Promise<{ readonly words: Promise<string>; goOn(): Promise<string> }> {
  const { a, b } = t.context;
  await b.kill();
  await b.start(`stop:${step}:1`);
  const service = await b.servicePid();
  t.teardown(() => { if (existsSync(`/proc/${service}`)) process.kill(service, 'SIGCONT'); });
  const words = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
  await until('it is at the step', async () => /^State:\tT/m.test(await readFile(`/proc/${service}/status`, 'utf8').catch(() => '')));
  return { words, goOn: async () => { process.kill(service, 'SIGCONT'); return await words; } };
}

real('port closed before the dump, opened after the restore: nothing of the new port is heard before, nothing reaches the frozen copy, neighbours and unanswered TCP segments come along', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  const client = await NumberClient.open(address, 7000);
  t.teardown(() => client.close());
  await client.more(20);
  await a.guest(spec.id, 'sh', '-c', '(nc -ll -p 7001 -e cat </dev/null >/dev/null 2>&1 &)');
  const echo = await until('it echoes', async () => {
    const socket = connect(7001, address);
    return await once(socket, 'connect').then(() => socket, () => undefined);
  });
  t.teardown(() => echo.destroy());
  let echoed = '';
  echo.on('data', (chunk: Buffer) => { echoed += chunk.toString(); }).on('error', () => undefined);
  echo.write('before\n');
  await until('the echo', () => echoed === 'before\n');
  t.is(await heardAt(spec), 'hlc1');
  const frozen = (await a.view(spec.id)).pid!;

  const at = await standing(t, spec, 'haul.destination.restored');
  const restored = await restoredPid(b, spec.id);
  // its neighbours are known there before it has sent anything: no question of its own goes astray
  t.regex(await inNetwork(b, restored, 'ip', 'neigh', 'show', outside), /dev eth0 lladdr 02:00:00:99:00:99/);
  // what its kernel says by itself, IPv6 chatter above all, or what anybody says in its place
  t.true(await fails(inNetwork(b, restored, 'ping', '-c1', '-W1', outside)));
  await inNetwork(b, restored, 'ping', '-6', '-c1', '-W1', 'ff02::1%eth0').catch(() => undefined); // it may hear itself
  t.is(await heardAt(spec), 'hlc1', 'the forwarding entry stays');
  // the other way: what comes now must find its receiver where it will run, so that its sender sends it again
  const before = await received(a, frozen);
  echo.write('meanwhile\n');
  t.true(await fails(run('ping', ['-c2', '-i0.3', '-W1', address])));
  t.is(await received(a, frozen), before, 'no packet reaches the frozen copy');
  t.is(echoed, 'before\n');

  t.is(await at.goOn(), 'went through');
  await until('TCP sends it again', () => echoed === 'before\nmeanwhile\n');
  await client.more(50);
  t.is(await heardAt(spec), 'hlc2');
  client.close();
  echo.destroy();
  await b.tell({ do: 'destroy', id: spec.id });
});

real('announced after the restore: a container that says nothing is found at its new place', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it answers', () => run('ping', ['-c1', '-W1', address]).then(() => true, () => false));
  await a.tell({ do: 'pause', id: spec.id });
  t.is(await heardAt(spec), 'hlc1');
  await haul(spec.id, a, b);
  t.is((await b.view(spec.id)).state, 'paused');
  await until('its MAC is heard behind the other port', async () => (await heardAt(spec)) === 'hlc2');
  await b.tell({ do: 'destroy', id: spec.id });
});

real('an operator decides that it goes on here after the other host has announced it: it is found here again', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it answers', () => run('ping', ['-c1', '-W1', address]).then(() => true, () => false));
  await a.tell({ do: 'pause', id: spec.id }); // it says nothing by itself
  await b.kill();
  await b.start('kill:haul.destination.running');
  const words = haul(spec.id, a, b).then(() => 'went through', (error: Error) => error.message);
  await b.gone();
  // the host is lost, and the last that was heard of the container came from there
  await b.inside('ip', 'link', 'set', 'move0', 'down');
  const { pid } = (await a.view(spec.id));
  t.teardown(() => b.reconnect());
  await run('bridge', ['fdb', 'replace', spec.vifs[0]!.mac, 'dev', 'hlc2', 'master', 'dynamic']);
  t.is(await heardAt(spec), 'hlc2');
  await until('the decision counts', () => a.tell({ do: 'decide', id: spec.id, outcome: 'aborted' }).then(() => true, () => false), 60_000);
  t.not(await words, 'went through');
  t.is((await a.view(spec.id)).pid, pid);
  t.is((await a.view(spec.id)).state, 'paused');
  await until('its MAC is heard behind the old port', async () => (await heardAt(spec)) === 'hlc1');
  t.notRegex((await a.inside('/usr/sbin/nft', 'list', 'tables')).stdout, /haul-/);
  await a.tell({ do: 'unpause', id: spec.id });
  await until('it answers again', () => run('ping', ['-c1', '-W1', address]).then(() => true, () => false));
  await b.reconnect();
  await b.start();
  for (const host of [b, a]) await host.tell({ do: 'destroy', id: spec.id });
});

real('given up while it copies: what was made for its images goes, and it does not wait for its stop', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it counts', () => counted(a, spec.id));
  const { folder } = checkpointPaths(new InstanceStore(a.options.instancesPath, a.options.runPath).paths(spec.id));
  const at = await standing(t, spec, 'haul.destination.layer');
  await until('its images have a place at the source', () => existsSync(folder));
  await b.kill();
  t.not(await at.words, 'went through');
  await until('nothing is left of it', async () => !existsSync(folder) && !(await a.inside('cat', '/proc/self/mountinfo')).stdout.includes(folder));
  t.is((await a.view(spec.id)).state, 'running');
  await b.start();
  await a.tell({ do: 'destroy', id: spec.id });
});

real('the layer is whole before it is mounted: nothing is written below a mounted overlay', async (t) => {
  const { a, b } = t.context;
  const spec = await bootNumbers(a, t.context.image);
  await until('it counts', () => counted(a, spec.id));
  await a.guest(spec.id, 'sh', '-c', 'echo whole >/root/late-file');
  const at = await standing(t, spec, 'haul.destination.mount');
  const mounts = (await b.inside('cat', '/proc/self/mountinfo')).stdout.split('\n').filter((line) => line.includes(spec.id));
  t.deepEqual(mounts.filter((line) => / - overlay /.test(line) && line.includes('/rootfs ')), [], mounts.join('\n'));
  t.regex((await b.inside('find', `${b.options.instancesPath}/${spec.id}`, '-xdev', '-name', 'late-file')).stdout + (await b.inside('find', ...mounts.map((line) => line.split(' ')[4]!), '-xdev', '-name', 'late-file')).stdout, /late-file/);
  t.is(await at.goOn(), 'went through');
  t.is(await b.guest(spec.id, 'cat', '/root/late-file'), 'whole');
  await b.tell({ do: 'destroy', id: spec.id });
});

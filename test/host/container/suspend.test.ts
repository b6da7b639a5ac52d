/** Suspend and resume through the door: processes, connections, console, memory, restarts of the service, failures. */
import { existsSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { counted as countedOn, criuProblem, leftOvers, withCriu, wrapper } from './checkpoint-kit.js';
import { inside, log, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/suspend: ${problem}\n`);

/** Who runs, without what comes and goes. */
// exe: a command of the listing itself, which busybox starts as /proc/self/exe
const listing = 'ps -o pid,user,comm | grep -vE " (ps|sh|grep|sleep|exe)$"';
const bridge = 'brqsus';

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  await run('ip', ['link', 'add', bridge, 'type', 'bridge']);
  await run('ip', ['addr', 'add', '10.90.0.1/24', 'dev', bridge]);
  await run('ip', ['link', 'set', bridge, 'up']);
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.end();
  await run('ip', ['link', 'del', bridge]);
});

async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge, createBridge: true }, 0)], ...change });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  return spec;
}

const suspend = (host: LocalContainerHost, id: string): Promise<void> => operate((operation) => host.suspend(id, operation));
const resume = (host: LocalContainerHost, id: string): Promise<void> => operate((operation) => host.resume(id, operation));

async function counted(bed: Bed, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await bed.host.view(id)).pid}/root/run/count`, 'utf8').catch(() => ''));
}

/** A connection to `cat` in the guest, and all that it said. */
class Line {
  heard = '';
  ended = false;
  constructor(readonly socket: Socket) {
    socket.on('data', (data: Buffer) => { this.heard += data.toString(); });
    socket.on('close', () => { this.ended = true; });
    socket.on('error', () => undefined);
  }

  async hears(word: string): Promise<void> {
    await until(`hears ${word}`, () => this.ended || this.heard.includes(`${word}\n`));
    if (this.ended) throw new Error('the connection ended');
  }

  async echo(word: string): Promise<void> {
    this.socket.write(`${word}\n`);
    await this.hears(word);
  }
}

real('a connection from outside, counters, other uids and the console outlive it; its memory does not stay', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const spec = await boot(bed);
  await inside(bed, spec.id, 'sh', '-c', 'su user -c "nc -ll -p 7000 -e cat" >/dev/null 2>&1 </dev/null & su user -c "sleep 5000" >/dev/null 2>&1 </dev/null & true');
  const socket = await until('a connection', () => new Promise<Socket | undefined>((resolve) => {
    const made: Socket = connect(7000, '10.90.0.5', () => resolve(made)).once('error', () => resolve(undefined));
  }));
  t.teardown(() => socket.destroy());
  const line = new Line(socket);
  await line.echo('before');
  const processes = await inside(bed, spec.id, 'sh', '-c', listing);
  t.regex(processes, /user +nc/);
  const before = await counted(bed, spec.id);

  for (let round = 1; round <= 3; round++) {
    let began = performance.now();
    await suspend(host, spec.id);
    t.log(`round ${round}: suspend ${Math.round(performance.now() - began)} ms`);
    t.like(await host.view(spec.id), { state: 'suspended', pid: undefined });
    t.deepEqual(await leftOvers(bed, spec), []);
    if (round === 1) socket.write('while asleep\n');
    await sleep(300);
    began = performance.now();
    await resume(host, spec.id);
    t.log(`round ${round}: resume ${Math.round(performance.now() - began)} ms`);
    t.is((await host.view(spec.id)).state, 'running');
    await until('the images are gone', () => !existsSync(join(bed.options.instancesPath, spec.id, 'checkpoint')));
    if (round === 1) await line.hears('while asleep');
    await line.echo(`after ${round}`);
  }
  await until('it counts on', async () => (await counted(bed, spec.id)) > before);
  t.is(await inside(bed, spec.id, 'sh', '-c', listing), processes);

  await inside(bed, spec.id, 'sh', '-c', 'echo after the resume > /dev/console');
  await until('its console goes on', async () => (await host.consoleLog(spec.id, undefined)).includes('after the resume'));
  await operate((operation) => host.stopContainer(spec.id, { timeoutMs: 10_000, retryMs: 5000 }, operation));
  t.like(await host.view(spec.id), { state: 'stopped', exitCode: 130 });
});

real('another service finds it suspended, also after the machine went down; resume and suspend are idempotent', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  const before = await counted(bed, spec.id);
  await suspend(bed.host, spec.id);
  await suspend(bed.host, spec.id);
  await bed.host.stop();
  await rm(bed.options.runPath, { recursive: true }); // a tmpfs: gone with the machine
  const second = new LocalContainerHost(bed.options, log);
  const exits: unknown[] = [];
  second.onExit((exit) => exits.push(exit));
  await second.start();
  t.is((await second.view(spec.id)).state, 'suspended');
  await resume(second, spec.id);
  await resume(second, spec.id);
  t.is((await second.view(spec.id)).state, 'running');
  await until('it counts on', async () => (await counted({ ...bed, host: second }, spec.id)) > before);
  t.deepEqual(exits, []);
  await second.stop();
});

real('what can be done with a suspended container', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  const { host } = bed;
  await suspend(host, spec.id);
  await t.throwsAsync(operate((operation) => host.startContainer(spec.id, operation)), { name: 'INSTANCE_STATE' });
  await t.throwsAsync(operate((operation) => host.pause(spec.id, operation)), { name: 'INSTANCE_STATE' });
  await operate((operation) => host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 0 }, operation));
  t.is((await host.view(spec.id)).state, 'stopped');
  t.false(existsSync(join(bed.options.instancesPath, spec.id, 'checkpoint')));
  await t.throwsAsync(resume(host, spec.id), { name: 'INSTANCE_STATE' });
  await t.throwsAsync(suspend(host, spec.id), { name: 'INSTANCE_STATE' });
  await operate((operation) => host.startContainer(spec.id, operation));
  await suspend(host, spec.id);
  await operate((operation) => host.destroy(spec.id, operation));
  t.false(existsSync(join(bed.options.instancesPath, spec.id)));
});

real('a paused one is taken as it stands; a resume lets it run', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const spec = await boot(bed);
  await operate((operation) => host.pause(spec.id, operation));
  const at = await countedOn(host, spec.id);
  t.true(at > 0);
  await withCriu(bed, await wrapper('exit 1'), async (broken) => {
    await t.throwsAsync(suspend(broken, spec.id), { name: 'SUSPEND_FAILED' });
    t.is((await broken.view(spec.id)).state, 'paused', 'a failure leaves it paused');
    t.is(await countedOn(broken, spec.id), at);
  });
  await suspend(host, spec.id);
  t.is((await host.view(spec.id)).state, 'suspended');
  t.deepEqual(await leftOvers(bed, spec), []);
  await resume(host, spec.id);
  t.is((await host.view(spec.id)).state, 'running');
  await until('it counts on', async () => (await countedOn(host, spec.id)) > at);
  await operate((operation) => host.destroy(spec.id, operation));
});

real('a console that no process has open works after it, every time', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const spec = makeSpec(bed.image, { init: ['/bin/sh', '-c', 'exec </dev/null >/dev/null 2>&1; trap exit TERM; while :; do sleep 1; done'] });
  await operate((operation) => host.create(spec, operation));
  await operate((operation) => host.startContainer(spec.id, operation));
  await until('its console is closed', async () => (await inside(bed, spec.id, 'readlink', '/proc/1/fd/1')) === '/dev/null');
  for (const word of ['one', 'two']) {
    await suspend(host, spec.id);
    await resume(host, spec.id);
    await inside(bed, spec.id, 'sh', '-c', `echo ${word} > /dev/console`);
    await until('it is seen', async () => (await host.consoleLog(spec.id, undefined)).includes(word));
    t.is((await host.view(spec.id)).state, 'running');
  }
});

real('a restore that fails keeps the images and says why', async (t) => {
  const { bed } = t.context;
  const { host } = bed;
  const spec = await boot(bed);
  await suspend(host, spec.id);
  const folder = join(bed.options.instancesPath, spec.id, 'checkpoint');
  const image = join(folder, 'images', 'inventory.img');
  const whole = await readFile(image);
  await truncate(image, whole.length - 3);
  const cut = await t.throwsAsync(resume(host, spec.id));
  t.regex(cut?.message ?? '', /inventory\.img is damaged: it has \d+ bytes instead of \d+/);
  const strange = Buffer.from(whole);
  strange.fill(0xff, 4);
  await writeFile(image, strange);
  const altered = await t.throwsAsync(resume(host, spec.id), { name: 'RESUME_FAILED' });
  t.log(altered?.message);
  t.is((await host.view(spec.id)).state, 'suspended');
  t.deepEqual(await leftOvers(bed, spec), []);
  await writeFile(image, whole);

  const metaFile = join(folder, 'meta.json');
  const meta = await readFile(metaFile, 'utf8');
  await writeFile(metaFile, meta.replace('"cpuFlags": [', '"cpuFlags": [\n"avx9000",'));
  await t.throwsAsync(resume(host, spec.id), { name: 'RESUME_FAILED', message: /lacks avx9000/ });
  await writeFile(metaFile, meta);
  await t.throwsAsync(operate((operation) => host.resume(spec.id, operation, Promise.reject(new Error('not wired')))), { message: 'not wired' });
  t.deepEqual(await leftOvers(bed, spec), []);
  await resume(host, spec.id);
  t.is((await host.view(spec.id)).state, 'running');
});

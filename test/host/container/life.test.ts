/** A container's life with real runc and conmon: limits, seccomp, ids, shutdown, pause, exits, a restart of the service. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { controllerFolder, readCgroupLayout } from '../../../src/container/cgroup.js';
import type { ContainerExit } from '../../../src/container/container-host.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/life: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start(); // a failed test may have stopped it
  for (const view of await t.context.bed.host.list()) await destroy(t.context.bed, view.id);
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<string> {
  const spec = makeSpec(bed.image, change);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  return spec.id;
}

const destroy = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.destroy(id, operation));
const kill = { timeoutMs: 0, retryMs: 0 };

async function cgroupValue(bed: Bed, id: string, controller: string, v1: string, v2: string): Promise<string> {
  const layout = await readCgroupLayout();
  const folder = controllerFolder(layout, controller, join(bed.options.cgroupParent, id)) ?? '';
  return (await readFile(join(folder, layout.pureCgroup2 ? v2 : v1), 'utf8')).trim();
}

real('boots with its own ids, and what is refused is refused', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const view = await bed.host.view(id);
  t.is(view.state, 'running');
  t.is(await inside(bed, id, 'id', '-u'), '0');
  t.regex(await readFile(`/proc/${view.pid}/status`, 'utf8'), /^Uid:\t1\d{6}\t/m);
  t.is(await inside(bed, id, 'hostname'), 'guest1');
  t.is(await inside(bed, id, 'cat', '/etc/hostname'), 'guest1');
  t.regex(await inside(bed, id, 'sh', '-c', 'unshare -u true 2>&1; echo $?'), /Operation not permitted[^]*1$/);
  t.is(await inside(bed, id, 'sh', '-c', 'unshare -m true; echo $?'), '0');
  t.regex(await inside(bed, id, 'sh', '-c', 'insmod /nothing 2>&1; dmesg 2>&1 | head -1; true'), /not permitted|No such file/);
  t.regex(await inside(bed, id, 'sh', '-c', '(echo x > /sys/kernel/uevent_seqnum) 2>&1; true'), /[Rr]ead-only/);
  t.regex(await inside(bed, id, 'sh', '-c', 'mkdir /sys/fs/cgroup/own && echo made'), /made/);
  t.is(await inside(bed, id, 'su', 'user', '-c', 'id -u'), '1000');
  await destroy(bed, id);
  t.is((await bed.host.view(id)).state, 'missing');
});

real('limits hold', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, { limits: { vcpus: 2, cpuShares: undefined, cpuQuota: 25_000, cpuPeriod: 50_000, memoryMiB: 48, swapMiB: 0, pids: 32, rootGiB: 1 } });
  const layout = await readCgroupLayout();
  if (layout.pureCgroup2) t.is(await cgroupValue(bed, id, 'cpu', '', 'cpu.max'), '25000 50000');
  else {
    t.is(await cgroupValue(bed, id, 'cpu', 'cpu.cfs_quota_us', ''), '25000');
    t.is(await cgroupValue(bed, id, 'cpu', 'cpu.cfs_period_us', ''), '50000');
    t.is(await cgroupValue(bed, id, 'cpu', 'cpu.shares', ''), '2048');
  }
  t.is(await cgroupValue(bed, id, 'memory', 'memory.limit_in_bytes', 'memory.max'), String(48 * 1024 * 1024));
  t.regex(await inside(bed, id, 'sh', '-c', 'dd if=/dev/zero of=/dev/null bs=100M count=1 2>&1; echo $?'), /(Killed[^]*)?137$|memory/);
  t.regex(await inside(bed, id, 'sh', '-c', 'sh -c "i=0; while [ \\$i -lt 60 ]; do sleep 1 & i=\\$((i+1)); done" 2>&1; true'), /can't fork|Resource temporarily unavailable/);
  t.is((await bed.host.view(id)).state, 'running');
  await t.throwsAsync(async () => { await readFile(join(bed.options.instancesPath, id, 'nothing')); });
  await destroy(bed, id);
});

real('a clean shutdown runs the guest\'s own; a kill does not', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const exits: ContainerExit[] = [];
  bed.host.onExit((exit) => exits.push(exit));
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 10_000, retryMs: 5000 }, operation));
  t.regex(await bed.host.consoleLog(id, undefined), /guest goes down/);
  t.like(await bed.host.view(id), { state: 'stopped', exitCode: 130, pid: undefined });
  await operate((operation) => bed.host.startContainer(id, operation));
  await operate((operation) => bed.host.startContainer(id, operation)); // idempotent
  await operate((operation) => bed.host.stopContainer(id, kill, operation));
  await operate((operation) => bed.host.stopContainer(id, kill, operation));
  t.like(await bed.host.view(id), { state: 'stopped', exitCode: 137 });
  await sleep(200);
  t.deepEqual(exits.filter((exit) => exit.id === id), [], 'an end that was asked for is no event');
  const text = await bed.host.consoleLog(id, undefined);
  t.true(text.split('guest1').length >= 2 && !text.includes('\r'));
  t.is((await bed.host.consoleLog(id, 1)).split('\n').length, 2);
  await destroy(bed, id);
});

real('a stop that is given up: what runs on is wanted again, and its end is told', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const exits: ContainerExit[] = [];
  bed.host.onExit((exit) => exits.push(exit));
  const pid = (await bed.host.view(id)).pid ?? 0;
  process.kill(pid, 'SIGSTOP'); // it hears nobody
  await t.throwsAsync(operate(async (operation) => {
    setTimeout(() => operation.abort(new Error('the service stops')), 300);
    await bed.host.stopContainer(id, { timeoutMs: 60_000, retryMs: 1000 }, operation);
  }), { name: 'AbortError' });
  t.is((await bed.host.view(id)).state, 'running');
  t.is((await bed.host.parts.store.readState(id))?.wanted, 'running');
  process.kill(pid, 'SIGKILL');
  t.like(await until('its end is told', () => exits.find((exit) => exit.id === id)), { state: 'crashed', exitCode: 137 });
  await destroy(bed, id);
});

real('pause stops everything, unpause lets it go on; a paused container can be stopped', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed);
  const count = async (): Promise<number> => Number(await readFile(`/proc/${(await bed.host.view(id)).pid}/root/run/count`, 'utf8'));
  await until('it counts', async () => (await count().catch(() => 0)) > 1);
  await operate((operation) => bed.host.pause(id, operation));
  t.is((await bed.host.view(id)).state, 'paused');
  const before = await count();
  await sleep(300);
  t.is(await count(), before);
  await operate((operation) => bed.host.unpause(id, operation));
  await until('it counts on', async () => (await count()) > before);
  await operate((operation) => bed.host.pause(id, operation));
  await operate((operation) => bed.host.stopContainer(id, kill, operation));
  t.is((await bed.host.view(id)).state, 'stopped');
  await destroy(bed, id);
});

real('ends by itself: reboot, power off and death are told apart', async (t) => {
  const { bed } = t.context;
  const exits: ContainerExit[] = [];
  bed.host.onExit((exit) => exits.push(exit));
  const id = await boot(bed);
  const ended = async (): Promise<ContainerExit> => {
    const exit = await until('its end', () => exits.find((item) => item.id === id), 15_000);
    exits.length = 0;
    return exit;
  };
  await inside(bed, id, 'reboot', '-f').catch(() => undefined);
  t.deepEqual(await ended(), { id, state: 'stopped', exitCode: 129, rebootRequested: true });
  t.like(await bed.host.view(id), { state: 'stopped', exitCode: 129 });
  await operate((operation) => bed.host.startContainer(id, operation));
  await inside(bed, id, 'poweroff').catch(() => undefined);
  t.deepEqual(await ended(), { id, state: 'stopped', exitCode: 130, rebootRequested: false });
  await operate((operation) => bed.host.startContainer(id, operation));
  process.kill((await bed.host.view(id)).pid ?? 0, 'SIGKILL');
  t.deepEqual(await ended(), { id, state: 'crashed', exitCode: 137, rebootRequested: false });
  t.is((await bed.host.view(id)).state, 'crashed');
  await destroy(bed, id);
});

real('a new service finds what runs, what is paused, what ended meanwhile', async (t) => {
  const { bed } = t.context;
  const [running, paused, dead, stopped] = [await boot(bed), await boot(bed), await boot(bed), await boot(bed)];
  await operate((operation) => bed.host.pause(paused, operation));
  await operate((operation) => bed.host.stopContainer(stopped, kill, operation));
  const pid = (await bed.host.view(running)).pid;
  await bed.host.stop();
  process.kill((await bed.host.view(dead)).pid ?? 0, 'SIGKILL');
  await sleep(300);
  const second = new LocalContainerHost(bed.options, log);
  const exits: ContainerExit[] = [];
  second.onExit((exit) => exits.push(exit));
  await second.start();
  t.deepEqual(exits, [{ id: dead, state: 'crashed', exitCode: 137, rebootRequested: false }]);
  t.like(await second.view(running), { state: 'running', pid });
  t.is((await second.view(paused)).state, 'paused');
  t.is((await second.view(dead)).state, 'crashed');
  t.is((await second.view(stopped)).state, 'stopped');
  t.is((await second.list()).length, 4);
  await operate((operation) => second.stopContainer(running, { timeoutMs: 10_000, retryMs: 5000 }, operation));
  await operate((operation) => second.startContainer(dead, operation));
  await second.stop();
  await bed.host.start();
  for (const id of [running, paused, dead, stopped]) await destroy(bed, id);
});

real('damaged files are reported and do not hinder the others', async (t) => {
  const { bed } = t.context;
  const [good, bad] = [await boot(bed), await boot(bed)];
  await run('sh', ['-c', `echo '{' > ${bed.options.instancesPath}/${bad}/state.json`]);
  await bed.host.stop();
  await bed.host.start();
  t.is((await bed.host.view(good)).state, 'running');
  t.is((await bed.host.view(bad)).state, 'running', 'the tmpfs record still tells');
  await destroy(bed, bad);
  await destroy(bed, good);
  t.deepEqual(await bed.host.list(), []);
});

real('an image without an init is refused in plain words, and PID 1 waits for `ready`', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(bed.image, { init: ['/no/init'] });
  await operate((operation) => bed.host.create(spec, operation));
  await t.throwsAsync(operate((operation) => bed.host.startContainer(spec.id, operation)), { message: /has no \/no\/init/ });
  t.is((await bed.host.view(spec.id)).state, 'stopped');
  await destroy(bed, spec.id);

  const waiting = makeSpec(bed.image);
  await operate((operation) => bed.host.create(waiting, operation));
  await t.throwsAsync(operate((operation) => bed.host.startContainer(waiting.id, operation, sleep(50).then(() => Promise.reject(new Error('not wired'))))), { message: 'not wired' });
  t.is((await bed.host.view(waiting.id)).state, 'stopped');
  let open = (): void => undefined;
  const ready = new Promise<void>((resolve) => { open = resolve; });
  const start = operate((operation) => bed.host.startContainer(waiting.id, operation, ready));
  await sleep(400);
  t.not((await bed.host.view(waiting.id)).state, 'running');
  open();
  await start;
  t.is((await bed.host.view(waiting.id)).state, 'running');
  await destroy(bed, waiting.id);
});

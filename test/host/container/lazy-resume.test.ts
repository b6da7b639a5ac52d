/** Lazy resume: the processes run before their memory is read; the images and the page daemon stay as long as they are needed, and no longer. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { lazyProblem } from '../../../src/container/checkpoint/lazy.js';
import { pageDaemon } from '../../../src/container/checkpoint/page-daemon.js';
import { checkpointPaths, type CheckpointPaths } from '../../../src/container/checkpoint/paths.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerExit } from '../../../src/container/container-host.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';
import { toolsImage } from './tools-image.js';

const setting = '/proc/sys/vm/unprivileged_userfaultfd';
const before = await readFile(setting, 'utf8').catch(() => '');
const allowed = await writeFile(setting, '1').then(() => undefined, (error: Error) => `${setting} cannot be set: ${error.message}`);
const problem = (await criuProblem()) ?? allowed ?? (await lazyProblem({ criu: '/usr/sbin/criu' }));
const test = anyTest as TestFn<{ bed: Bed; image: ImageSource }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/lazy-resume: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');
const mib = 300;

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed({ lazyResume: 'auto' });
  const image = await toolsImage(false);
  await operate((operation) => bed.host.ensureImage(image, operation));
  t.context = { bed, image };
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  if (allowed === undefined) await writeFile(setting, before);
});

/** A program that knows a sum of its memory, so that a page that was lost shows. It answers to SIGUSR1 by summing again. */
const program = `
import hashlib, os, signal, time
parts = [os.urandom(1 << 20) for _ in range(${mib})]
def total():
    sum = hashlib.sha256()
    for part in parts: sum.update(part)
    return sum.hexdigest()
first = total()
def again(*_):
    with open("/run/answer.tmp", "w") as out: out.write("whole" if total() == first else "damaged")
    os.rename("/run/answer.tmp", "/run/answer")
signal.signal(signal.SIGUSR1, again)
with open("/run/pid", "w") as out: out.write(str(os.getpid()))
os.rename("/run/pid", "/run/ready")
while True: time.sleep(1)
`;

async function boot(bed: Bed, image: ImageSource): Promise<ContainerSpec> {
  const spec = makeSpec(image, { limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 1024, swapMiB: 0, pids: 100, rootGiB: 1 } });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('it is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  await inside(bed, spec.id, 'sh', '-c', `printf '%s' '${program}' > /run/program; (python3 /run/program; echo it ended > /run/answer) </dev/null >/dev/null 2>&1 & true`);
  await until('its memory is filled', () => inside(bed, spec.id, 'sh', '-c', '[ -e /run/ready ] && echo yes; true'), 60_000);
  return spec;
}

const suspend = (host: LocalContainerHost, id: string): Promise<void> => operate((operation) => host.suspend(id, operation));
const resume = (host: LocalContainerHost, id: string): Promise<void> => operate((operation) => host.resume(id, operation));
const pathsOf = (bed: Bed, id: string): CheckpointPaths => checkpointPaths({ folder: join(bed.options.instancesPath, id) });

async function memory(bed: Bed, id: string): Promise<string> {
  await inside(bed, id, 'sh', '-c', 'rm -f /run/answer; kill -USR1 $(cat /run/ready)');
  return await until('it has summed its memory', () => inside(bed, id, 'sh', '-c', 'cat /run/answer 2>/dev/null; true'), 60_000);
}

/** The page daemon's criu process, stopped, so that the pages are still to come for as long as the test needs. */
async function holdPages(bed: Bed, id: string): Promise<number> {
  const shell = await until('its page daemon', () => pageDaemon(pathsOf(bed, id)));
  const children = await readFile(`/proc/${shell.pid}/task/${shell.pid}/children`, 'utf8');
  const pid = Number(children.trim());
  process.kill(pid, 'SIGSTOP');
  return pid;
}

const gone = (bed: Bed, id: string): Promise<boolean> => until('the images are gone', () => !existsSync(pathsOf(bed, id).folder), 60_000);

/** Processes that serve pages, of whatever container. */
async function daemons(): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir('/proc')) {
    if (/^\d+$/.test(name) && (await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')).includes('HAULIER_PAGES=')) found.push(name);
  }
  return found;
}

real('it runs before its memory is in, the memory is whole, the images go after', async (t) => {
  const { bed, image } = t.context;
  const spec = await boot(bed, image);
  for (let round = 0; round < 3; round++) {
    await suspend(bed.host, spec.id);
    t.deepEqual(await leftOvers(bed, spec), []);
    await resume(bed.host, spec.id);
    t.is((await bed.host.view(spec.id)).state, 'running');
    t.false(existsSync(pathsOf(bed, spec.id).meta), 'a second restore is impossible');
    t.is(await memory(bed, spec.id), 'whole');
    if (round > 0) await gone(bed, spec.id); // round 0: the next suspend waits for the pages by itself
  }
  t.deepEqual(await daemons(), []);
});

real('what comes while the pages come: a suspend waits, a stop and a destroy do not', async (t) => {
  const { bed, image } = t.context;
  const spec = await boot(bed, image);
  const { host } = bed;
  await suspend(host, spec.id);
  await resume(host, spec.id);
  let held = await holdPages(bed, spec.id);
  await t.throwsAsync(operate(async (operation) => {
    setTimeout(() => operation.abort(new Error('given up')), 300);
    await host.suspend(spec.id, operation);
  }), { message: 'given up' });
  t.is((await host.view(spec.id)).state, 'running');
  process.kill(held, 'SIGCONT');
  await suspend(host, spec.id);
  await resume(host, spec.id);
  t.is(await memory(bed, spec.id), 'whole');
  await suspend(host, spec.id);

  await resume(host, spec.id);
  held = await holdPages(bed, spec.id);
  await operate((operation) => host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 0 }, operation));
  t.is((await host.view(spec.id)).state, 'stopped');
  t.deepEqual([await leftOvers(bed, spec), await daemons(), existsSync(pathsOf(bed, spec.id).folder)], [[], [], false]);
  await operate((operation) => host.startContainer(spec.id, operation));
  await operate((operation) => host.destroy(spec.id, operation));

  const other = await boot(bed, image);
  await suspend(host, other.id);
  await resume(host, other.id);
  await holdPages(bed, other.id);
  await operate((operation) => host.destroy(other.id, operation));
  t.deepEqual([await leftOvers(bed, other), await daemons()], [[], []]);
});

real('the service ends while the pages come: the container goes on, the next one takes the images away', async (t) => {
  const { bed, image } = t.context;
  const spec = await boot(bed, image);
  await suspend(bed.host, spec.id);
  await resume(bed.host, spec.id);
  const held = await holdPages(bed, spec.id);
  await bed.host.stop();
  const second = new LocalContainerHost(bed.options, log);
  await second.start();
  t.is((await second.view(spec.id)).state, 'running');
  t.true(existsSync(pathsOf(bed, spec.id).images));
  process.kill(held, 'SIGCONT');
  t.is(await memory(bed, spec.id), 'whole');
  await gone(bed, spec.id);
  t.deepEqual(await daemons(), []);
  await second.stop();
});

real('a page daemon that dies early: the container is ended and said to have crashed', async (t) => {
  const { bed, image } = t.context;
  const exits: ContainerExit[] = [];
  bed.host.onExit((exit) => exits.push(exit));
  for (const serviceRuns of [true, false]) {
    const spec = await boot(bed, image);
    await suspend(bed.host, spec.id);
    await resume(bed.host, spec.id);
    const held = await holdPages(bed, spec.id);
    if (!serviceRuns) await bed.host.stop();
    process.kill(held, 'SIGKILL');
    if (!serviceRuns) {
      await until('its shell has noticed', () => existsSync(join(pathsOf(bed, spec.id).work, 'pages.exit')));
      await bed.host.start();
    }
    await until('it is said to have crashed', async () => (await bed.host.view(spec.id)).state === 'crashed');
    await until('it is reported', () => exits.some(({ id, state }) => id === spec.id && state === 'crashed'));
    await gone(bed, spec.id);
    t.deepEqual(await daemons(), []);
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  }
});

real('where no page daemon can be started, or it is killed before the processes run, all memory is read first', async (t) => {
  const { bed, image } = t.context;
  const spec = await boot(bed, image);
  const folder = await mkdtemp('/run/criu-');
  const criu = join(folder, 'criu');
  for (const script of ['exit 3', '(until [ -e restore.log ]; do sleep 0.005; done; kill -9 $$) & exec /usr/sbin/criu "$@"']) {
    await suspend(bed.host, spec.id);
    await bed.host.stop();
    await writeFile(criu, `#!/bin/sh\n[ "$1" = lazy-pages ] || exec /usr/sbin/criu "$@"\n${script}\n`, { mode: 0o755 });
    const host = new LocalContainerHost({ ...bed.options, criu }, log);
    await host.start();
    await resume(host, spec.id);
    await host.stop();
    await bed.host.start();
    t.is(await memory(bed, spec.id), 'whole');
    t.deepEqual(await daemons(), []);
  }
  await rm(folder, { recursive: true });
});

for (const point of ['container.resume.pages', 'container.resume.ready', 'container.resume.restore', 'container.resume.restored', 'container.resume.recorded', 'container.resume.done']) {
  real(`the service is killed at ${point}`, async (t) => {
    const { bed, image } = t.context;
    const spec = await boot(bed, image);
    await suspend(bed.host, spec.id);
    await bed.host.stop();
    const service = spawn(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), 'resume'], { stdio: 'inherit', env: { ...process.env, HAULIER_FAULT: `kill:${point}` } });
    await once(service, 'exit');
    t.is(service.signalCode, 'SIGKILL');
    await bed.host.start();
    const running = point.endsWith('restored') || point.endsWith('recorded') || point.endsWith('done');
    t.is((await bed.host.view(spec.id)).state, running ? 'running' : 'suspended');
    if (!running) {
      t.deepEqual([await leftOvers(bed, spec), await daemons()], [[], []]);
      await resume(bed.host, spec.id);
    }
    t.is(await memory(bed, spec.id), 'whole');
    await gone(bed, spec.id);
    t.deepEqual(await daemons(), []);
  });
}

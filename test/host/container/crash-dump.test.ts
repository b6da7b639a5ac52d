/** Crash dumps through the door: core files that agree with the living processes, which go on; bounds, errors, kill -9 in the middle. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { crashDumpFaultPoints } from '../../../src/container/checkpoint/steps.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem } from './checkpoint-kit.js';
import { readCore, type Core } from './core-file.js';
import { inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';
import { toolsImage } from './tools-image.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; tools: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/crash-dump: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed();
  const image = await toolsImage(false);
  await operate((operation) => bed.host.ensureImage(image, operation));
  Object.assign(t.context, { bed, tools: image.id });
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => t.context.bed?.end());

async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, change);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('it counts', async () => (await counted(bed, spec.id)) > 0);
  return spec;
}

const dump = (bed: Bed, id: string): Promise<string> => operate((operation) => bed.host.crashDump(id, operation));
const dumpFolder = (bed: Bed): string => bed.options.crashDumps.path ?? '';

async function counted(bed: Bed, id: string): Promise<number> {
  return Number(await readFile(`/proc/${(await bed.host.view(id)).pid}/root/run/count`, 'utf8').catch(() => ''));
}

async function goesOn(t: ExecutionContext, bed: Bed, id: string): Promise<void> {
  t.is((await bed.host.view(id)).state, 'running');
  const before = await counted(bed, id);
  await until('it counts on', async () => (await counted(bed, id)) > before);
  t.false(existsSync(join(bed.options.instancesPath, id, 'checkpoint')), 'images are left');
}

/** Host pid of a process of the guest by its pid inside. */
async function hostPid(inner: number, comm: string): Promise<number> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
    const pids = /^NSpid:\s+(.*)$/m.exec(text)?.[1]?.split(/\s+/) ?? [];
    if (pids.length > 1 && Number(pids.at(-1)) === inner && new RegExp(`^Name:\\s+${comm}$`, 'm').test(text)) return Number(name);
  }
  throw new Error(`no process ${inner} ${comm}`);
}

/**
 * What may differ: what the kernel itself writes into each thread's rseq area (rseq(2)) whenever it runs, and glibc's state of the
 * vDSO's getrandom, which lies in memory that the kernel may drop and criu leaves out.
 */
const rseqBytes = 32;
const randomStateBytes = 144;

/** Every byte of the core equals what the process, which sleeps, still has there. @returns bytes that were compared, and that differ */
async function compare(core: Core, pid: number): Promise<{ readonly bytes: number; readonly different: number }> {
  const memory = await open(`/proc/${pid}/mem`, 'r');
  let bytes = 0;
  let different = 0;
  try {
    for (const segment of core.segments.filter(({ inFile }) => inFile > 0)) {
      const own = await core.read(segment);
      const theirs = Buffer.alloc(own.length);
      const { bytesRead } = await memory.read(theirs, 0, theirs.length, segment.address).catch(() => ({ bytesRead: 0 }));
      if (bytesRead === 0) continue; // not readable from outside (vvar)
      bytes += own.length;
      if (!own.equals(theirs)) for (const [at, byte] of own.entries()) if (byte !== theirs[at]) different++;
    }
  } finally {
    await memory.close();
  }
  return { bytes, different };
}

const sleeper = `
import mmap, threading, time
private = bytearray(b"paeh ni")[::-1] * 300
shared = mmap.mmap(-1, 8 * 1048576)
shared[409600:409609] = bytes(bytearray(b"derahs ni")[::-1])
def stay():
  time.sleep(5000)
for _ in range(2): threading.Thread(target=stay, daemon=True).start()
print("ready", flush=True)
time.sleep(5000)
`;

real('the cores agree with the processes, thread by thread and byte by byte; these go on', async (t) => {
  const { bed, tools } = t.context;
  const spec = await boot(bed, { imageId: tools });
  await inside(bed, spec.id, 'sh', '-c', `cat > /tmp/sleeper.py <<'END'\n${sleeper}\nEND\n(su user -c "exec python3 /tmp/sleeper.py" > /tmp/said 2>&1 < /dev/null &)`);
  await until('python is ready', async () => (await inside(bed, spec.id, 'cat', '/tmp/said')).includes('ready'));
  const inner = Number(await inside(bed, spec.id, 'pidof', 'python3'));
  const pid = await hostPid(inner, 'python3');
  const folder = await dump(bed, spec.id);
  await goesOn(t, bed, spec.id);
  const about = JSON.parse(await readFile(join(folder, 'dump.json'), 'utf8')) as { frozenMs: number; processes: { pid: number; name: string; uid: number; threads: number; core: string }[] };
  t.log(`frozen ${about.frozenMs} ms, ${about.processes.map(({ core }) => core).join(' ')}`);
  t.is(about.processes.find((process) => process.pid === 1)?.name, 'init');
  const python = about.processes.find((process) => process.pid === inner);
  t.like(python, { name: 'python3', uid: 1000, threads: 3 });
  t.is((await stat(folder)).mode & 0o777, 0o700);
  t.deepEqual([(await stat(dumpFolder(bed))).mode & 0o777, (await stat(join(folder, python?.core ?? ''))).mode & 0o777], [0o700, 0o600]);

  const core = await readCore(join(folder, python?.core ?? ''));
  t.teardown(() => core.close());
  t.like(core.summary, { pid: inner, uid: 1000, name: 'python3', commandLine: 'python3 /tmp/sleeper.py' });
  const tids = (await readdir(`/proc/${pid}/task`)).map(Number);
  t.is(core.threads.length, tids.length);
  for (const tid of tids) {
    const status = await readFile(`/proc/${pid}/task/${tid}/status`, 'utf8');
    const innerTid = Number(/^NSpid:\s+.*?(\d+)$/m.exec(status)?.[1]);
    const thread = core.threads.find((one) => one.tid === innerTid);
    const [sp, pc] = (await readFile(`/proc/${pid}/task/${tid}/syscall`, 'utf8')).trim().split(' ').slice(-2).map((word) => BigInt(word));
    t.is(thread?.sp, sp, `stack pointer of thread ${innerTid}`);
    t.true(thread?.pc === pc || thread?.pc === (pc ?? 0n) - 2n, `program counter of thread ${innerTid}`); // criu has the call made again
    t.true(thread?.floating);
  }
  t.true(core.files.some(({ name }) => name.includes('python3')), 'files by their names in the guest');
  t.true((await core.find('in heapin heap')) !== undefined);
  t.true((await core.find('in shared')) !== undefined);
  const { bytes, different } = await compare(core, pid);
  t.log(`${bytes} bytes compared, ${different} differ`);
  t.true(different <= (rseqBytes + randomStateBytes) * tids.length);
  t.true(bytes > 8 * 1024 * 1024);
  t.true((await stat(join(folder, python?.core ?? ''))).blocks * 512 < bytes, 'untouched memory takes no disk');
});

real('a paused container stays paused; one that does not run, and a host without a folder, refuse', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  await operate((operation) => bed.host.pause(spec.id, operation));
  t.true(existsSync(join(await dump(bed, spec.id), 'dump.json')));
  t.is((await bed.host.view(spec.id)).state, 'paused');
  await operate((operation) => bed.host.unpause(spec.id, operation));
  await goesOn(t, bed, spec.id);
  await bed.host.stop();
  const other = new LocalContainerHost({ ...bed.options, crashDumps: { ...bed.options.crashDumps, path: undefined } }, log);
  await other.start();
  await t.throwsAsync(operate((operation) => other.crashDump(spec.id, operation)), { code: 'CRASH_DUMP_UNSUPPORTED' });
  await other.stop();
  await bed.host.start();
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 0 }, operation));
  await t.throwsAsync(dump(bed, spec.id), { code: 'INSTANCE_NOT_RUNNING' });
  t.like(await bed.host.view(spec.id), { state: 'stopped' });
});

real('only the newest dumps are kept', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  const made = [await dump(bed, spec.id), await dump(bed, spec.id), await dump(bed, spec.id)];
  t.deepEqual(made.map((folder) => existsSync(folder)), [false, true, true]);
  await bed.host.stop();
  const other = new LocalContainerHost({ ...bed.options, crashDumps: { ...bed.options.crashDumps, maxBytes: 4096 } }, log);
  await other.start();
  const last = await operate((operation) => other.crashDump(spec.id, operation));
  await other.stop();
  await bed.host.start();
  t.deepEqual([...made, last].map((folder) => existsSync(folder)), [false, false, false, true]);
});

for (const point of crashDumpFaultPoints) {
  real(`kill -9 at ${point}: the container goes on, and nothing is left of the try`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    await bed.host.stop();
    const service = spawn(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), 'crashdump'], { env: { ...process.env, HAULIER_FAULT: `kill:${point}` }, stdio: 'inherit' });
    const [, signal] = (await once(service, 'exit')) as [number | null, string | null];
    t.is(signal, 'SIGKILL');
    await bed.host.start();
    await goesOn(t, bed, spec.id);
    t.true(existsSync(join(await dump(bed, spec.id), 'dump.json')), 'another dump can be made');
    t.deepEqual((await readdir(join(dumpFolder(bed), spec.id))).filter((name) => name.startsWith('.')), []);
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await operate((operation) => bed.host.resume(spec.id, operation));
    await goesOn(t, bed, spec.id);
  });
}

/** A criu that is killed, ends or hangs in a dump: the container goes on, or what was lost is said. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import type { HaulierError } from '../../../src/base/errors.js';
import { run } from '../../../src/base/run.js';
import type { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { InstanceStore } from '../../../src/container/state.js';
import { counted, criuProblem, goesOn, killedInDump, killedInDumpWithHelper, killedInRestore, leftOvers, slowInDump, slowInRestore, withCriu, wrapper } from './checkpoint-kit.js';
import { inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/broken-criu: ${problem}\n`);

const bridge = 'brqhtbroken';
const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

/** Processes beside init and the counter, by the names that a message would call them. */
const programs = ['tail', 'nc'];

async function boot(bed: Bed): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge, createBridge: true }, 0)] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await run('ip', ['addr', 'replace', '10.90.0.1/24', 'dev', bridge]);
  await until('it counts', async () => (await counted(bed.host, spec.id)) > 0);
  await inside(bed, spec.id, 'sh', '-c', '(tail -f /etc/passwd & nc -ll -p 7000 -e cat &) </dev/null >/dev/null 2>&1');
  await until('the programs run', async () => (await missing(bed, spec)).length === 0);
  return spec;
}

const suspend = (host: LocalContainerHost, spec: ContainerSpec): Promise<string> =>
  operate((operation) => host.suspend(spec.id, operation)).then(() => 'suspended', (error: Error) => `${error.name}: ${error.message}`);

/** Programs of the list that do not run. */
async function missing(bed: Bed, spec: ContainerSpec): Promise<string[]> {
  const listing = (await inside(bed, spec.id, 'ps', '-o', 'comm')).split('\n');
  return programs.filter((program) => !listing.includes(program));
}

/** criu's lock in the container's network namespace. */
async function locks(bed: Bed, spec: ContainerSpec): Promise<string> {
  return (await run('nsenter', [`--net=/proc/${(await bed.host.view(spec.id)).pid}/ns/net`, '/usr/sbin/nft', 'list', 'tables'])).stdout.trim();
}

for (const name of ['KILL', 'TERM']) {
  real(`criu gets SIG${name} at any moment of a dump`, async (t) => {
    const { bed } = t.context;
    const outcomes: Record<string, number> = {};
    let spec = await boot(bed);
    for (let ms = 0; ms <= 120; ms += 4) {
      const { pid } = await bed.host.view(spec.id);
      let outcome = '';
      await withCriu(bed, await wrapper(`$real "$@" &\nsleep ${ms / 1000}\nkill -${name} $!\nwait $!`), async (host) => {
        outcome = await suspend(host, spec);
        if (outcome === 'suspended') return;
        t.regex(outcome, /^SUSPEND_FAILED: /);
        // what criu's code was running in may die with it: then the message names it
        if (/gone since then|left in/.test(outcome)) return;
        await goesOn(t, bed, host, spec, pid);
      });
      let word = 'unharmed';
      if (outcome === 'suspended') {
        word = 'was done already';
        await operate((operation) => bed.host.resume(spec.id, operation));
        t.deepEqual(await missing(bed, spec), []);
      } else if (/gone since then, maybe with it: [^;]*\binit\b/.test(outcome)) {
        word = 'init died';
        await until('its end is on record', async () => (await bed.host.view(spec.id)).state === 'crashed');
      } else if (/left in: .*\binit\b/.test(outcome)) {
        word = 'init may die'; // at any moment from now on
        const before = await counted(bed.host, spec.id);
        await until('it counts on or its end is on record', async () => (await counted(bed.host, spec.id)) > before || (await bed.host.view(spec.id)).state === 'crashed');
      } else {
        const lost = await missing(bed, spec);
        for (const program of lost) t.regex(outcome, new RegExp(`(gone since then|left in).*${program}`));
        if (lost.length > 0) word = 'a process died';
        else if (outcome.includes('left in')) word = 'a process may die';
        await goesOn(t, bed, bed.host, spec, pid);
        t.is(await locks(bed, spec), '');
      }
      outcomes[word] = (outcomes[word] ?? 0) + 1;
      if (word === 'unharmed' || word === 'was done already') continue;
      t.log(`${ms} ms: ${outcome}`);
      await operate((operation) => bed.host.destroy(spec.id, operation));
      t.deepEqual(await leftOvers(bed, spec), []);
      spec = await boot(bed);
    }
    t.log(JSON.stringify(outcomes));
    t.is(await suspend(bed.host, spec), 'suspended');
    await operate((operation) => bed.host.resume(spec.id, operation));
    t.deepEqual(await missing(bed, spec), []);
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  });
}

const broken: Readonly<Record<string, string>> = {
  'ends at once': 'exit 1',
  'ends at once and calls it well done': 'exit 0',
  'talks nonsense': 'head -c 100 /dev/urandom; sleep 0.1',
  'never says a word': 'exec sleep 300',
  'ends after a while': '$real "$@" & sleep 0.02; exit 1',
};

for (const [what, script] of Object.entries(broken)) {
  real(`a criu that ${what}`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    const { pid } = await bed.host.view(spec.id);
    await withCriu(bed, await wrapper(script), async (host) => {
      const outcome = await suspend(host, spec);
      t.log(outcome);
      if (outcome === 'suspended') return; // only the last one's shell has ended: its criu went on
      t.regex(outcome, /^SUSPEND_FAILED: /);
      await goesOn(t, bed, host, spec, pid);
    });
    if ((await bed.host.view(spec.id)).state === 'suspended') await operate((operation) => bed.host.resume(spec.id, operation));
    t.deepEqual(await missing(bed, spec), []);
    t.is(await locks(bed, spec), '');
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  });
}

/** What criu says of a process that waits for a disk. The flag's file counts how often it was called for a dump; its configuration is marked, for it is chosen anew. */
const unseizable = (flag: string, times: number, config: string): string => `echo x >>${flag}
grep -q before ${config} && touch ${flag}-old-choice
if [ $(wc -l <${flag}) -le ${times} ]; then
  echo '# of before' >>${config}
  echo '(00.012345) Error (criu/seize.c:1002): Unseizable non-zombie 4242 found, state D, err -1/22' >"$HAULIER_CHECKPOINT/work/dump.log"
  exit 1
fi
exec $real "$@"`;

for (const [times, outcome] of [[1, /^suspended$/], [100, /^SUSPEND_FAILED: .*Unseizable non-zombie/]] as const) {
  real(`a process that waits for a disk when criu wants to hold it, ${times} times: the dump is tried once more`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    const { pid } = await bed.host.view(spec.id);
    const flag = join(bed.options.runPath, `calls-${times}`);
    await withCriu(bed, await wrapper(unseizable(flag, times, new InstanceStore(bed.options.instancesPath, bed.options.runPath).paths(spec.id).criuConfig)), async (host) => {
      t.regex(await suspend(host, spec), outcome);
      t.false(existsSync(`${flag}-old-choice`), 'the lock of the network is chosen anew after the second freeze');
      if (times > 1) {
        t.is((await readFile(flag, 'utf8')).trim().split('\n').length, 2);
        await goesOn(t, bed, host, spec, pid);
      } else {
        await operate((operation) => host.resume(spec.id, operation));
      }
    });
    t.deepEqual(await missing(bed, spec), []);
    t.is(await locks(bed, spec), '');
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  });
}

for (const [what, script] of [['', killedInDump], [' and leaves a helper', killedInDumpWithHelper]] as const) {
  real(`criu is killed in the middle of a dump${what}, for certain: that is noticed, no time-out has to end it, and the container goes on`, async (t) => {
    const { bed } = t.context;
    const spec = await boot(bed);
    const { pid } = await bed.host.view(spec.id);
    await withCriu(bed, await wrapper(script), async (host) => {
      t.regex(await suspend(host, spec), /^SUSPEND_FAILED: .*criu was killed in the middle of its work/);
      await goesOn(t, bed, host, spec, pid);
    });
    t.deepEqual(await missing(bed, spec), []);
    t.is(await locks(bed, spec), '');
    await operate((operation) => bed.host.destroy(spec.id, operation));
    t.deepEqual(await leftOvers(bed, spec), []);
  });
}

real('a criu that is only slow in a dump is waited for', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  await withCriu(bed, await wrapper(slowInDump), async (host) => { t.is(await suspend(host, spec), 'suspended'); });
  await operate((operation) => bed.host.resume(spec.id, operation));
  t.deepEqual(await missing(bed, spec), []);
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

real('criu is killed in the middle of a restore, for certain: that is noticed, no time-out has to end it, and the container stays suspended', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  t.is(await suspend(bed.host, spec), 'suspended');
  await withCriu(bed, await wrapper(killedInRestore), async (host) => {
    const error = await t.throwsAsync<HaulierError>(operate((operation) => host.resume(spec.id, operation)), { code: 'RESUME_FAILED', message: /criu was killed in the middle of its work/ });
    t.like(error?.cause, { code: 'RUNTIME_FAILED', details: { halted: true } });
    t.is((await host.view(spec.id)).state, 'suspended');
    t.deepEqual(await leftOvers(bed, spec), []);
  });
  await operate((operation) => bed.host.resume(spec.id, operation));
  t.deepEqual(await missing(bed, spec), []);
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

real('a criu that is only slow in a restore is waited for', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  t.is(await suspend(bed.host, spec), 'suspended');
  await withCriu(bed, await wrapper(slowInRestore), (host) => operate((operation) => host.resume(spec.id, operation)).then(() => undefined));
  t.deepEqual(await missing(bed, spec), []);
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

real('the service dies while criu hangs in a restore: the next one takes it for what it is, and the container stays suspended', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  t.is(await suspend(bed.host, spec), 'suspended');
  await bed.host.stop();
  const criu = await wrapper(`case " $(tr '\\0' ' ' </proc/$PPID/cmdline) " in *' restore '*) touch ${bed.options.runPath}/hangs; exec sleep 1000;; *) exec $real "$@";; esac`);
  const service = spawn(process.execPath, [child, JSON.stringify({ ...bed.options, criu }), JSON.stringify(spec), 'resume'], { stdio: 'inherit' });
  await until('criu hangs', () => existsSync(join(bed.options.runPath, 'hangs')), 60_000);
  service.kill('SIGKILL');
  await once(service, 'exit');
  const began = performance.now();
  await bed.host.start();
  t.log(`ready after ${Math.round(performance.now() - began)} ms`);
  t.is((await bed.host.view(spec.id)).state, 'suspended');
  await operate((operation) => bed.host.resume(spec.id, operation));
  t.deepEqual(await missing(bed, spec), []);
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

/** What is ended with a container beside its processes: what the service has started for it, and nothing of an administrator's. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { Operation } from '../../../src/base/operation.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { isAlive, identify, type ProcessId } from '../../../src/container/process.js';
import { hostProblem, log, makeBed, makeSpec, operate, pidsWithArgument, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/starters: ${problem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

/** A runtime that stands still in the middle of a `create`. */
async function standing(bed: Bed): Promise<string> {
  const file = join(bed.options.runPath, 'runc-that-stands');
  await writeFile(file, `#!/bin/bash\ncase " $* " in *' create '*) kill -STOP $$;; esac\nexec ${bed.options.runc} "$@"\n`);
  await chmod(file, 0o755);
  return file;
}

real('a start that is given up, and a destroy, end the monitor and the runtime, and no process that only names the container', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  const innocents: ChildProcess[] = [
    spawn('tail', ['-f', '/dev/null', spec.id], { stdio: 'ignore' }),
    spawn(process.execPath, ['--eval', 'setInterval(() => {}, 1000)', '--', 'exec', spec.id], { stdio: 'ignore' }),
    spawn('sleep', ['infinity'], { argv0: spec.id, stdio: 'ignore' }),
  ];
  t.teardown(() => { for (const child of innocents) child.kill('SIGKILL'); });
  await Promise.all(innocents.map((child) => once(child, 'spawn')));
  const theirs = innocents.map(({ pid }) => identify(pid!) as ProcessId);
  const beside = async (): Promise<number[]> => (await pidsWithArgument(spec.id)).filter((pid) => !theirs.some((each) => each.pid === pid));

  await bed.host.stop();
  const host = new LocalContainerHost({ ...bed.options, runc: await standing(bed) }, log);
  await host.start();
  const start = new Operation({ name: 'start', log });
  const end = start.run((operation) => host.startContainer(spec.id, operation)).then(() => 'started', (error: Error) => error.message);
  await until('monitor and runtime are at work', async () => (await beside()).length >= 2);
  start.abort(new Error('given up'));
  t.regex(await end, /given up/);
  t.deepEqual(await beside(), []);
  t.true(theirs.every(isAlive));
  await host.stop();

  await bed.host.start();
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  t.is((await beside()).length, 1, 'its monitor');
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await beside(), []);
  t.true(theirs.every(isAlive));
});

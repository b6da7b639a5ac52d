/** A container is not frozen while it watches a control group that is gone: criu could not dump it (`dead-watch.ts`). */
import anyTest, { type TestFn } from 'ava';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { inside, makeBed, makeSpec, operate, until, type Bed } from './harness.js';
import { toolsImage } from './tools-image.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/dead-watch: ${problem}\n`);

/** As systemd does it, but slowly: watches a group, removes it, and ends the watch after a while of its own; again and again. */
const watcher = `python3 -c '
import ctypes, os, time
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
group = "/sys/fs/cgroup/watched"
rounds = 0
while True:
    os.mkdir(group)
    watch = libc.inotify_add_watch(fd, (group + "/cgroup.events").encode(), 2)
    os.rmdir(group)
    with open("/run/rounds", "w") as file: file.write(str(rounds))
    for _ in range(60): time.sleep(0.005)
    libc.inotify_rm_watch(fd, watch)
    for _ in range(10): time.sleep(0.005)
    rounds += 1
'`;

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always((t) => t.context.bed?.end());

real('it is suspended and resumed at any moment, and goes on', async (t) => {
  const { bed } = t.context;
  const image = await toolsImage(false);
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await inside(bed, spec.id, 'sh', '-c', `(${watcher}) </dev/null >/dev/null 2>&1 &`);
  const rounds = async (): Promise<number> => Number(await inside(bed, spec.id, 'cat', '/run/rounds').catch(() => '-1'));
  await until('it watches', async () => (await rounds()) >= 0);
  for (let time = 0; time < 5; time++) {
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await operate((operation) => bed.host.resume(spec.id, operation));
    const before = await rounds();
    await until('it goes on', async () => (await rounds()) > before);
  }
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

/** A container is not frozen while it watches a control group that is gone, or a folder whose name the kernel has dropped: criu could not dump it (`dead-watch.ts`, `watched-folders.ts`). */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { watchesIn } from '../../../src/container/checkpoint/dead-watch.js';
import type { ImageSource } from '../../../src/container/spec.js';
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

let image: ImageSource;
test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  image = await toolsImage(false);
  await operate((operation) => t.context.bed.host.ensureImage(image, operation));
});
test.after.always((t) => t.context.bed?.end());

real('it is suspended and resumed at any moment, and goes on', async (t) => {
  const { bed } = t.context;
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

/** Watches a folder of the image, and says in /run/seen what came. */
const folderWatcher = `python3 -c '
import ctypes, os
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, b"/var", 0x100)
open("/run/watching", "w").close()
os.read(fd, 4096)
open("/run/seen", "w").close()
'`;

real('a watched folder of the image whose name the kernel has dropped for want of memory', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await inside(bed, spec.id, 'sh', '-c', `(${folderWatcher}) </dev/null >/dev/null 2>&1 &`);
  await until('it watches', () => inside(bed, spec.id, 'sh', '-c', 'cat /run/watching && echo yes').catch(() => ''));
  const pid = Number((await inside(bed, spec.id, 'pidof', 'python3')).split(' ')[0]);
  const init = (await bed.host.view(spec.id)).pid ?? 0;
  const own = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && readNamespaced(name) === pid && readlinkSync(`/proc/${name}/ns/pid`) === readlinkSync(`/proc/${init}/ns/pid`))[0] ?? '';
  const handles = (): boolean[] => readdirSync(`/proc/${own}/fdinfo`).flatMap((fd) => watchesIn(readFileSync(`/proc/${own}/fdinfo/${fd}`, 'utf8'))).map(({ hasHandle }) => hasHandle);
  t.deepEqual(handles(), [true]);
  await until('the kernel has dropped it', () => {
    writeFileSync('/proc/sys/vm/drop_caches', '2');
    return handles()[0] === false;
  });
  await operate((operation) => bed.host.suspend(spec.id, operation));
  await operate((operation) => bed.host.resume(spec.id, operation));
  await inside(bed, spec.id, 'touch', '/var/new');
  await until('the watch sees it', () => inside(bed, spec.id, 'sh', '-c', 'cat /run/seen && echo yes').catch(() => ''));
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.deepEqual(await leftOvers(bed, spec), []);
});

/** A process's pid in its own namespace; undefined if it has ended. */
function readNamespaced(pid: string): number | undefined {
  try {
    return Number(/^NSpid:.*\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined;
  }
}

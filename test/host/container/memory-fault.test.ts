/** The service dies by kill -9 at each step of a snapshot with memory and of a boot from one: the next one finds the guest going on, and nothing that cannot be taken away. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { isFrozen, readCgroupLayout } from '../../../src/container/cgroup.js';
import { checkpointFaultPoints } from '../../../src/container/checkpoint/steps.js';
import { memoryBootFaultPoints } from '../../../src/container/steps.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { imageFaultPoints } from '../../../src/container/image/image-store.js';
import { diskCopyFaultPoints } from '../../../src/container/snapshot/disk-copy.js';
import { memoryFaultPoints } from '../../../src/container/snapshot/memory.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { inside, log, operate } from './harness.js';
import { bootFrom, counted, countsOn, fileOf, memoryBed, memorySnapshot, portSpec, type MemoryBed } from './memory-kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: MemoryBed; source: ContainerSpec; image: ImageSource }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/memory-fault: ${problem}\n`);

const child = join(dirname(fileURLToPath(import.meta.url)), 'fault-child.js');

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await memoryBed('brqhtmk');
  const source = await bootFrom(bed, bed.image);
  await countsOn(bed.host, source.id, 2);
  t.context = { bed, source, image: (await memorySnapshot(bed, source.id)).image };
});
test.after.always((t) => t.context.bed?.end());

/** Runs the child until it dies there, then the next service. */
async function killed(t: { regex(text: string, pattern: RegExp): void }, bed: MemoryBed, spec: ContainerSpec, action: string, file: string, point: string, check: (next: LocalContainerHost) => Promise<void>): Promise<void> {
  await bed.host.stop();
  const end = await run(process.execPath, [child, JSON.stringify(bed.options), JSON.stringify(spec), action, file], { env: { ...process.env, HAULIER_FAULT: `kill:${point}` } }).then(() => 'went through', (error: Error) => error.message);
  t.regex(end, /signal SIGKILL/);
  const next = new LocalContainerHost(bed.options, log);
  await next.start();
  try {
    await check(next);
  } finally {
    await next.stop();
    await bed.host.start();
  }
}

for (const point of [...memoryFaultPoints, ...diskCopyFaultPoints]) {
  real(`a snapshot, killed at ${point}`, async (t) => {
    const { bed, source } = t.context;
    // a guest that writes: so its disk is copied frozen, too
    await inside(bed, source.id, 'sh', '-c', '(while :; do date > /root/date; sync; sleep 0.02; done) </dev/null >/dev/null 2>&1 & echo $! > /run/writer');
    const { pid } = await bed.host.view(source.id);
    await killed(t, bed, source, 'snapshotMemory', fileOf(bed, randomUUID()), point, async (next) => {
      t.like(await next.view(source.id), { state: 'running', pid });
      t.false(await isFrozen(await readCgroupLayout(), join(bed.options.cgroupParent, source.id)));
      await countsOn(next, source.id, await counted(next, source.id));
      const folder = join(bed.options.instancesPath, source.id, 'snapshot');
      t.false(existsSync(folder));
      t.deepEqual(mountsUnder(folder), []);
      t.notRegex((await run('nsenter', [`--net=/proc/${pid}/ns/net`, '/usr/sbin/nft', 'list', 'tables'])).stdout, /CRIU/);
      const { image } = await memorySnapshot(bed, source.id, next);
      t.truthy(image.size);
    });
    await inside(bed, source.id, 'sh', '-c', 'kill $(cat /run/writer)');
  });
}

real('a snapshot of a paused guest, killed in its dump: it stays paused', async (t) => {
  const { bed, source } = t.context;
  await operate((operation) => bed.host.pause(source.id, operation));
  for (const point of ['snapshot.memory.dump', 'snapshot.memory.dumped']) {
    await killed(t, bed, source, 'snapshotMemory', fileOf(bed, randomUUID()), point, async (next) => {
      t.is((await next.view(source.id)).state, 'paused');
      t.false(existsSync(join(bed.options.instancesPath, source.id, 'snapshot')));
    });
  }
  await operate((operation) => bed.host.unpause(source.id, operation));
  await countsOn(bed.host, source.id, await counted(bed.host, source.id));
});

const resumes = checkpointFaultPoints.filter((point) => point.startsWith('container.resume.') && point !== 'container.resume.pages'); // never lazily: several share the images
const bootPoints = [...imageFaultPoints, ...memoryBootFaultPoints, 'container.create.record', 'container.create.done', ...resumes];

for (const point of bootPoints) {
  real(`a boot, killed at ${point}`, async (t) => {
    const { bed, image } = t.context;
    // the image is downloaded by each, so that its steps are passed
    await bed.host.stop();
    await run('find', [join(bed.options.instancesPath, '_base'), '-mindepth', '1', '-maxdepth', '1', '-name', `${image.id}-*`, '-exec', 'rm', '-rf', '{}', '+']);
    await bed.host.start();
    const spec = portSpec(bed, image);
    await killed(t, bed, spec, 'bootMemory', fileOf(bed, image.id), point, async (next) => {
      t.deepEqual((await readdir(join(bed.options.instancesPath, '_base'))).filter((name) => name.startsWith('.tmp')), []);
      const state = (await next.view(spec.id)).state;
      const made = await next.parts.store.readState(spec.id);
      t.log(`${state}, ${made?.phase ?? 'nothing'}`);
      if (made?.phase === 'ready' && state === 'stopped') await operate((operation) => next.startContainer(spec.id, operation));
      if (made?.phase === 'ready') {
        // whoever started it, it is itself
        await countsOn(next, spec.id, 2);
        t.is(await inside(bed, spec.id, 'sh', '-c', 'hostname; cat /etc/hostname'), `${spec.hostname}\n${spec.hostname}`);
        t.notRegex(await inside(bed, spec.id, 'sh', '-c', 'ip address; ip route'), /dev lo metric|\/32/);
        t.false(existsSync(join(bed.options.instancesPath, spec.id, 'checkpoint')));
      }
      await operate((operation) => next.destroy(spec.id, operation));
      t.deepEqual(await leftOvers(bed, spec), []);
      t.false(existsSync(join(bed.options.instancesPath, spec.id)));
    });
    const clone = await bootFrom(bed, image);
    await countsOn(bed.host, clone.id, 2);
    await operate((operation) => bed.host.destroy(clone.id, operation));
  });
}

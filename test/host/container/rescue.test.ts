/** A container that rescues another one: that one's root file system is in it, with its ids, and what is changed there stays. */
import { existsSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { hostProblem, inside, log, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const frozen = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/rescue: ${problem}\n`);

const kill = { timeoutMs: 0, retryMs: 0 };

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await makeBed();
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const start = (bed: Bed, id: string): Promise<void> => operate((operation) => bed.host.startContainer(id, operation));

/** A container that was booted, has a file of its own, and is set aside; another one in its place. */
async function rescued(bed: Bed): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, { vifs: [makeVif({ type: 'bridge', bridge: 'brqhtr', createBridge: true }, 0)] });
  await operate((operation) => bed.host.create(spec, operation));
  await start(bed, spec.id);
  await inside(bed, spec.id, 'sh', '-c', 'echo broken >/etc/marker; chown 1000:1000 /etc/marker; mkdir -p /proc /dev');
  await operate((operation) => bed.host.stopContainer(spec.id, kill, operation));
  await operate(async (operation) => {
    await bed.host.moves.keep(spec.id, operation);
    await bed.host.create({ ...spec, rescue: true }, operation);
  });
  await start(bed, spec.id);
  return spec;
}

async function bringBack(bed: Bed, id: string): Promise<void> {
  if (!(await operate((operation) => bed.host.moves.restore(id, operation)))) throw new Error('nothing was set aside');
  await start(bed, id);
}


real('its files are there with their owners, can be mended, and are entered with chroot; the rescue\'s own are gone with it', async (t) => {
  const { bed } = t.context;
  const { id } = await rescued(bed);
  t.is(await inside(bed, id, 'sh', '-c', 'cat /mnt/rescue/etc/marker; stat -c %u:%g /mnt/rescue/etc/marker /mnt/rescue/etc/passwd; ls /etc/marker 2>&1 | tail -1'), 'broken\n1000:1000\n0:0\nls: /etc/marker: No such file or directory');
  t.is(await inside(bed, id, 'chroot', '/mnt/rescue', '/bin/sh', '-c', 'echo mended >/etc/marker; echo new >/etc/new; cat /etc/marker'), 'mended');
  await inside(bed, id, 'sh', '-c', 'echo mine >/etc/own');
  t.is(await inside(bed, id, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:00:00:10', 'the port is the same');
  // it can be stopped and started, also after the service has been
  await operate((operation) => bed.host.stopContainer(id, kill, operation));
  await bed.host.stop();
  await bed.host.start();
  await start(bed, id);
  t.is(await inside(bed, id, 'cat', '/mnt/rescue/etc/marker', '/etc/own'), 'mended\nmine');
  await bringBack(bed, id);
  t.is(await inside(bed, id, 'sh', '-c', 'cat /etc/marker /etc/new; stat -c %u:%g /etc/marker /etc/new; ls /etc/own /mnt/rescue 2>&1 | grep -c No'), 'mended\nnew\n1000:1000\n0:0\n2');
  t.deepEqual(await bed.host.moves.kept(), []);
  await operate((operation) => bed.host.destroy(id, operation));
});

real('destroyed while it is rescued, nothing is left of either', async (t) => {
  const { bed } = t.context;
  const spec = await rescued(bed);
  await operate((operation) => bed.host.destroy(spec.id, operation));
  await bed.host.moves.drop(spec.id);
  t.deepEqual(await leftOvers(bed, spec), []);
  t.false(existsSync(`${bed.options.instancesPath}/${spec.id}_resize`));
});

real('frozen with its host and thawed by another service, it has both trees again', async (t) => {
  if (frozen !== undefined) {
    t.log(`SKIPPED: ${frozen}`);
    t.pass();
    return;
  }
  const { bed } = t.context;
  const { id } = await rescued(bed);
  await until('it counts', async () => (await inside(bed, id, 'cat', '/run/count').catch(() => '')) !== '');
  await operate((operation) => bed.host.suspend(id, operation, 'host'));
  await bed.host.stop();
  const next = new LocalContainerHost(bed.options, log);
  await next.start();
  try {
    await operate((operation) => next.resume(id, operation));
    t.is(await inside(bed, id, 'sh', '-c', 'cat /mnt/rescue/etc/marker; echo after >/mnt/rescue/etc/marker'), 'broken');
  } finally {
    await next.stop();
    await bed.host.start();
  }
  await bringBack(bed, id);
  t.is(await inside(bed, id, 'cat', '/etc/marker'), 'after');
  await operate((operation) => bed.host.destroy(id, operation));
});

/** A container that rescues another one: that one's root file system is in it, with its ids, and what is changed there stays. */
import { existsSync } from 'node:fs';
import anyTest, { type TestFn } from 'ava';
import type { BootData } from '../../../src/container/boot-data/boot-data.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec } from '../../../src/container/spec.js';
import { criuProblem, leftOvers } from './checkpoint-kit.js';
import { hostProblem, inside, log, makeSpec, makeVif, operate, until } from './harness.js';
import { bootFrom, memoryBed, memorySnapshot, portSpec, type MemoryBed as Bed } from './memory-kit.js';

const problem = hostProblem();
const frozen = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/rescue: ${problem}\n`);

const kill = { timeoutMs: 0, retryMs: 0 };

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await memoryBed('brqhtr');
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

real('password, key and config drive of the rescue are in its system, and not in the rescued one', async (t) => {
  const { bed } = t.context;
  const spec = portSpec(bed, bed.image);
  const drive = (password: string): ReadonlyMap<string, Buffer> => new Map([['openstack/latest/meta_data.json', Buffer.from(JSON.stringify({ admin_pass: password }))]]);
  const give = (password: string): Promise<void> => operate(async (operation) => {
    const data: BootData = { configDrive: undefined, adminUser: 'root', adminPassword: password, publicKeys: [`ssh-ed25519 AAAA ${password}`], userData: undefined, files: [] };
    await bed.host.giveBootData(spec.id, data, operation);
    await bed.host.giveBootData(spec.id, { ...data, configDrive: drive(password), adminPassword: undefined, publicKeys: [] }, operation);
  });
  await operate((operation) => bed.host.create(spec, operation));
  await give('first');
  await start(bed, spec.id);
  const look = (root: string): Promise<string> => inside(bed, spec.id, 'sh', '-c', `grep ^root: ${root}/etc/passwd | cut -d: -f2; cat ${root}/root/.ssh/authorized_keys; ls -A ${root}/config-drive; cat /config-drive/openstack/latest/meta_data.json`);
  const before = await look('');
  t.regex(before, /^\$6\$\S+\nssh-ed25519 AAAA first\nopenstack\n\{"admin_pass":"first"\}$/);
  await operate((operation) => bed.host.stopContainer(spec.id, kill, operation));
  await operate(async (operation) => {
    await bed.host.moves.keep(spec.id, operation);
    await bed.host.create({ ...spec, rescue: true }, operation);
  });
  await give('second');
  await start(bed, spec.id);
  const during = await look('');
  t.regex(during, /^\$6\$\S+\nssh-ed25519 AAAA second\nopenstack\n\{"admin_pass":"second"\}$/);
  const [hash = '', ...rest] = (await look('/mnt/rescue')).split('\n');
  t.deepEqual([hash, rest], [before.split('\n')[0], ['ssh-ed25519 AAAA first', '{"admin_pass":"second"}']], 'its own are as they were; its drive is not in its tree');
  t.not(hash, during.split('\n')[0]);
  await bringBack(bed, spec.id);
  t.is(await look(''), before);
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

real('of a snapshot with memory it boots the disk, also where that memory would not fit', async (t) => {
  if (frozen !== undefined) {
    t.log(`SKIPPED: ${frozen}`);
    t.pass();
    return;
  }
  const { bed } = t.context;
  const source = await bootFrom(bed, bed.image);
  await inside(bed, source.id, 'sh', '-c', 'echo kept >/etc/of-the-snapshot; echo in memory >/run/gone');
  await inside(bed, source.id, 'sh', '-c', '(setsid sh -c "x=\\$(yes | head -c 20000000); echo >/run/held; while :; do sleep 1; done" </dev/null >/dev/null 2>&1 &)');
  await until('the memory is used', async () => (await inside(bed, source.id, 'ls', '/run')).includes('held'));
  const { image } = await memorySnapshot(bed, source.id);
  await operate((operation) => bed.host.destroy(source.id, operation));
  await operate((operation) => bed.host.ensureImage(image, operation));

  const spec = portSpec(bed, bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  const small = { ...spec, imageId: image.id, limits: { ...spec.limits, memoryMiB: 16 } };
  await t.throwsAsync(bed.host.check(small), { code: 'IMAGE_TOO_LARGE' }, 'to resume it there is too little');
  await bed.host.check({ ...small, rescue: true });
  await start(bed, spec.id);
  await inside(bed, spec.id, 'sh', '-c', 'echo own >/etc/marker');
  await operate((operation) => bed.host.stopContainer(spec.id, kill, operation));
  await operate(async (operation) => {
    await bed.host.moves.keep(spec.id, operation);
    await bed.host.create({ ...small, rescue: true }, operation);
  });
  t.is((await bed.host.view(spec.id)).state, 'stopped');
  await start(bed, spec.id);
  t.is(await inside(bed, spec.id, 'sh', '-c', 'cat /etc/of-the-snapshot /mnt/rescue/etc/marker; hostname; ls /run/gone 2>/dev/null || true'), `kept\nown\n${spec.hostname}`);
  await operate((operation) => bed.host.suspend(spec.id, operation, 'host'));
  await operate((operation) => bed.host.resume(spec.id, operation));
  t.is(await inside(bed, spec.id, 'cat', '/mnt/rescue/etc/marker'), 'own', 'it is frozen and thawed as any other');
  await bringBack(bed, spec.id);
  t.is(await inside(bed, spec.id, 'cat', '/etc/marker'), 'own');
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

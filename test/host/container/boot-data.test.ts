/** Boot data in real containers: key, password, script and config drive in a busybox system; a Debian with the real cloud-init. */
import anyTest, { type TestFn } from 'ava';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { BootData } from '../../../src/container/boot-data/boot-data.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { driveFiles } from '../../../src/compute/boot-data/config-drive.js';
import { NovaObject } from '../../../src/nova/object.js';
import { guestImage, guestImageProblem, guestSystems, shell } from './guest-systems.js';
import { criuProblem } from './checkpoint-kit.js';
import { hostProblem, makeSpec, operate, until, type Bed } from './harness.js';
import { memoryBed, memorySnapshot, portSpec, type MemoryBed } from './memory-kit.js';

const problem = hostProblem() ?? (await criuProblem());
const test = anyTest as TestFn<{ bed: MemoryBed }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/boot-data: ${problem}\n`);
const cloudInitProblem = problem ?? guestImageProblem('cloudinit');
const withCloudInit = cloudInitProblem === undefined ? test.serial : test.skip;
if (problem === undefined && cloudInitProblem !== undefined) process.stderr.write(`SKIPPED the tests of cloud-init in test/host/container/boot-data: ${cloudInitProblem}\n`);

test.before(async (t) => {
  if (problem === undefined) t.context.bed = await memoryBed('brqhtbd');
});
test.after.always(async (t) => {
  await t.context.bed?.end();
});

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake test';
const password = 'pässword: \'"$HOME';

function bootData(change: Partial<BootData> = {}): BootData {
  return { configDrive: undefined, adminUser: 'root', adminPassword: undefined, publicKeys: [], userData: undefined, files: [], ...change };
}

async function boot(bed: Bed, spec: ContainerSpec, data: BootData): Promise<void> {
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.giveBootData(spec.id, data, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
}

/** Whether `hash` is one of `password`, by crypt(3). */
async function matches(hash: string, word: string): Promise<boolean> {
  const { stdout } = await run('perl', ['-e', 'local $/; my ($hash, $password) = split /\\n/, <STDIN>, 2; print crypt($password, $hash)'], { input: `${hash}\n${word}` });
  return hash.startsWith('$6$') && stdout === hash;
}

const drive = new Map(Object.entries({ 'openstack/latest/meta_data.json': '{"uuid":"u"}', 'openstack/content/0000': 'injected' }).map(([path, text]) => [path, Buffer.from(text)]));

real('a system without cloud-init: key, password, file, config drive; its script runs once', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(bed.image);
  const script = '#!/bin/sh\necho "script as $(id -u) in $(pwd)"\necho run >> /root/runs\nexit 7\n';
  await boot(bed, spec, bootData({ configDrive: drive, adminPassword: password, publicKeys: [key], userData: Buffer.from(script), files: [{ path: '/etc/app/own.conf', content: Buffer.from('own') }] }));
  const look = (command: string): Promise<string> => shell(bed, spec.id, command);
  t.is(await look('cat /root/.ssh/authorized_keys; stat -c "%a %u:%g" /root/.ssh /root/.ssh/authorized_keys'), `${key}\n700 0:0\n600 0:0`);
  t.is(await look('cat /etc/app/own.conf; stat -c " %a %u" /etc/app/own.conf'), 'own 600 0');
  const [, hash = ''] = (await look('grep ^root: /etc/passwd')).split(':');
  t.true(await matches(hash, password));
  t.is(await look('cat /config-drive/openstack/latest/meta_data.json /config-drive/openstack/content/0000; stat -c "%a %u" /config-drive'), '{"uuid":"u"}injected700 0');
  t.regex(await look('touch /config-drive/x'), /Read-only/);
  await until('the script has run', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('user data script ended with status 7'));
  t.true((await bed.host.consoleLog(spec.id, undefined)).includes('script as 0 in /'));

  await operate(() => bed.host.setPassword(spec.id, 'root', 'another'));
  t.true(await matches((await look('grep ^root: /etc/passwd')).split(':')[1] ?? '', 'another'));
  await t.throwsAsync(operate(() => bed.host.setPassword(spec.id, 'nobody-here', 'x')), { code: 'PASSWORD_FAILED', message: /there is no account nobody-here/ });

  await operate((operation) => bed.host.suspend(spec.id, operation));
  await operate((operation) => bed.host.resume(spec.id, operation));
  t.is(await look('cat /config-drive/openstack/content/0000'), 'injected', 'after a resume');
  const snapshot = await operate((operation) => bed.host.snapshot(spec.id, operation));
  const names = await new Promise<string>((resolve, reject) => {
    void import('node:child_process').then(({ spawn }) => {
      const tar = spawn('tar', ['--zstd', '-t'], { stdio: ['pipe', 'pipe', 'inherit'] });
      let text = '';
      tar.stdout.on('data', (chunk: Buffer) => { text += chunk.toString(); });
      tar.on('close', () => { resolve(text); });
      snapshot.stream.on('error', reject).pipe(tar.stdin);
    });
  });
  await snapshot.end();
  t.deepEqual(names.split('\n').filter((name) => name.includes('config-drive')), ['./config-drive/'], 'nothing of the drive is in an image');

  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 20_000, retryMs: 5000 }, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  t.is(await look('cat /config-drive/openstack/content/0000'), 'injected', 'after a reboot');
  t.is(await look('cat /root/runs; ls /var/lib/haulier'), 'run\nuser-data');
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

real('a tree that leads elsewhere is not followed, and does not keep the server from booting', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  const { rootfs, id } = { rootfs: join(bed.options.instancesPath, spec.id, 'rootfs'), id: spec.id };
  await operate((operation) => bed.host.mount(id, operation));
  const target = join(bed.options.instancesPath, 'target');
  await run('sh', ['-c', 'mkdir "$1"; cd "$0"; rm -rf root var; ln -s "$1" root; mkdir var; ln -s "$1" var/lib; ln -s "$1/passwd" etc/shadow', rootfs, target]);
  await operate((operation) => bed.host.giveBootData(id, bootData({ adminPassword: password, publicKeys: [key], userData: Buffer.from('#!/bin/sh\n'), files: [{ path: '/root/x', content: Buffer.from('x') }] }), operation));
  await operate((operation) => bed.host.startContainer(id, operation));
  t.is((await run('ls', [target])).stdout, '');
  t.is((await bed.host.view(id)).state, 'running');
  await operate((operation) => bed.host.destroy(id, operation));
});

real('a script can be frozen in the middle, and goes on', async (t) => {
  const { bed } = t.context;
  const spec = makeSpec(bed.image);
  await boot(bed, spec, bootData({ userData: Buffer.from('#!/bin/sh\necho begun\nwhile [ ! -e /root/go ]; do sleep 1; done\n') }));
  const said = (text: string) => until(text, async () => (await bed.host.consoleLog(spec.id, undefined)).includes(text));
  await said('begun');
  await operate((operation) => bed.host.suspend(spec.id, operation));
  await operate((operation) => bed.host.resume(spec.id, operation));
  await shell(bed, spec.id, 'touch /root/go');
  await said('user data script ended with status 0');
  t.is((await bed.host.view(spec.id)).state, 'running');
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

for (const system of guestSystems.filter(({ name }) => name !== 'debian12')) {
  const missing = problem ?? guestImageProblem(system.name);
  (missing === undefined ? test.serial : test.skip)(`a script runs when ${system.name} has booted`, async (t) => {
    const { bed } = t.context;
    const image = await guestImage(system.name);
    await operate((operation) => bed.host.ensureImage(image, operation));
    const spec = makeSpec(image, { limits: { ...makeSpec(image).limits, memoryMiB: 512, vcpus: 2, pids: 1000, rootGiB: 2 } });
    const script = `#!/bin/sh\n{ ${system.booted}; } >/dev/null 2>&1 && echo "it has booted"\n`;
    await boot(bed, spec, bootData({ userData: Buffer.from(script), adminPassword: password, publicKeys: [key] }));
    await until('the script has ended', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('user data script ended with status 0'), 120_000)
      .catch(async (error: unknown) => { throw new Error(`${String(error)}: ${await shell(bed, spec.id, 'ps ax')}\n${await bed.host.consoleLog(spec.id, 40)}`); });
    t.regex(await bed.host.consoleLog(spec.id, undefined), /it has booted/);
    t.is(await shell(bed, spec.id, 'cat /root/.ssh/authorized_keys; stat -c "%a %U:%G" /etc/shadow'), `${key}\n640 root:shadow`);
    t.true(await matches((await shell(bed, spec.id, 'grep ^root: /etc/shadow')).split(':')[1] ?? '', password));
    await operate((operation) => bed.host.destroy(spec.id, operation));
  });
}

real('servers that resume from a memory: each sees its own drive if the frozen one had one, and none if not', async (t) => {
  const { bed } = t.context;
  const other = new Map([['openstack/latest/meta_data.json', Buffer.from('{"uuid":"clone"}')]]);
  const clone = async (image: ImageSource, data: BootData | undefined): Promise<string> => {
    const spec = portSpec(bed, image);
    await operate((operation) => bed.host.ensureImage(image, operation));
    await operate((operation) => bed.host.create(spec, operation));
    if (data) await operate((operation) => bed.host.giveBootData(spec.id, data, operation));
    await operate((operation) => bed.host.startContainer(spec.id, operation));
    const seen = await shell(bed, spec.id, 'ls -A /config-drive; cat /config-drive/openstack/latest/meta_data.json');
    // and once more from a checkpoint of its own
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await operate((operation) => bed.host.resume(spec.id, operation));
    t.is(await shell(bed, spec.id, 'ls -A /config-drive; cat /config-drive/openstack/latest/meta_data.json'), seen);
    await operate((operation) => bed.host.destroy(spec.id, operation));
    return seen;
  };
  const source = portSpec(bed, bed.image);
  await boot(bed, source, bootData({ configDrive: drive }));
  const withDrive = (await memorySnapshot(bed, source.id)).image;
  t.is(await clone(withDrive, bootData({ configDrive: other, adminPassword: 'not for it' })), 'openstack\n{"uuid":"clone"}');
  t.regex(await clone(withDrive, undefined), /^cat: can't open/, 'an empty one');
  await operate((operation) => bed.host.destroy(source.id, operation));
  const bare = portSpec(bed, bed.image);
  await boot(bed, bare, bootData());
  const without = (await memorySnapshot(bed, bare.id)).image;
  t.regex(await clone(without, bootData({ configDrive: other })), /ls: \/config-drive: No such file/);
  await operate((operation) => bed.host.destroy(bare.id, operation));
});

/** A whole drive, as for a server of Nova's. */
function wholeDrive(id: string, hostname: string): BootData['configDrive'] {
  const instance = new NovaObject('Instance', '2.8');
  const pair = new NovaObject('KeyPair', '1.4');
  const pairs = new NovaObject('KeyPairList', '1.3');
  for (const [field, value] of Object.entries({ name: 'k', type: 'ssh', public_key: key })) pair.load(field, value);
  pairs.load('objects', [pair]);
  for (const [field, value] of Object.entries({ uuid: id, hostname, display_name: hostname, project_id: 'p', key_name: 'k', key_data: key, keypairs: pairs, metadata: { role: 'web' }, launch_index: 0, root_device_name: '/dev/vda' })) instance.load(field, value);
  return driveFiles({
    instance, vifs: [], securityGroups: ['default'], userData: Buffer.from('#!/bin/sh\necho "cloud script $(hostname)" >> /root/runs\n'), files: [{ path: '/etc/app.conf', content: Buffer.from('app') }],
    adminPassword: password, vendor: { first: {}, second: { static: {} } }, domain: 'example.org', skippedVersions: [], release: '2025.1',
  });
}

withCloudInit('Debian with its own cloud-init: host name, key, script and password, once', async (t) => {
  const { bed } = t.context;
  const image = await guestImage('cloudinit');
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image, { hostname: 'first', limits: { ...makeSpec(image).limits, memoryMiB: 512, vcpus: 2, pids: 1000, rootGiB: 2 } });
  const look = (command: string): Promise<string> => shell(bed, spec.id, command);
  const done = (): Promise<unknown> => until('cloud-init has ended', async () => /^status: (done|error|degraded)/m.test(await look('cloud-init status')), 120_000);
  await boot(bed, spec, bootData({ configDrive: wholeDrive(spec.id, 'from-drive'), adminPassword: password, publicKeys: [key], userData: Buffer.from('#!/bin/sh\ntouch /root/not-ours\n') }));
  await done();
  const status = await look('cloud-init status --long; cat /var/log/cloud-init-output.log');
  t.regex(status, /^status: done/m, status);
  t.regex(status, /DataSourceConfigDrive.*\[net,ver=2\]\[source=\/config-drive\]|detail:\s*DataSourceConfigDrive/s, status);
  t.is(await look('hostname; cat /etc/hostname'), 'from-drive\nfrom-drive');
  t.is(await look('cat /root/runs; ls /root/not-ours /var/lib/haulier 2>&1 | grep -vc No'), 'cloud script from-drive\n0');
  t.true((await look('cat /home/debian/.ssh/authorized_keys')).includes(key));
  t.is(await look('stat -c "%a %U" /home/debian/.ssh/authorized_keys'), '600 debian');
  t.true(await matches((await look('grep ^root: /etc/shadow')).split(':')[1] ?? '', password));
  await operate(() => bed.host.setPassword(spec.id, 'root', 'another'));
  t.true(await matches((await look('grep ^root: /etc/shadow')).split(':')[1] ?? '', 'another'));
  t.is(await look('systemctl --failed --no-legend'), '');

  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 30_000, retryMs: 10_000 }, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await done();
  t.regex(await look('cloud-init status'), /status: done/);
  t.is(await look('cat /root/runs; hostname'), 'cloud script from-drive\nfrom-drive', 'once, and its name stays');
  t.is((await readFile(join(bed.options.instancesPath, spec.id, 'spec.json'), 'utf8')).includes(password), false);
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

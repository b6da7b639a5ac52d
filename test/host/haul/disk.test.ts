/** A stopped or suspended container moves from one host's folders to another's, through the real transport. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { BootData } from '../../../src/container/boot-data/boot-data.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerHostOptions } from '../../../src/container/container-host.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { openHaul } from '../../../src/haul/client.js';
import { discardArrivals, receiveDisk, type ReceiveOptions } from '../../../src/haul/disk/receive.js';
import { sendDisk } from '../../../src/haul/disk/send.js';
import { HaulServer } from '../../../src/haul/server.js';
import type { HaulSettings } from '../../../src/haul/settings.js';
import { Authority } from '../../lib/certificates.js';
import { criuProblem } from '../container/checkpoint-kit.js';
import { hostOptions, hostProblem, imageOf, inside, log, makeBed, makeSpec, operate, until, type Bed } from '../container/harness.js';

const problem = hostProblem();
const frozenProblem = problem ?? (await criuProblem());
const test = anyTest as TestFn<{ bed: Bed; there: LocalContainerHost; options: ContainerHostOptions; server: HaulServer; settings: HaulSettings }>;
const real = problem === undefined ? test.serial : test.skip;
const frozen = frozenProblem === undefined ? test.serial : test.skip;
if (frozenProblem !== undefined) process.stderr.write(`SKIPPED test/host/haul/disk: ${frozenProblem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await makeBed();
  const [folder, runPath] = [await mkdtemp('/var/lib/nova/ct-b-'), await mkdtemp('/run/ct-b-')];
  await chmod(folder, 0o755);
  await chmod(runPath, 0o711);
  // another range of ids, and (as on another host) another file system below
  const options = { ...(await hostOptions(folder, runPath)), subidBase: 500_000_000 };
  const there = new LocalContainerHost(options, log);
  await there.start();
  const authority = new Authority();
  const settings = { host: 'here', ...authority.host('here'), address: '127.0.0.1', port: 0, bandwidthMiB: 0, policy: { mode: 'auto' as const, permitPostCopy: false }};
  const server = new HaulServer({ ...settings, ...authority.host('there'), host: 'there' }, log);
  await server.listen();
  t.context = { bed, there, options, server, settings };
});

test.after.always(async (t) => {
  const { bed, there, options, server } = t.context;
  await server?.close();
  for (const view of (await there?.list()) ?? []) await operate((operation) => there.destroy(view.id, operation));
  await there?.stop();
  await bed?.end();
  if (options) for (const folder of [options.instancesPath, options.runPath]) await rm(folder, { recursive: true, force: true });
});

type T = ExecutionContext<{ bed: Bed; there: LocalContainerHost; options: ContainerHostOptions; server: HaulServer; settings: HaulSettings }>;

/** Moves it, both sides at once; the first error of the source counts. */
async function move(t: T, id: string, options: Partial<ReceiveOptions> = {}, from: LocalContainerHost = t.context.bed.host, to: LocalContainerHost = t.context.there): Promise<void> {
  const { server, settings } = t.context;
  let received: Promise<unknown> | undefined;
  const { token } = server.expectHaul({
    instance: id, peer: 'here', ttlMs: 10_000,
    onHaul: async (channel) => { await (received = operate((operation) => receiveDisk(to.parts, channel, { instance: id, ...options }, operation))); },
  });
  const channel = await openHaul(settings, { host: 'there', address: '127.0.0.1', port: server.port }, { token, instance: id });
  try {
    const stats = await operate((operation) => sendDisk(from.parts, channel, id, operation));
    await channel.close();
    t.log(JSON.stringify(stats));
  } finally {
    await received?.catch(() => undefined);
  }
}

const fill = `set -e
cd /root
echo changed >> /etc/passwd; rm /bin/vi; mv /etc/init.d/rcS /etc/init.d/moved; rm -r /var; mkdir /var; echo new > /var/only
mkdir -p deep/er; echo x > "deep/er/a name with
a newline"; echo dash > ./-dash; ln -s /etc/shadow link; ln -s nowhere dangling; echo one > one; ln one two; mkfifo pipe
dd if=/dev/zero of=sparse bs=1 count=1 seek=100M 2>/dev/null; chmod 4711 one; chown 1000:1000 deep; chmod 1777 deep
touch -d 2001-02-03 old; i=0; while [ $i -lt 300 ]; do echo $i > many$i; i=$((i+1)); done; sync`;

/** All that stat and the content say, as the guest sees it. */
async function tree(rootfs: string, idBase: number): Promise<string> {
  const list = await run('sh', ['-c', 'cd "$0" && find . -xdev -path ./dev -prune -o -printf "%P|%y|%m|%U|%G|%T@|%l|%b\n" | awk -F"|" -v b="$1" \'{ if (NF < 8) next; if ($2 == "d") { $6 = ""; $8 = "" } else if ($2 != "f") $8 = ""; else $8 = ($8 < 400); $4 -= b; $5 -= b; print }\' | sort; find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum', rootfs, String(idBase)]);
  return list.stdout;
}

async function mountedTree(host: LocalContainerHost, id: string): Promise<string> {
  const idBase = (await host.parts.store.readState(id))?.idBase ?? 0;
  const rootfs = await host.parts.storage.mount(id, idBase);
  const text = await tree(rootfs, idBase);
  await host.parts.storage.unmount(id);
  return text;
}

/** Lines of one text that the other lacks. */
function differing(one: string, other: string): string[] {
  const lines = (text: string): Set<string> => new Set(text.split('\n'));
  return [...[...lines(one)].filter((line) => !lines(other).has(line)).map((line) => `- ${line}`), ...[...lines(other)].filter((line) => !lines(one).has(line)).map((line) => `+ ${line}`)].slice(0, 20);
}

async function stopped(t: T): Promise<ContainerSpec> {
  const { bed } = t.context;
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.giveBootData(spec.id, drive, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await inside(bed, spec.id, 'sh', '-c', fill);
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 100 }, operation));
  return spec;
}

/** What every container here has on its config drive. */
const drive: BootData = { configDrive: new Map([['openstack/latest/meta_data.json', Buffer.from('{"uuid":"u"}')]]), adminUser: 'root', adminPassword: undefined, publicKeys: [], userData: undefined, files: [] };
const seeDrive = 'cat /config-drive/openstack/latest/meta_data.json; stat -c " %a %u" /config-drive';
const driveSeen = '{"uuid":"u"} 700 0';

const left = async (options: ContainerHostOptions): Promise<string[]> => (await readdir(options.instancesPath)).filter((name) => name.startsWith('_in-'));

real('a stopped container arrives name for name, with an image that its new host never had, and starts there', async (t) => {
  const { bed, there, options } = t.context;
  const spec = await stopped(t);
  t.deepEqual(await there.images(), []);
  const before = await mountedTree(bed.host, spec.id);
  t.regex(before, /a newline/);
  await move(t, spec.id);
  t.deepEqual(await there.images(), [bed.image.id]);
  t.deepEqual(differing(before, await mountedTree(there, spec.id)), []);
  t.is((await there.view(spec.id)).state, 'stopped');
  t.not((await there.parts.store.readState(spec.id))?.idBase, (await bed.host.parts.store.readState(spec.id))?.idBase);
  t.is(await there.consoleLog(spec.id, undefined), await bed.host.consoleLog(spec.id, undefined));
  t.deepEqual(await left(options), []);
  await operate((operation) => there.startContainer(spec.id, operation));
  t.is(await inside({ ...bed, host: there, options }, spec.id, 'sh', '-c', 'cat /var/only /root/two; stat -c %h /root/two; ls /bin/vi 2>&1; stat -c %u:%a /root/deep'), 'new\none\n2\nls: /bin/vi: No such file or directory\n1000:1777');
  t.is(await inside({ ...bed, host: there, options }, spec.id, 'sh', '-c', seeDrive), driveSeen);
  await operate((operation) => there.destroy(spec.id, operation));

  // and once more, now that the image is there; into another flavor
  await move(t, spec.id, { respec: (old) => ({ ...old, limits: { ...old.limits, rootGiB: 2, memoryMiB: 128 } }) });
  t.deepEqual(differing(before, await mountedTree(there, spec.id)), []);
  t.is((await there.spec(spec.id))?.limits.memoryMiB, 128);
  await operate((operation) => there.destroy(spec.id, operation));
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

/** A template of what `script` makes in an empty folder. */
async function template(t: T, script: string): Promise<ImageSource> {
  const folder = await mkdtemp(join(tmpdir(), 'haul-template-'));
  await mkdir(join(folder, 'tree'));
  await run('sh', ['-c', `cd "$0" && ${script}`, join(folder, 'tree')]);
  const image = { ...(await imageOf(join(folder, 'tree'), join(folder, 'layer.tar'))), id: randomUUID(), layer: true };
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await operate((operation) => t.context.bed.host.ensureImage(image, operation));
  return image;
}

/** A cached layer with overlayfs's marks. */
const marked = async (host: LocalContainerHost, id: string): Promise<string> => {
  const [, ...templates] = await host.parts.storage.layers(id);
  return (await Promise.all(templates.map(async ({ tree: folder }) => (await run('sh', ['-c', 'cd "$0" && find . -printf "%p %y %m %U %G %s %l\n" | sort && tar -c --format=posix --xattrs --xattrs-include=trusted.overlay.opaque --sort=name . | tr "\\0" "\\n" | grep -aE "opaque=|^\\./"', folder])).stdout))).join('\n');
};

real('its templates come along, with all that they add and hide, once', async (t) => {
  const { bed, there, options } = t.context;
  const long = `${'long-'.repeat(30)}name`;
  const first = await template(t, `mkdir -p opt/app usr "opt/${long}/deep"; echo one > opt/app/one; chmod 4755 opt/app/one; chown 1000:7 opt/app; touch usr/.wh.sbin; touch "opt/${long}/deep/.wh..wh..opq"; ln -s app opt/link; mkdir var; touch var/.wh..wh..opq; echo mine > var/mine`);
  const second = await template(t, 'mkdir -p opt/app; touch opt/app/.wh.one; echo two > opt/app/two; touch -d 2001-02-03 opt/app/two');
  const spec = makeSpec(bed.image, { templates: [first.id, second.id] });
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  t.is(await inside(bed, spec.id, 'sh', '-c', 'rm /opt/app/two; echo own > /opt/app/own; ls /opt/app; ls -A /var; ls /usr/sbin 2>&1 || true'), 'own\nmine\nls: /usr/sbin: No such file or directory');
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 100 }, operation));
  const before = await mountedTree(bed.host, spec.id);
  const layers = await marked(bed.host, spec.id);
  t.regex(layers, /\.\/usr\/sbin c 0 /);
  t.regex(layers, /opaque=y\n\.\/opt\/long-/);
  t.regex(layers, /opaque=y\n\.\/var\/\n/);
  await move(t, spec.id);
  t.deepEqual(differing(before, await mountedTree(there, spec.id)), []);
  t.deepEqual(differing(layers, await marked(there, spec.id)), []);
  t.deepEqual((await there.spec(spec.id))?.templates, [first.id, second.id]);
  const { tree: folder } = (await there.parts.storage.layers(spec.id))[1]!;
  const unpacked = { tree: folder, ino: (await stat(folder)).ino };
  await operate((operation) => there.startContainer(spec.id, operation));
  t.is(await inside({ ...bed, host: there, options }, spec.id, 'sh', '-c', 'ls /opt/app; ls -A /var; ls /usr/sbin 2>&1 || true'), 'own\nmine\nls: /usr/sbin: No such file or directory');
  await operate((operation) => there.destroy(spec.id, operation));
  await move(t, spec.id);
  t.deepEqual((await stat(unpacked.tree)).ino, unpacked.ino, 'not unpacked again');
  for (const host of [bed.host, there]) await operate((operation) => host.destroy(spec.id, operation));
});

frozen('a suspended container arrives with its memory and goes on there', async (t) => {
  const { bed, there, options } = t.context;
  const spec = makeSpec(bed.image);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.giveBootData(spec.id, drive, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  const count = async (host: LocalContainerHost): Promise<number> => Number(await readFile(`/proc/${(await host.view(spec.id)).pid}/root/run/count`, 'utf8').catch(() => '0'));
  const before = await until('it counts', () => count(bed.host));
  await operate((operation) => bed.host.suspend(spec.id, operation));
  await move(t, spec.id);
  t.is((await there.view(spec.id)).state, 'suspended');
  await operate((operation) => there.resume(spec.id, operation));
  await until('it counts on', async () => (await count(there)) > before);
  t.is(await inside({ ...bed, host: there, options }, spec.id, 'id', '-u'), '0');
  t.is(await inside({ ...bed, host: there, options }, spec.id, 'sh', '-c', seeDrive), driveSeen);
  await operate((operation) => there.destroy(spec.id, operation));
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

real('what goes wrong leaves nothing at the destination and the source as it was', async (t) => {
  const { bed, there, options } = t.context;
  const spec = await stopped(t);
  const before = await mountedTree(bed.host, spec.id);
  const untouched = async (): Promise<void> => {
    t.is((await there.view(spec.id)).state, 'missing');
    t.deepEqual(await left(options), []);
    t.false((await readFile('/proc/self/mountinfo', 'utf8')).includes(spec.id));
    t.is((await bed.host.view(spec.id)).state, 'stopped');
  };
  await t.throwsAsync(move(t, spec.id, { respec: () => { throw new Error('this host has no room'); } }), { code: 'HAUL_ABORTED', message: /this host has no room/ });
  await untouched();
  await t.throwsAsync(move(t, '99999999-2222-3333-4444-555555555555'), { code: 'INSTANCE_NOT_FOUND' });
  // running: not this way
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await t.throwsAsync(move(t, spec.id), { code: 'INSTANCE_STATE' });
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 0, retryMs: 100 }, operation));
  // more than the new disk holds
  const large = makeSpec(bed.image, { limits: { ...spec.limits, rootGiB: 2 } });
  await operate((operation) => bed.host.create(large, operation));
  await run('dd', ['if=/dev/zero', `of=${join(await bed.host.parts.storage.mount(large.id, (await bed.host.parts.store.readState(large.id))!.idBase), 'tmp/large')}`, 'bs=1M', 'count=1100']);
  await bed.host.parts.storage.unmount(large.id);
  await t.throwsAsync(move(t, large.id, { respec: (old) => ({ ...old, limits: { ...old.limits, rootGiB: 1 } }) }), { code: 'HAUL_ABORTED', message: /No space left/ });
  t.is((await there.view(large.id)).state, 'missing');
  await operate((operation) => bed.host.destroy(large.id, operation));
  await untouched();
  // here already
  await mkdir(join(options.instancesPath, spec.id));
  await t.throwsAsync(move(t, spec.id), { code: 'HAUL_ABORTED', message: /here already/ });
  await rm(join(options.instancesPath, spec.id), { recursive: true });
  await untouched();
  t.not(before, '');
  // what a service that died left
  await mkdir(join(options.instancesPath, '_in-0123', 'haul'), { recursive: true });
  await writeFile(join(options.instancesPath, '_in-0123', 'disk'), '');
  await discardArrivals(there.parts);
  t.false(existsSync(join(options.instancesPath, '_in-0123')));
  await operate((operation) => bed.host.destroy(spec.id, operation));
});

/** Templates on real containers: what an installer did is captured, and another container with that layer has the same tree, at no space. */
import { randomUUID } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { rootFsPaths } from '../../../src/container/storage/root-fs.js';
import type { Captured } from '../../../src/container/template/capture.js';
import { criuProblem } from './checkpoint-kit.js';
import { hostProblem, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const noCriu = await criuProblem();
const test = anyTest as TestFn<{ bed: Bed; folder: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/template: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  t.context.folder = await mkdtemp('/var/lib/nova/templates-');
});
test.afterEach.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.host.start();
  for (const view of await t.context.bed.host.list()) await operate((operation) => t.context.bed.host.destroy(view.id, operation));
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  if (t.context.folder) await rm(t.context.folder, { recursive: true, force: true });
});

async function boot(bed: Bed, change: Partial<ContainerSpec> = {}): Promise<ContainerSpec> {
  const spec = makeSpec(bed.image, change);
  await operate((operation) => bed.host.create(spec, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => (await bed.host.consoleLog(spec.id, undefined)).includes('guest is up'));
  return spec;
}

const shell = (bed: Bed, id: string, script: string): Promise<string> => inside(bed, id, 'sh', '-c', script);
const mark = (host: LocalContainerHost, id: string): Promise<number> => operate((operation) => host.markTemplate(id, operation));
const capture = (host: LocalContainerHost, id: string, file: string, keep: string[] = []): Promise<Captured> => operate((operation) => host.captureTemplate(id, file, keep, operation));

function layerOf(captured: Captured): ImageSource {
  return { id: randomUUID(), size: captured.bytes, checksum: { algorithm: 'sha256', value: captured.sha256 }, diskFormat: 'raw', containerFormat: 'bare', layer: true, open: async () => createReadStream(captured.file) };
}

/** Every path of the guest's own tree: type, mode, owner, links, size, time (not of folders that each boot writes into), target, content. */
const tree = `find / -xdev -path /tmp -prune -o -path /var/log -prune -o -path /var/cache/apt -prune -o -path /etc/machine-id -prune -o -path /etc/ssh -prune -o -path /etc/hostname -prune -o -path /etc/hosts -prune -o -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -path /dev -prune -o -print | sort | while read -r path; do
  case "$path" in /|/etc|/dev|/var|/root) stat -c '%F %a %u %g %n' "$path" ;; *) if [ -d "$path" ] && [ ! -L "$path" ]; then stat -c '%F %a %u %g %Y %n' "$path"; else stat -c '%F %a %u %g %h %s %Y %N' "$path"; fi ;; esac
  if [ -f "$path" ] && [ ! -L "$path" ]; then md5sum < "$path"; fi
done`;

const prepare = `mkdir -p /srv/old/deep /srv/swap /srv/turn /srv/keep /var/log /etc/ssh /var/cache/apt
echo one > /srv/old/deep/one; echo two > /srv/swap/two; echo four > /srv/turn/four; echo k > /srv/keep/k; echo l > /srv/keep/l; echo x > /srv/linkme; ln -s k /srv/keep/points; echo plain > /srv/plain`;

/** An "installer": adds, changes, removes, makes folders anew, links, sets modes and owners. */
const install = `mkdir -p "/opt/app/a b" /opt/app/bin; echo program > /opt/app/bin/tool; chmod 4755 /opt/app/bin/tool; echo data > "/opt/app/a b/da ta"; chown -R 33:44 "/opt/app/a b"; chmod 2770 "/opt/app/a b"
ln /opt/app/bin/tool /opt/app/bin/other; ln -s ../bin/tool /opt/app/link; ln /srv/linkme /opt/app/hard; mkfifo /opt/app/pipe
echo changed > /etc/passwd.new; cat /etc/passwd >> /etc/passwd.new; mv /etc/passwd.new /etc/passwd
rm -r /srv/old; rm /srv/keep/k; chmod 700 /srv/keep; rm -r /srv/swap; mkdir /srv/swap; echo three > /srv/swap/three; rm -r /srv/turn; echo file > /srv/turn; rm /srv/plain; mkdir /srv/plain; echo in > /srv/plain/in; ln -sf l /srv/keep/points
rm /bin/yes; dd if=/dev/zero of=/opt/app/sparse bs=1 count=1 seek=5000000 2>/dev/null
mkdir -p /var/log/app; chown 33 /var/log/app; echo secret > /var/log/app/log; echo secret > /etc/ssh/ssh_host_rsa_key; echo secret > /etc/machine-id; echo t > /tmp/t; echo d > /var/cache/apt/d; sync`;

real('what an installer did is captured and attached: the same tree, for any number of containers, at no space', async (t) => {
  const { bed, folder } = t.context;
  const below = layerOf(await prepared(bed, folder));
  await operate((operation) => bed.host.ensureImage(below, operation));
  const first = await boot(bed, { templates: [below.id] });
  const base = join(folder, 'base.tar.zst');
  await t.throwsAsync(capture(bed.host, first.id, base), { code: 'TEMPLATE_CAPTURE', message: /has no mark/ });
  await mark(bed.host, first.id);
  await t.throwsAsync(capture(bed.host, first.id, base), { code: 'TEMPLATE_CAPTURE', message: /nothing has changed/ });
  t.deepEqual(readdirSync(folder), ['prepared.tar.zst']);
  const paths = await mark(bed.host, first.id);
  await shell(bed, first.id, install);
  const pid = (await bed.host.view(first.id)).pid;
  const inGuest = ['-t', String(pid), '-U', '-S', '0', '-G', '0'];
  await run('nsenter', [...inGuest, 'setcap', 'cap_net_raw+ep', `/proc/${pid}/root/opt/app/bin/tool`]);
  const began = performance.now();
  const captured = await capture(bed.host, first.id, join(folder, 'app.tar.zst'));
  t.log(`${paths} paths marked; captured in ${Math.round(performance.now() - began)} ms: ${captured.changed} changed, ${captured.removed} removed, ${captured.bytes} bytes`);
  t.is(captured.base, bed.image.id);
  t.deepEqual(captured.below, [below.id]);
  t.is(statSync(captured.file).mode & 0o777, 0o600);
  const names = (await run('tar', ['--zstd', '-tf', captured.file])).stdout.split('\n');
  for (const out of ['machine-id', 'ssh_host', './tmp/t', 'apt/d', 'app/log']) t.false(names.some((name) => name.includes(out)), out);
  t.true(names.includes('./var/log/app/'));
  t.deepEqual(names.filter((name) => name.includes('.wh.')).sort(), ['./bin/.wh.yes', './srv/.wh.old', './srv/keep/.wh.k', './srv/swap/.wh..wh..opq']);
  t.true((await run('tar', ['--zstd', '-tf', (await capture(bed.host, first.id, join(folder, 'all.tar.zst'), ['etc/ssh', 'tmp/t'])).file])).stdout.includes('ssh_host_rsa_key'));

  const layer = layerOf(captured);
  await operate((operation) => bed.host.ensureImage(layer, operation));
  const plain = await boot(bed, { templates: [below.id] });
  const untouched = await shell(bed, plain.id, tree);
  const many = [];
  for (let index = 0; index < 4; index++) many.push(await boot(bed, { templates: [below.id, layer.id] }));
  const wanted = await shell(bed, first.id, tree);
  for (const { id } of many) t.is(await shell(bed, id, tree), wanted);
  t.is(await shell(bed, plain.id, tree), untouched, 'others see nothing of it');
  t.regex(await shell(bed, plain.id, 'cat /srv/old/deep/one /srv/swap/two'), /one\ntwo/);
  const other = (await bed.host.view(many[0]?.id ?? '')).pid;
  t.regex((await run('nsenter', ['-t', String(other), '-U', '-S', '0', '-G', '0', 'getcap', `/proc/${other}/root/opt/app/bin/other`])).stdout, /cap_net_raw=ep/);
  t.is(await shell(bed, many[0]?.id ?? '', 'echo more >> /opt/app/bin/tool; cat /opt/app/bin/other'), 'program\nmore', 'hard links stay links');
  const upper = async (id: string): Promise<number> => Number((await run('du', ['-s', '-B1', rootFsPaths(join(bed.options.instancesPath, id)).upper])).stdout.split('\t')[0]);
  const sizes = await Promise.all([plain, ...many.slice(1)].map(({ id }) => upper(id)));
  t.deepEqual(sizes.slice(1), sizes.slice(1).map(() => sizes[0]), 'no space for the layers');
});

/** What `prepare` does, as a template of its own. */
async function prepared(bed: Bed, folder: string): Promise<Captured> {
  const spec = await boot(bed);
  await mark(bed.host, spec.id);
  const times = 'find /srv /var /etc/ssh -exec touch -d "2020-01-01 00:00:00" {} +';
  await shell(bed, spec.id, `${prepare}; ${times}`);
  return await capture(bed.host, spec.id, join(folder, 'prepared.tar.zst'));
}

real('it lives through stop and start, another service, suspend and resume, and is in a snapshot', async (t) => {
  const { bed, folder } = t.context;
  const layer = layerOf(await prepared(bed, folder));
  await operate((operation) => bed.host.ensureImage(layer, operation));
  const spec = await boot(bed, { templates: [layer.id] });
  const there = async (): Promise<void> => void t.is(await shell(bed, spec.id, 'cat /srv/old/deep/one'), 'one');
  await there();
  await operate((operation) => bed.host.stopContainer(spec.id, { timeoutMs: 5000, retryMs: 1000 }, operation));
  t.false((await run('cat', ['/proc/self/mountinfo'])).stdout.includes(spec.id));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await there();
  await bed.host.stop();
  await bed.host.start();
  await there();
  t.deepEqual((await bed.host.spec(spec.id))?.templates, [layer.id]);
  if (noCriu === undefined) {
    await operate((operation) => bed.host.suspend(spec.id, operation));
    await operate((operation) => bed.host.resume(spec.id, operation));
    await there();
  } else t.log(`SKIPPED suspend and resume: ${noCriu}`);
  const snapshot = await operate((operation) => bed.host.snapshot(spec.id, operation));
  const file = join(folder, 'snapshot.tar.zst');
  try {
    await run('sh', ['-c', 'cat > "$0"', file], { input: Buffer.concat(await snapshot.stream.toArray() as Buffer[]) });
  } finally {
    await snapshot.end();
  }
  t.true((await run('tar', ['--zstd', '-tf', file])).stdout.includes('./srv/old/deep/one\n'));
  await operate((operation) => bed.host.destroy(spec.id, operation));
  t.false(existsSync(join(bed.options.instancesPath, spec.id)));
});

real('marking and capturing leave nothing behind, whatever they fail of', async (t) => {
  const { bed } = t.context;
  const spec = await boot(bed);
  await mark(bed.host, spec.id);
  await shell(bed, spec.id, 'echo new > /new');
  await t.throwsAsync(capture(bed.host, spec.id, '/nowhere/at/all.tar.zst'), { message: /ENOENT/ });
  await t.throwsAsync(mark(bed.host, randomUUID()), { code: 'INSTANCE_NOT_FOUND' });
  const names = await readdir(join(bed.options.instancesPath, spec.id));
  t.false(names.includes('snapshot'));
  await operate((operation) => bed.host.pause(spec.id, operation));
  const other = new LocalContainerHost(bed.options, log);
  t.truthy(other);
  t.is((await capture(bed.host, spec.id, join(t.context.folder, 'paused.tar.zst'))).changed, 1);
  t.is((await bed.host.view(spec.id)).state, 'paused');
});

real('POSIX ACLs: of an unpacked archive, after a copy-up, and through a snapshot', async (t) => {
  const { bed, folder } = t.context;
  const source = await mkdtemp(join(folder, 'acl-'));
  await mkdir(join(source, 'srv'));
  await writeFile(join(source, 'srv/secret'), 'for one user', { mode: 0o640 });
  const file = join(folder, 'acl.tar');
  // the host has no setfacl: the archive says what tar would have written of one
  const acl = 'user::rw-\nuser:1000:r--\ngroup::---\nmask::r--\nother::---';
  await run('tar', ['-C', source, '--format=posix', '--numeric-owner', `--pax-option=SCHILY.acl.access:=${acl}`, '-cf', file, 'srv/secret']);
  const layer: ImageSource = { id: randomUUID(), size: undefined, checksum: undefined, diskFormat: 'raw', containerFormat: 'bare', layer: true, open: async () => createReadStream(file) };
  await operate((operation) => bed.host.ensureImage(layer, operation));
  const spec = await boot(bed, { templates: [layer.id] });
  const reads = (id: string, user: string): Promise<string> => shell(bed, id, `grep -q ^other: /etc/passwd || echo other:x:2000:2000::/:/bin/sh >> /etc/passwd; su ${user} -c 'cat /srv/secret' 2>&1 || true`);
  t.is(await reads(spec.id, 'user'), 'for one user');
  t.regex(await reads(spec.id, 'other'), /denied/);
  await shell(bed, spec.id, 'printf " and more" >> /srv/secret');
  t.is(await reads(spec.id, 'user'), 'for one user and more');
  const snapshot = await operate((operation) => bed.host.snapshot(spec.id, operation));
  const saved = join(folder, 'acl-snapshot.tar.zst');
  try {
    await writeFile(saved, snapshot.stream);
  } finally {
    await snapshot.end();
  }
  const image: ImageSource = { ...layer, id: randomUUID(), layer: false, open: async () => createReadStream(saved) };
  await operate((operation) => bed.host.ensureImage(image, operation));
  const again = await boot(bed, { imageId: image.id });
  t.is(await reads(again.id, 'user'), 'for one user and more');
  t.regex(await reads(again.id, 'other'), /denied/);
});

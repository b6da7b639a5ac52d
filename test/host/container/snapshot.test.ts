/** Snapshots of real containers: what is in them, that they boot, what they cost the guest, and that failures leave nothing behind. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { DiskSnapshot } from '../../../src/container/snapshot/snapshot.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';
import { createOpenstack } from '../../../src/openstack/openstack.js';
import { hostProblem, imageOf, inside, log, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const problem = hostProblem();
const test = anyTest as TestFn<{ bed: Bed; folder: string }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/snapshot: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context.bed = await makeBed();
  t.context.folder = await mkdtemp('/var/lib/nova/snapshots-');
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  if (t.context.folder) await rm(t.context.folder, { recursive: true, force: true });
});

/** Reads a snapshot into a file, as an image. */
async function asImage(folder: string, snapshot: DiskSnapshot): Promise<ImageSource> {
  const file = join(folder, `${randomUUID()}.tar.zst`);
  const hash = createHash('sha256');
  try {
    await pipeline(snapshot.stream, async function* (bytes: AsyncIterable<Buffer>) {
      for await (const chunk of bytes) {
        hash.update(chunk);
        yield chunk;
      }
    }, createWriteStream(file));
  } finally {
    await snapshot.end();
  }
  return { id: randomUUID(), size: (await stat(file)).size, checksum: { algorithm: 'sha256', value: hash.digest('hex') }, diskFormat: 'raw', containerFormat: 'bare', open: async () => createReadStream(file) };
}

async function boot(bed: Bed, image: ImageSource, memoryMiB = 64): Promise<string> {
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = makeSpec(image);
  await operate((operation) => bed.host.create({ ...spec, limits: { ...spec.limits, memoryMiB } }, operation));
  await operate((operation) => bed.host.startContainer(spec.id, operation));
  await until('the guest is up', async () => /guest is up/.test(await bed.host.consoleLog(spec.id, undefined)));
  return spec.id;
}

/** Nothing of a snapshot is left: mounts, files, loop devices, a freeze. */
async function leftovers(bed: Bed, id: string): Promise<string[]> {
  const folder = join(bed.options.instancesPath, id);
  const loops = (await run('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'])).stdout.split('\n').filter((line) => line.includes(`${id}/snapshot`));
  const files = (await readdir(folder)).filter((name) => name.startsWith('snapshot'));
  const markers = (await readdir(join(bed.options.runPath, 'containers', id))).filter((name) => name.startsWith('frozen'));
  return [...mountsUnder(join(folder, 'snapshot')).map((mount) => mount.path), ...loops, ...files, ...markers];
}

/** All of a tree but what the runtime and the first boot make: name, type, owner, mode, size, links (an overlay's folders count them as they like), time, content. */
const look = `cd / && find . -xdev | grep -vE '^\\.($|/(dev|proc|sys|run)($|/)|/etc$|/etc/(hosts|hostname)$)' | LC_ALL=C sort | while IFS= read -r f; do
  [ -d "$f" ] && stat -c '%n %F %u:%g %a %Y' "$f" || stat -c '%n %F %u:%g %a %s %h %Y' "$f"
  [ -L "$f" ] && readlink "$f"; [ -f "$f" ] && sha256sum < "$f"; done; true`;

/** An image whose tree has what the busybox one lacks: hard links, a folder to replace, file capabilities. */
async function richImage(bed: Bed, folder: string): Promise<ImageSource> {
  const tree = await mkdtemp(join(folder, 'tree-'));
  await pipeline(await bed.image.open(new AbortController().signal), createWriteStream(join(folder, 'base.tar')));
  await run('tar', ['-C', tree, '-xf', join(folder, 'base.tar')]);
  const script = `set -e
    mkdir opt; cd opt
    echo lower > one; ln one two; ln one three
    echo quiet > still-one; ln still-one still-two
    mkdir replaced; echo old > replaced/old
    echo gone > deleted
    cp ../bin/busybox capable; setcap cap_net_raw=ep capable
    mkdir renamed; echo inside > renamed/file`;
  await run('sh', ['-c', script], { cwd: tree });
  const file = join(folder, 'rich.tar');
  await run('tar', ['-C', tree, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-cf', file, '.']);
  return { ...(await imageOf(tree, join(folder, 'plain.tar'))), size: (await stat(file)).size, checksum: undefined, open: async () => createReadStream(file) };
}

const change = `set -e
  cd /opt
  echo upper >> one
  rm -r replaced; mkdir replaced; echo new > replaced/new
  rm deleted
  mv renamed renamed-now || { mkdir renamed-now; mv renamed/file renamed-now; rmdir renamed; }
  mkdir /data; cd /data; chmod 1770 .
  echo mine > mine; chown 1000:1001 mine; chmod 4751 mine
  ln mine mine-too
  ln -s /etc/passwd absolute; ln -s ../../../../up climbing
  mkfifo pipe
  dd if=/dev/urandom of=holes bs=4096 count=3 seek=100000 2>/dev/null
  touch -d '2001-02-03 04:05:06' old
  touch "$(printf 'new\\nline')" 'ünïcode' ' leading' ./-dash
  long=$(printf '%0200d' 0); mkdir -p $long/$long/$long; echo deep > $long/$long/$long/file
  chmod 0 climbing 2>/dev/null || true
  touch secret; chmod 0 secret; chown 65535:65535 secret
  cp /bin/busybox able`;

real('what is in a snapshot of a running container, and it boots', async (t) => {
  const { bed, folder } = t.context;
  const id = await boot(bed, await richImage(bed, folder));
  await inside(bed, id, 'sh', '-c', change);
  const { pid } = await bed.host.view(id);
  // as the guest's own root would do it: in its user namespace
  const able = join(bed.options.instancesPath, id, 'rootfs/data/able');
  await run('nsenter', ['--user', `--target=${pid}`, 'setcap', 'cap_net_admin=ep', able]);
  await run('nsenter', ['--user', `--target=${pid}`, 'python3', '-c', 'import os, sys; os.setxattr(sys.argv[1], "user.note", b"hello")', able]);
  await inside(bed, id, 'sh', '-c', 'exec 3>/data/unlinked; echo secret >&3; rm /data/unlinked; sleep 1000 <&3 >/dev/null 2>&1 &');
  const before = await inside(bed, id, 'sh', '-c', look);
  const began = performance.now();
  const snapshot = await operate((operation) => bed.host.snapshot(id, operation));
  const image = await asImage(folder, snapshot);
  t.log(`frozen ${Math.round(snapshot.frozenMs)} ms, whole ${Math.round(performance.now() - began)} ms, ${image.size} bytes`);
  t.is((await bed.host.view(id)).state, 'running');
  t.deepEqual(await leftovers(bed, id), []);

  const clone = await boot(bed, image);
  t.deepEqual((await inside(bed, clone, 'sh', '-c', look)).split('\n'), before.split('\n'));
  t.is(await inside(bed, clone, 'cat', '/opt/one', '/opt/two', '/opt/three'), Array(3).fill('lower\nupper').join('\n'));
  t.is(await inside(bed, clone, 'ls', '/data/unlinked').catch(() => 'gone'), 'gone');
  const blocks = Number(await inside(bed, clone, 'stat', '-c', '%b', '/data/holes'));
  t.true(blocks <= 64, `holes stay holes: ${blocks} blocks`);
  const root = join(bed.options.instancesPath, clone, 'rootfs');
  t.regex((await run('nsenter', ['--user', `--target=${(await bed.host.view(clone)).pid}`, 'getcap', join(root, 'data/able'), join(root, 'opt/capable')])).stdout, /able cap_net_admin=ep[^]*capable cap_net_raw=ep/);
  t.regex((await run('python3', ['-c', 'import os, sys; print(os.getxattr(sys.argv[1], "user.note"))', join(root, 'data/able')])).stdout, /hello/);
  for (const item of [id, clone]) await operate((operation) => bed.host.destroy(item, operation));
});

real('a guest that does not write never stands still; paused and stopped ones are taken as they are', async (t) => {
  const { bed, folder } = t.context;
  const id = await boot(bed, bed.image);
  await inside(bed, id, 'sh', '-c', 'echo kept > /root/kept; sync');
  const still = await operate((operation) => bed.host.snapshot(id, operation));
  await asImage(folder, still);
  t.is(still.frozenMs, 0);
  await operate((operation) => bed.host.pause(id, operation));
  await asImage(folder, await operate((operation) => bed.host.snapshot(id, operation)));
  t.is((await bed.host.view(id)).state, 'paused');
  await operate((operation) => bed.host.unpause(id, operation));
  await operate((operation) => bed.host.stopContainer(id, { timeoutMs: 0, retryMs: 0 }, operation));
  const image = await asImage(folder, await operate((operation) => bed.host.snapshot(id, operation)));
  t.deepEqual(await leftovers(bed, id), []);
  const clone = await boot(bed, image);
  t.is(await inside(bed, clone, 'cat', '/root/kept'), 'kept');
  for (const item of [id, clone]) await operate((operation) => bed.host.destroy(item, operation));
});

/** Writes pairs: first `a`, then `b` with the same number. In what one moment shows, `a` is at most one ahead. */
const writer = `mkdir -p /pairs; n=0; while :; do n=$((n+1)); echo $n > /pairs/new; mv /pairs/new /pairs/a; echo $n > /pairs/new; mv /pairs/new /pairs/b; echo $n >> /pairs/log; done`;

real('a guest that writes all the time: the image shows one moment, and it goes on', async (t) => {
  const { bed, folder } = t.context;
  const id = await boot(bed, bed.image);
  await inside(bed, id, 'sh', '-c', `(${writer}) >/dev/null 2>&1 &`);
  await inside(bed, id, 'sh', '-c', 'dd if=/dev/zero bs=1M count=64 2>/dev/null | tr "\\0" x > /root/filler');
  for (let round = 0; round < 3; round++) {
    const snapshot = await operate((operation) => bed.host.snapshot(id, operation));
    const image = await asImage(folder, snapshot);
    const after = Number(await until('it goes on', async () => inside(bed, id, 'tail', '-n', '1', '/pairs/log')));
    const clone = await boot(bed, image);
    const [a = 0, b = 0, last = 0, lines = 0] = (await inside(bed, clone, 'sh', '-c', 'cat /pairs/a /pairs/b; tail -n 1 /pairs/log; wc -l < /pairs/log')).split('\n').map(Number);
    t.log(`frozen ${Math.round(snapshot.frozenMs)} ms: a ${a}, b ${b}, log ${last} in ${lines} lines; went on to ${after}`);
    t.true(a >= b && a - b <= 1 && b >= last && b - last <= 1, 'one moment');
    t.is(last, lines);
    t.true(after > a);
    await operate((operation) => bed.host.destroy(clone, operation));
  }
  await operate((operation) => bed.host.destroy(id, operation));
});

real('given up at every stage, and destroyed while it is read: nothing is left', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, bed.image);
  await inside(bed, id, 'sh', '-c', 'dd if=/dev/urandom of=/root/big bs=1M count=50 2>/dev/null');
  for (const after of [0, 30, 100, 200, 400]) {
    const done = operate(async (operation) => {
      setTimeout(() => operation.abort(new Error('enough')), after);
      const snapshot = await bed.host.snapshot(id, operation);
      await snapshot.end();
    });
    await done.catch((error: unknown) => t.regex(String(error), /enough/));
    t.deepEqual(await leftovers(bed, id), [], `after ${after} ms`);
    t.is((await bed.host.view(id)).state, 'running');
  }
  const reading = await operate((operation) => bed.host.snapshot(id, operation));
  await t.throwsAsync(operate((operation) => bed.host.snapshot(id, operation)), { code: 'INSTANCE_BUSY' });
  const chunks = reading.stream[Symbol.asyncIterator]();
  t.false((await chunks.next()).done); // 50 MiB cannot be in the pipes: the rest is still to come when it is destroyed
  await operate((operation) => bed.host.destroy(id, operation));
  await t.throwsAsync(async () => { while (!(await chunks.next()).done); });
  await reading.end();
  t.is((await bed.host.view(id)).state, 'missing');
});

real('a full disk: the guest goes on, and nothing is left', async (t) => {
  const file = join(t.context.folder, 'small.img');
  const mounted = await mkdtemp('/var/lib/nova/small-');
  await run('truncate', ['-s', '220M', file]);
  await run('mkfs.ext4', ['-q', '-m', '0', file]);
  await run('mount', ['-o', 'loop', file, mounted]);
  await run('chmod', ['755', mounted]);
  try {
    const bed = await makeBed({ instancesPath: mounted });
    const id = await boot(bed, bed.image);
    await inside(bed, id, 'sh', '-c', 'dd if=/dev/urandom of=/root/big bs=1M count=110 2>/dev/null; sync');
    const free = async (): Promise<number> => Number((await run('stat', ['-f', '-c', '%f', mounted])).stdout);
    const before = await free();
    await t.throwsAsync(operate((operation) => bed.host.snapshot(id, operation)), { code: 'DISK_FULL' });
    t.deepEqual(await leftovers(bed, id), []);
    t.is((await bed.host.view(id)).state, 'running');
    t.true(Math.abs((await free()) - before) < 2560, 'the space is free again');
    await inside(bed, id, 'sh', '-c', 'echo goes on > /root/on');
    await bed.end().catch(() => undefined); // the mount point itself stays
  } finally {
    await run('umount', ['-l', mounted]);
    await rm(mounted, { recursive: true });
  }
});

real('a glance that goes away in mid-upload, or is full: the error is told, the guest goes on, nothing is left', async (t) => {
  const { bed } = t.context;
  const id = await boot(bed, bed.image);
  await inside(bed, id, 'sh', '-c', 'dd if=/dev/urandom of=/root/big bs=1M count=40 2>/dev/null; sync');
  const answers: ((request: IncomingMessage, response: ServerResponse) => void)[] = [
    (request) => void request.once('data', () => setTimeout(() => request.socket.destroy(), 50)),
    (request, response) => void request.resume().once('end', () => response.writeHead(507).end('no space left')),
  ];
  for (const answer of answers) {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const section = { authType: 'password', authUrl: 'http://127.0.0.1:1', username: 'x', password: 'secret-password', userDomainName: 'd', projectName: 'p', projectDomainName: 'd' } as const;
    const endpointOverride = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const openstack = createOpenstack({ placement: { section: 'placement', ...section }, neutron: { section: 'neutron', ...section }, glance: { section: 'glance', endpointOverride } }, log);
    const user = { requestId: undefined, signal: undefined, identity: { kind: 'user', token: 'token', catalog: [] } } as const;
    try {
      const snapshot = await operate((operation) => bed.host.snapshot(id, operation));
      await t.throwsAsync(openstack.glance.upload(user, randomUUID(), snapshot.stream).finally(() => snapshot.end()), { message: /^glance/ });
    } catch (error) {
      t.fail(String(error));
    } finally {
      await openstack.close();
      server.closeAllConnections();
      server.close();
    }
    t.deepEqual(await leftovers(bed, id), []);
    t.is((await bed.host.view(id)).state, 'running');
  }
  await operate((operation) => bed.host.destroy(id, operation));
});

/** What a container's storage does is the same on every file system that `instances_path` may lie on. */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream, rmSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import test, { type ExecutionContext } from 'ava';
import { run } from '../../../src/base/run.js';
import { probeHost } from '../../../src/container/probe.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';
import { fileSystemProblem, fileSystemTypes, makeFileSystem, type FileSystem, type FileSystemType } from '../lib/file-system.js';
import { criuProblem } from './checkpoint-kit.js';
import { imageOf, inside, makeBed, makeSpec, operate, until, type Bed } from './harness.js';
import { pythonTree } from './tools-image.js';

const mib = 1024 ** 2;
const problem = await criuProblem();
let image: ImageSource;
const lacking = await Promise.all(fileSystemTypes.map(async (type) => [type, problem ?? (await fileSystemProblem(type))] as const));

for (const [type, lack] of lacking) {
  if (lack !== undefined) process.stderr.write(`SKIPPED test/host/container/file-systems on ${type}: ${lack}\n`);
  (lack === undefined ? test.serial : test.skip)(`${type}: limit, sharing, snapshot, suspend, resize, delete`, async (t) => {
    const fileSystem = await makeFileSystem(type, 6);
    const bed = await makeBed({ instancesPath: fileSystem.path });
    try {
      await scene(t, bed, fileSystem, type);
    } finally {
      await bed.end().catch(() => undefined); // the mount point cannot be removed
      await fileSystem.close();
    }
  });
}

test.before(async () => {
  if (problem === undefined) image = await watchingImage();
});

/** Notes what inotify says of folders of the image. */
const watcher = `import ctypes, os
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
names = {libc.inotify_add_watch(watch, name, 0x100): name.decode() for name in (b"/etc", b"/opt")}
while True:
    event = os.read(watch, 4096)
    open("/run/noted", "a").write(names[int.from_bytes(event[:4], "little")] + "\\n")
`;

/** A small system with 32 MiB of its own, and with that program. */
async function watchingImage(): Promise<ImageSource> {
  const tree = await pythonTree(['ctypes', 'os']);
  const kept = join(tmpdir(), `watching-${randomUUID()}.tar`);
  process.on('exit', () => rmSync(kept, { force: true }));
  try {
    await run('sh', ['-ec', 'mkdir opt; dd if=/dev/urandom of=opt/blob bs=1M count=32 2>/dev/null'], { cwd: tree });
    await writeFile(join(tree, 'bin/watcher'), watcher);
    await writeFile(join(tree, 'etc/inittab'), '::sysinit:/etc/init.d/rcS\n::respawn:/bin/counter\n::respawn:/usr/bin/python3 /bin/watcher\n');
    return await imageOf(tree, kept);
  } finally {
    await rm(dirname(tree), { recursive: true, force: true });
  }
}

async function boot(bed: Bed, source: ImageSource): Promise<string> {
  await operate((operation) => bed.host.ensureImage(source, operation));
  const spec = makeSpec(source);
  await operate((operation) => bed.host.create(spec, operation));
  await start(bed, spec.id);
  return spec.id;
}

async function start(bed: Bed, id: string): Promise<void> {
  await operate((operation) => bed.host.startContainer(id, operation));
  await until('the guest counts', async () => Number(await inside(bed, id, 'cat', '/run/count').catch(() => '0')) > 0);
}

const shell = (bed: Bed, id: string, line: string): Promise<string> => inside(bed, id, 'sh', '-c', line);
const blob = 'sha256sum < /opt/blob';

/** All of it on one file system. */
async function scene(t: ExecutionContext, bed: Bed, fileSystem: FileSystem, type: FileSystemType): Promise<void> {
  const { path, used } = fileSystem;
  const reflinks = type !== 'ext4';
  const empty = await used();

  const lines = await probeHost({ ...bed.options });
  t.like(lines.find((line) => line.what === 'idmapped mounts'), { ok: true, detail: `yes, on the ${type} at ${path}` });
  t.like(lines.find((line) => line.what === 'reflinks'), { ok: true, lacking: !reflinks });
  t.regex(lines.find((line) => line.what === 'reflinks')?.detail ?? '', new RegExp(`the ${type} at ${path} has ${reflinks ? 'them' : 'none'}`));

  // shared copy-on-write: the second takes nothing of the image again, and sees nothing of the first
  const first = await boot(bed, image);
  const one = await used();
  const second = await boot(bed, image);
  const sum = await shell(bed, second, blob);
  const more = Math.round((await used() - one) / mib);
  t.true(more < 20, `the second container takes ${more} MiB`);
  await shell(bed, first, 'echo x >> /opt/blob; rm /etc/passwd; sync');
  t.not(await shell(bed, first, blob), sum);
  t.is(await shell(bed, second, `${blob}; ls /etc/passwd`), `${sum}\n/etc/passwd`);
  await operate((operation) => bed.host.destroy(first, operation));

  // the limit, and what df says
  t.regex(await shell(bed, second, 'df -k / | cat'), /\s1048576\s/);
  t.regex(await shell(bed, second, 'fallocate -l 940M /root/most && dd if=/dev/zero of=/root/more bs=1M count=100 2>&1; stat -c %s /root/most; rm /root/most /root/more'), /No space left on device[^]*\n985661440/);

  // a snapshot of the running container, which writes meanwhile
  await shell(bed, second, 'echo mine > /root/mine; dd if=/dev/urandom of=/root/big bs=1M count=64 2>/dev/null; sync /root/big; (while :; do echo . >> /root/dots; sync /root/dots; sleep 0.02; done) >/dev/null 2>&1 &');
  const before = await used();
  const snapshot = await operate((operation) => bed.host.snapshot(second, operation));
  const grown = Math.round((await used() - before) / mib);
  const file = join(tmpdir(), `${randomUUID()}.tar.zst`);
  try {
    await pipeline(snapshot.stream, createWriteStream(file)).finally(() => snapshot.end());
    t.log(`snapshot: ${Math.round(snapshot.frozenMs)} ms frozen, ${grown} MiB for the copy`);
    t.is(grown < 48, reflinks, `${grown} MiB for the copy of a disk with more than 64 MiB`);
    t.deepEqual((await readdir(join(path, second))).filter((name) => name.startsWith('snapshot')), []);
    const copy = await boot(bed, { ...image, id: randomUUID(), checksum: undefined, size: undefined, open: async () => createReadStream(file) });
    t.is(await shell(bed, copy, `${blob}; cat /root/mine; ls /etc/passwd`), `${sum}\nmine\n/etc/passwd`);
    await operate((operation) => bed.host.destroy(copy, operation));
  } finally {
    await rm(file, { force: true });
  }

  // suspended and resumed: the same processes, with their watches of folders of the image
  const noted = async (): Promise<readonly string[]> => (await shell(bed, second, 'cat /run/noted; rm -f /run/noted').catch(() => '')).split('\n');
  await until('the watch sees a new file', async () => {
    await shell(bed, second, 'rm -f /etc/new; touch /etc/new');
    return (await noted()).includes('/etc');
  });
  await noted();
  const count = Number(await shell(bed, second, 'cat /run/count'));
  await operate((operation) => bed.host.suspend(second, operation));
  t.is((await bed.host.view(second)).state, 'suspended');
  await operate((operation) => bed.host.resume(second, operation));
  await until('it counts on', async () => Number(await shell(bed, second, 'cat /run/count').catch(() => '0')) > count);
  for (const folder of ['/etc', '/opt']) {
    await shell(bed, second, `touch ${folder}/after`);
    await until(`the watch of ${folder} sees a new file`, async () => (await noted()).includes(folder));
  }
  t.is(await shell(bed, second, `${blob}; cat /root/mine`), `${sum}\nmine`);

  // its disk grows; what is set aside for a revert shares its blocks where it can
  await operate((operation) => bed.host.stopContainer(second, { timeoutMs: 0, retryMs: 0 }, operation));
  const small = await used();
  const spec = await bed.host.spec(second);
  if (!spec) return t.fail();
  await operate((operation) => bed.host.moves.resize(second, { ...spec.limits, rootGiB: 2 }, operation));
  const aside = Math.round((await used() - small) / mib);
  t.log(`resize: ${aside} MiB more until it is confirmed`);
  t.is(aside < 48, reflinks);
  await start(bed, second);
  t.regex(await shell(bed, second, 'df -k / | cat'), /\s2097152\s/);
  t.is(await shell(bed, second, `${blob}; cat /root/mine`), `${sum}\nmine`);
  await bed.host.moves.drop(second);

  // nothing is left
  await operate((operation) => bed.host.destroy(second, operation));
  await bed.host.removeUnusedImages(0);
  t.deepEqual((await readdir(path)).filter((name) => name !== 'lost+found').sort(), ['_base']);
  t.deepEqual(await readdir(join(path, '_base')), []);
  t.deepEqual(mountsUnder(path).map((mount) => mount.path), [path]);
  await until('the space is free again', async () => await used() - empty < 32 * mib);
}

/** Snapshots with memory that are altered, cut off, or of another host are refused by name, and leave nothing; those that cannot be taken leave the guest as it was. */
import { randomBytes, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, copyFile, mkdtemp, open, readdir, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import { isFrozen, readCgroupLayout } from '../../../src/container/cgroup.js';
import { LocalContainerHost } from '../../../src/container/local-container-host.js';
import { addKey, readKeyRing, snapshotKey } from '../../../src/container/memory-image/keys.js';
import type { MemoryManifest } from '../../../src/container/memory-image/manifest.js';
import { RecordReader, writeRecords } from '../../../src/container/memory-image/records.js';
import { seal, sealHeadBytes, unsealed } from '../../../src/container/memory-image/seal.js';
import type { ContainerSpec, ImageSource } from '../../../src/container/spec.js';
import { mountsUnder } from '../../../src/container/storage/mounts.js';
import { criuProblem, withCriu, wrapper } from './checkpoint-kit.js';
import { inside, log, operate, until } from './harness.js';
import { bootFrom, counted, countsOn, fileOf, imageFile, memoryBed, memorySnapshot, portSpec, type MemoryBed } from './memory-kit.js';

const problem = await criuProblem();
const test = anyTest as TestFn<{ bed: MemoryBed; source: ContainerSpec; image: ImageSource }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/memory-failure: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const bed = await memoryBed('brqhtmf');
  const source = await bootFrom(bed, bed.image);
  await countsOn(bed.host, source.id, 2);
  t.context = { bed, source, image: (await memorySnapshot(bed, source.id)).image };
});
test.after.always((t) => t.context.bed?.end());

/** Chunks as `seal` makes them by default, with their tags. */
const chunkBytes = 2 ** 18 + 16;

/** The image with its file changed, under the same id: what a store could do to it. Glance's own checksum says nothing of it. */
async function changed(bed: MemoryBed, image: ImageSource, change: (file: string) => Promise<void>): Promise<ImageSource> {
  const file = join(bed.folder, `changed-${randomUUID()}`);
  await copyFile(fileOf(bed, image.id), file);
  await change(file);
  return imageFile(file, image.id);
}

const base = (bed: MemoryBed): Promise<string[]> => readdir(join(bed.options.instancesPath, '_base'));

/** It does not come into the cache, the error says why, nothing is left. */
async function refused(t: ExecutionContext, bed: MemoryBed, image: ImageSource, name: string, message: RegExp, host = bed.host): Promise<void> {
  const before = (await base(bed)).sort();
  await t.throwsAsync(operate((operation) => host.ensureImage(image, operation)), { name, message });
  t.deepEqual((await base(bed)).sort(), before);
}

async function flip(file: string, at: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, at);
    byte[0]! ^= 0x40;
    await handle.write(byte, 0, 1, at);
  } finally {
    await handle.close();
  }
}

real('one altered byte, anywhere: in the head, in each chunk, in the last tag', async (t) => {
  const { bed, image } = t.context;
  const { size } = await stat(fileOf(bed, image.id));
  for (const at of [10, sealHeadBytes - 1]) await refused(t, bed, await changed(bed, image, (file) => flip(file, at)), 'MEMORY_IMAGE_REFUSED', /refused: /);
  await refused(t, bed, await changed(bed, image, (file) => flip(file, 0)), 'IMAGE_UNACCEPTABLE', /unknown format/);
  for (let at = sealHeadBytes + 100; at < size; at += chunkBytes) await refused(t, bed, await changed(bed, image, (file) => flip(file, at)), 'MEMORY_IMAGE_REFUSED', /chunk \d+ is not what was sealed/);
  await refused(t, bed, await changed(bed, image, (file) => flip(file, size - 1)), 'MEMORY_IMAGE_REFUSED', /chunk \d+ is not what was sealed/);
});

real('cut off at every chunk and in the middle of one', async (t) => {
  const { bed, image } = t.context;
  const { size } = await stat(fileOf(bed, image.id));
  for (let length = sealHeadBytes + chunkBytes; length < size; length += chunkBytes) {
    await refused(t, bed, await changed(bed, image, (file) => truncate(file, length)), 'MEMORY_IMAGE_REFUSED', /cut off after \d+ chunks/);
    await refused(t, bed, await changed(bed, image, (file) => truncate(file, length - 1000)), 'MEMORY_IMAGE_REFUSED', /altered, moved, or cut off/);
  }
  await refused(t, bed, await changed(bed, image, (file) => truncate(file, 20)), 'MEMORY_IMAGE_REFUSED', /cut off in its head/);
});

real('chunks in another order, or of another image of the same key', async (t) => {
  const { bed, image, source } = t.context;
  const other = await memorySnapshot(bed, source.id);
  const [bytes, foreign] = await Promise.all([image.id, other.image.id].map((id) => readFile(fileOf(bed, id)))) as [Buffer, Buffer];
  const chunk = (of: Buffer, index: number): Buffer => of.subarray(sealHeadBytes + index * chunkBytes, sealHeadBytes + (index + 1) * chunkBytes);
  const rest = bytes.subarray(sealHeadBytes + 3 * chunkBytes);
  const head = bytes.subarray(0, sealHeadBytes);
  for (const parts of [[1, 0, 2].map((index) => chunk(bytes, index)), [chunk(bytes, 0), chunk(bytes, 2), chunk(bytes, 1)], [chunk(bytes, 0), chunk(foreign, 1), chunk(bytes, 2)], [chunk(bytes, 0), chunk(bytes, 2)]]) {
    await refused(t, bed, await changed(bed, image, (file) => writeFile(file, Buffer.concat([head, ...parts, rest]))), 'MEMORY_IMAGE_REFUSED', /is not what was sealed/);
  }
  await refused(t, bed, { ...await imageFile(fileOf(bed, other.image.id), randomUUID()) }, 'MEMORY_IMAGE_REFUSED', /a copy under another id is not accepted/);
});

real('without a key, with another one, with a file that others can read: refused by name; a rotated key opens', async (t) => {
  const { bed, image, source } = t.context;
  const at = async (key: string | undefined, work: (host: LocalContainerHost) => Promise<void>): Promise<void> => {
    await bed.host.stop();
    const host = new LocalContainerHost({ ...bed.options, snapshotKey: key }, log);
    await host.start();
    await work(host).finally(async () => {
      await host.stop();
      await bed.host.start();
    });
  };
  const other = join(bed.folder, 'other-key');
  await addKey(other);
  await at(undefined, async (host) => {
    await refused(t, bed, image, 'SNAPSHOT_KEY', /option snapshot_key of \[haulier\]: it is not set/, host);
    await t.throwsAsync(operate((operation) => host.snapshot(source.id, operation, randomUUID())), { name: 'SNAPSHOT_KEY' });
    await t.throwsAsync(host.requireSnapshotKey(), { name: 'SNAPSHOT_KEY' });
  });
  await at(other, (host) => refused(t, bed, image, 'MEMORY_IMAGE_REFUSED', /is not among those of this host/, host));
  await chmod(other, 0o644);
  await at(other, (host) => refused(t, bed, image, 'SNAPSHOT_KEY', /mode 644/, host));
  await addKey(String(bed.options.snapshotKey));
  const clone = await bootFrom(bed, image);
  await countsOn(bed.host, clone.id, 2);
  await operate((operation) => bed.host.destroy(clone.id, operation));
});

/** The image with another manifest, sealed as it should be. */
async function resealed(bed: MemoryBed, image: ImageSource, change: (manifest: MemoryManifest) => MemoryManifest): Promise<ImageSource> {
  const keys = await readKeyRing(bed.options.snapshotKey);
  const id = randomUUID();
  const records = new RecordReader(unsealed(keys, createReadStream(fileOf(bed, image.id)) as AsyncIterable<Buffer>, id), id);
  const manifest = change({ ...(await records.manifest() as MemoryManifest), image: id });
  await pipeline(seal(keys[0], writeRecords(manifest, { checkpoint: records.part('checkpoint'), disk: records.part('disk') })), createWriteStream(fileOf(bed, id)));
  return imageFile(fileOf(bed, id), id);
}

real('from another CPU, a newer criu, a newer kernel, another architecture: not even unpacked', async (t) => {
  const { bed, image } = t.context;
  const host = (change: Partial<MemoryManifest['checkpoint']['host']>) => (manifest: MemoryManifest): MemoryManifest => ({ ...manifest, checkpoint: { ...manifest.checkpoint, host: { ...manifest.checkpoint.host, ...change } } });
  const cases: readonly (readonly [Partial<MemoryManifest['checkpoint']['host']>, RegExp])[] = [
    [{ cpuFlags: ['sse2', 'avx9000'] }, /cannot resume: this CPU .* lacks avx9000/],
    [{ criu: '99.1' }, /made by criu 99\.1, this host has 4\./],
    [{ kernel: '99.3.0-amd64' }, /ran on kernel 99\.3\.0/],
    [{ architecture: 'arm64' }, /made on arm64/],
  ];
  for (const [change, message] of cases) await refused(t, bed, await resealed(bed, image, host(change)), 'MEMORY_IMAGE_MISFIT', message);
  await refused(t, bed, await resealed(bed, image, (manifest) => ({ ...manifest, version: 2 }) as unknown as MemoryManifest), 'MEMORY_IMAGE_REFUSED', /version 2/);
  const short = await resealed(bed, image, (manifest) => ({ ...manifest, checkpoint: { ...manifest.checkpoint, files: { ...manifest.checkpoint.files, 'inventory.img': 1 } } }));
  await refused(t, bed, short, 'STATE_DAMAGED', /inventory\.img/);
});

real('sealed, but not with this deployment\'s key, or not sealed at all', async (t) => {
  const { bed, image } = t.context;
  const forged = await changed(bed, image, async (file) => {
    await pipeline(seal(snapshotKey(randomBytes(32)), createReadStream(fileOf(bed, bed.image.id).replace(bed.image.id, 'key')) as AsyncIterable<Buffer>), createWriteStream(file));
  });
  await refused(t, bed, forged, 'MEMORY_IMAGE_REFUSED', /not among those of this host/);
});

real('a flavor that is too small: refused, nothing is left', async (t) => {
  const { bed, image } = t.context;
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = portSpec(bed, image);
  await t.throwsAsync(operate((operation) => bed.host.create({ ...spec, limits: { ...spec.limits, memoryMiB: 4 } }, operation)), { name: 'IMAGE_TOO_LARGE', message: /take \d+ MiB of memory, the flavor has 4/ });
  t.false(existsSync(join(bed.options.instancesPath, spec.id)));
});

real('asked before anything else is ended, all that a boot would refuse is refused, and nothing is touched', async (t) => {
  const { bed, image, source } = t.context;
  await operate((operation) => bed.host.ensureImage(image, operation));
  const { pid } = await bed.host.view(source.id);
  const spec = { ...source, imageId: image.id };
  await bed.host.check(spec);
  const criu = await wrapper('exec $real "$@"', '[ "$1" != --version ] || { echo "Version: 3.19"; exit 0; }');
  await withCriu(bed, criu, async (host) => {
    await t.throwsAsync(host.check(spec), { name: 'MEMORY_IMAGE_MISFIT', message: /3\.19/ });
    await t.throwsAsync(operate((operation) => host.create(portSpec(bed, image), operation)), { name: 'MEMORY_IMAGE_MISFIT' });
  });
  const folder = join(bed.options.instancesPath, '_base', (await base(bed)).find((name) => name.startsWith(image.id)) ?? '');
  const pages = (await readdir(join(folder, 'checkpoint'))).find((name) => name.startsWith('pages-')) ?? '';
  const refusals: readonly (readonly [Partial<ContainerSpec>, string, RegExp])[] = [
    [{ limits: { ...spec.limits, memoryMiB: 4 } }, 'IMAGE_TOO_LARGE', /the flavor has 4/],
    [{ imageId: randomUUID() }, 'IMAGE_NOT_FOUND', /./],
    [{ imageId: bed.image.id, templates: [randomUUID()] }, 'IMAGE_NOT_FOUND', /./],
    [{ vifs: spec.vifs.map((vif) => ({ ...vif, mac: 'no' })) }, 'VIF_PLUG_FAILED', /MAC/],
  ];
  for (const [change, name, message] of refusals) await t.throwsAsync(bed.host.check({ ...spec, ...change }), { name, message });
  await rename(join(folder, 'checkpoint', pages), join(folder, 'taken'));
  await t.throwsAsync(bed.host.check(spec), { name: 'STATE_DAMAGED', message: /is missing/ });
  await rename(join(folder, 'taken'), join(folder, 'checkpoint', pages));
  await rename(join(folder, 'rootfs'), join(folder, 'taken'));
  await t.throwsAsync(bed.host.check(spec), { name: 'STATE_DAMAGED', message: /the tree of this image is gone/ });
  await rename(join(folder, 'taken'), join(folder, 'rootfs'));
  await bed.host.check(spec);
  await goesOn(t, bed, source.id, pid);
});

real('a disk that is full while it is unpacked', async (t) => {
  const { bed, source } = t.context;
  const { image } = await memorySnapshot(bed, source.id);
  const cache = join(bed.options.instancesPath, '_base');
  await run('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', cache]);
  try {
    await refused(t, bed, image, 'DISK_FULL', /No space left/);
  } finally {
    await run('umount', [cache]);
  }
  const clone = await bootFrom(bed, image);
  await countsOn(bed.host, clone.id, 2);
  await operate((operation) => bed.host.destroy(clone.id, operation));
});

/** Same PID 1, counting, not frozen; nothing of a snapshot is left. */
async function goesOn(t: ExecutionContext, bed: MemoryBed, id: string, pid: number | undefined, host = bed.host): Promise<void> {
  t.like(await host.view(id), { state: 'running', pid });
  t.false(await isFrozen(await readCgroupLayout(), join(bed.options.cgroupParent, id)));
  await countsOn(host, id, await counted(host, id));
  const folder = join(bed.options.instancesPath, id, 'snapshot');
  t.false(existsSync(folder));
  t.deepEqual(mountsUnder(folder), []);
  t.false(existsSync(join(bed.options.runPath, 'containers', id, 'frozen-for-snapshot')));
  t.notRegex((await run('nsenter', [`--net=/proc/${pid}/ns/net`, '/usr/sbin/nft', 'list', 'tables'])).stdout, /CRIU/);
}

real('glance goes away in mid-upload: the stream is given up, the guest goes on', async (t) => {
  const { bed, source } = t.context;
  const { pid } = await bed.host.view(source.id);
  const snapshot = await operate((operation) => bed.host.snapshot(source.id, operation, randomUUID()));
  for await (const chunk of snapshot.stream) {
    t.true((chunk as Buffer).length > 0);
    break;
  }
  await snapshot.end();
  await goesOn(t, bed, source.id, pid);
  const unread = await operate((operation) => bed.host.snapshot(source.id, operation, randomUUID()));
  await unread.end();
  await goesOn(t, bed, source.id, pid);
});

real('a guest that criu cannot dump, and a criu that fails or is killed', async (t) => {
  const { bed, source } = t.context;
  const { pid } = await bed.host.view(source.id);
  await inside(bed, source.id, 'sh', '-c', 'unshare -i sleep 5001 </dev/null >/dev/null 2>&1 & true');
  await until('the verdict changes', async () => !(await bed.host.verdict(source.id)).freezable);
  const error = await t.throwsAsync(operate((operation) => bed.host.snapshot(source.id, operation, randomUUID())), { name: 'MEMORY_SNAPSHOT_FAILED', message: /with its memory: .*nested ipc/i });
  t.log(error?.message);
  await goesOn(t, bed, source.id, pid);
  await inside(bed, source.id, 'sh', '-c', 'kill $(pidof sleep | tr " " "\\n" | sort -n | head -1); true');
  await until('it can be dumped again', async () => (await bed.host.verdict(source.id)).freezable);

  for (const script of ['exit 1', '$real "$@" & sleep 0.05; kill -9 $!; exit 1']) {
    const folder = await mkdtemp('/run/criu-');
    await writeFile(join(folder, 'criu'), `#!/bin/bash\nreal=/usr/sbin/criu\n[ "$1" = swrk ] || exec $real "$@"\n${script}\n`, { mode: 0o755 });
    await bed.host.stop();
    const host = new LocalContainerHost({ ...bed.options, criu: join(folder, 'criu') }, log);
    await host.start();
    try {
      await t.throwsAsync(operate((operation) => host.snapshot(source.id, operation, randomUUID())), { name: 'MEMORY_SNAPSHOT_FAILED' });
      await goesOn(t, bed, source.id, pid, host);
    } finally {
      await host.stop();
      await bed.host.start();
    }
  }
});

real('a restore that fails: the boot fails with the reason and leaves nothing, and the cache is as good as before', async (t) => {
  const { bed, image } = t.context;
  await operate((operation) => bed.host.ensureImage(image, operation));
  const spec = portSpec(bed, image);
  await t.throwsAsync(operate(async (operation) => {
    await bed.host.create(spec, operation);
    await bed.host.startContainer(spec.id, operation, Promise.reject(new Error('not wired')));
  }), { message: 'not wired' });
  t.false(existsSync(join(bed.options.instancesPath, spec.id)));
  t.false((await readFile('/proc/self/mountinfo', 'utf8')).includes(spec.id));
  const clone = await bootFrom(bed, image);
  await countsOn(bed.host, clone.id, 2);
  await operate((operation) => bed.host.destroy(clone.id, operation));
});

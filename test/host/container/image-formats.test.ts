/** The same small system from each kind of image: it boots, and is suspended and resumed once. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import anyTest, { type TestFn } from 'ava';
import { findCommand, run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { dockerArchive, ociArchive } from '../storage/container-images.js';
import { handmadeTar } from '../storage/helper.js';
import { criuProblem } from './checkpoint-kit.js';
import { busyboxImage, hostProblem, inside, makeBed, makeSpec, operate, until, type Bed } from './harness.js';

const lacking = ['qemu-img', 'fuse2fs', 'sqfs2tar', 'mksquashfs', 'mke2fs'].filter((name) => findCommand(name) === name);
const problem = hostProblem() ?? (await criuProblem()) ?? (lacking.length > 0 ? `no ${lacking.join(', ')}` : undefined);
const test = anyTest as TestFn<{ bed: Bed; folder: string; tar: Buffer }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/image-formats: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  const folder = await mkdtemp(join(tmpdir(), 'formats-'));
  const tar = await buffer(await (await busyboxImage()).open(AbortSignal.timeout(60_000)) as Readable);
  await mkdir(join(folder, 'tree'));
  await run('tar', ['-C', join(folder, 'tree'), '-xpf', '-'], { input: tar });
  Object.assign(t.context, { bed: await makeBed(), folder, tar });
});
test.after.always(async (t) => {
  await t.context.bed?.end();
  if (t.context.folder) await rm(t.context.folder, { recursive: true, force: true });
});

type Make = (tar: Buffer, made: (script: string) => Promise<Buffer>) => Promise<Buffer>;
const kinds: readonly (readonly [string, Pick<ImageSource, 'diskFormat' | 'containerFormat'>, Make])[] = [
  ['OCI layout of two layers', { diskFormat: 'raw', containerFormat: 'docker' }, async (tar) => ociArchive([{ tar, packing: 'gzip' }, { tar: handmadeTar({ name: 'etc/', type: '5' }, { name: 'etc/second', data: 'layer' }), packing: 'zstd' }])],
  ['docker save archive', { diskFormat: 'raw', containerFormat: 'docker' }, async (tar) => dockerArchive([{ tar }])],
  ['SquashFS', { diskFormat: 'raw', containerFormat: 'bare' }, (_, made) => made('mksquashfs tree out -quiet -no-progress -all-root')],
  ['raw ext4', { diskFormat: 'raw', containerFormat: 'bare' }, (_, made) => made('mke2fs -q -t ext4 -d tree out 32M')],
  ['qcow2', { diskFormat: 'qcow2', containerFormat: 'bare' }, (_, made) => made('mke2fs -q -t ext4 -d tree raw 32M; qemu-img convert -O qcow2 raw out; rm raw')],
];

for (const [name, formats, make] of kinds) {
  real(`a server of an image as ${name}`, async (t) => {
    const { bed, folder, tar } = t.context;
    const { host } = bed;
    const bytes = await make(tar, async (script) => {
      await run('sh', ['-c', `set -e; rm -f out; ${script}`], { cwd: folder, timeoutMs: 120_000 });
      return await readFile(join(folder, 'out'));
    });
    const image: ImageSource = { id: randomUUID(), size: bytes.length, checksum: { algorithm: 'sha512', value: createHash('sha512').update(bytes).digest('hex') }, ...formats, open: async () => Readable.from([bytes]) };
    await operate((operation) => host.ensureImage(image, operation));
    const spec = makeSpec(image);
    await operate((operation) => host.create(spec, operation));
    await operate((operation) => host.startContainer(spec.id, operation));
    const count = async (): Promise<number> => Number(await inside(bed, spec.id, 'cat', '/run/count').catch(() => '0'));
    await until('counting', async () => (await count()) > 3, 30_000);
    t.regex(await host.consoleLog(spec.id, undefined), /guest is up: 0/);
    if (name.includes('two layers')) t.is(await inside(bed, spec.id, 'cat', '/etc/second'), 'layer');
    await operate((operation) => host.suspend(spec.id, operation));
    t.is((await host.view(spec.id)).state, 'suspended');
    await operate((operation) => host.resume(spec.id, operation));
    const resumed = await count();
    await until('counting on', async () => (await count()) > resumed + 3, 30_000);
    await operate((operation) => host.stopContainer(spec.id, { timeoutMs: 60_000, retryMs: 20_000 }, operation));
    t.regex(await host.consoleLog(spec.id, undefined), /guest goes down/);
    await operate((operation) => host.destroy(spec.id, operation));
  });
}

/** OCI layouts and docker save archives: what comes of good ones, and that bad ones leave nothing. */
import test from 'ava';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { archive, dockerArchive, goArch, ociArchive, sha256, type LayerInput } from './container-images.js';
import { bench, guestTar, handmadeTar, missing, operation, refused, source, through, type Bench, type Entry } from './helper.js';

const why = missing();
const host = why === undefined ? test : test.skip;
if (why !== undefined) console.error(`tests of container images skipped: ${why}`);

const docker = (id: string, bytes: Buffer, changes: Partial<ImageSource> = {}): ImageSource => source(id, bytes, { containerFormat: 'docker', ...changes });
const layer = (...entries: Entry[]): LayerInput => ({ tar: handmadeTar(...entries) });
const text = (root: string, name: string): string => readFileSync(join(root, name), 'utf8');

async function withBench(work: (b: Bench) => Promise<void>, limits: Parameters<typeof bench>[0] = {}): Promise<void> {
  const b = await bench(limits);
  try {
    await work(b);
  } finally {
    await b.close();
  }
}

const base = layer(
  { name: 'etc/', type: '5' }, { name: 'etc/one', data: '1' }, { name: 'etc/two', data: '2' }, { name: 'etc/three', data: '3' }, { name: 'gone/', type: '5' }, { name: 'gone/x', data: 'x' },
  { name: 'cleared/', type: '5', mode: 0o700, uid: 7 }, { name: 'cleared/old', data: 'old' }, { name: 'cleared/deep/', type: '5' }, { name: 'cleared/deep/er', data: 'old' },
  { name: 'folder/', type: '5' }, { name: 'folder/x', data: 'x' }, { name: 'file', data: 'f' }, { name: 'link', type: '2', link: 'etc' }, { name: 'space and\\back', data: 's' },
);
const second = layer(
  { name: './etc/', type: '5' }, { name: './etc/.wh.one' }, { name: 'etc/two', data: 'zwei', uid: 1000, mode: 0o4755 }, { name: '.wh.gone' }, { name: 'cleared/', type: '5', mode: 0o750, uid: 8 }, { name: 'cleared/.wh..wh..opq' },
  { name: 'cleared/new', data: 'new' }, { name: 'folder', data: 'now a file' }, { name: 'file/', type: '5' }, { name: 'file/inside', data: 'i' }, { name: '.wh..wh.plnk', data: '' }, { name: '.wh.space and\\back' },
);
const third = layer({ name: 'link/', type: '5' }, { name: 'link/own', data: 'own' }, { name: 'dev/', type: '5' }, { name: 'dev/null', type: '3' });

for (const [name, make] of [['OCI layout', ociArchive], ['docker save', dockerArchive]] as const) {
  host(`${name}: layers are laid over each other, whiteouts and all`, async (t) => withBench(async (b) => {
    const empty = { tar: Buffer.alloc(1024) };
    const layers = name === 'OCI layout' ? [{ ...base, packing: 'gzip' as const }, empty, { ...second, packing: 'zstd' as const }, third, third] : [base, empty, second, third, third];
    const op = operation();
    const run = { Entrypoint: ['/bin/serve'], Cmd: ['--fast'], Env: ['PATH=/bin', 'A=b=c'], User: 'web:www', WorkingDir: '/srv', StopSignal: 'SIGQUIT' };
    t.false(await b.images.ensure(docker('a', make(layers, { run })), op));
    const root = b.images.rootfs('a');
    t.deepEqual(readdirSync(root).sort(), ['cleared', 'dev', 'etc', 'file', 'folder', 'link']);
    t.deepEqual(readdirSync(join(root, 'etc')).sort(), ['three', 'two']);
    t.is(text(root, 'etc/two'), 'zwei');
    t.like(statSync(join(root, 'etc/two')), { uid: 1000 });
    t.is(statSync(join(root, 'etc/two')).mode & 0o7777, 0o4755);
    t.deepEqual(readdirSync(join(root, 'cleared')), ['new']);
    t.like(statSync(join(root, 'cleared')), { uid: 8 });
    t.is(text(root, 'folder'), 'now a file');
    t.is(text(root, 'file/inside'), 'i');
    t.true(lstatSync(join(root, 'link')).isDirectory(), 'a folder takes the place of a link');
    t.deepEqual(readdirSync(join(root, 'dev')), []);
    t.deepEqual(b.images.record('a').application, { args: ['/bin/serve', '--fast'], env: ['PATH=/bin', 'A=b=c'], user: 'web:www', cwd: '/srv', stopSignal: 'SIGQUIT' });
    t.deepEqual(readdirSync(join(b.images.path, b.images.record('a').key)).sort(), ['image.json', 'rootfs'], 'the parts are gone');
    t.deepEqual(await b.leftovers('a-'), []);
    t.is(op.progress, undefined);
  }));
}

host('a real system keeps its owners, set-uid bits, hard links and file capabilities; the outer archive may be packed too', async (t) => withBench(async (b) => {
  const tar = await guestTar();
  const shares: number[] = [];
  const op = operation();
  Object.defineProperty(op, 'progress', { set: (share?: number) => { if (share !== undefined) shares.push(share); }, get: () => undefined });
  await b.images.ensure(docker('a', through(ociArchive([{ tar, packing: 'gzip' }, second]), 'zstd', '-q')), op);
  const root = b.images.rootfs('a');
  t.like(statSync(join(root, 'etc/user')), { uid: 1000, nlink: 2 });
  t.is(statSync(join(root, 'setuid/cat')).mode & 0o7777, 0o4755);
  t.regex((await run('getcap', [join(root, 'capable/grep')])).stdout, /cap_net_raw=ep/);
  t.is(b.images.record('a').application, undefined, 'no program: a system');
  t.is(shares.at(-1), 1);
  t.deepEqual(shares, shares.toSorted((x, y) => x - y));
}));

host('of several platforms this host\'s is taken; signatures are no images', async (t) => withBench(async (b) => {
  const change = (files: Map<string, Buffer>): void => {
    const index = JSON.parse(files.get('index.json')?.toString() ?? '') as { manifests: Record<string, unknown>[] };
    const own = { ...index.manifests[0], platform: { os: 'linux', architecture: goArch } };
    const other = { ...own, digest: `sha256:${'0'.repeat(64)}`, platform: { os: 'linux', architecture: 'riscv64' } };
    const inner = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [other, own, { ...other, platform: { os: 'unknown', architecture: 'unknown' } }] }));
    files.set(`blobs/sha256/${sha256(inner)}`, inner);
    files.set('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: 'application/vnd.oci.image.index.v1+json', digest: `sha256:${sha256(inner)}`, size: inner.length }] })));
  };
  await b.images.ensure(docker('a', ociArchive([base], { change })), operation());
  t.is(text(b.images.rootfs('a'), 'etc/one'), '1');
}));

host('what Glance claims must be what the bytes are', async (t) => withBench(async (b) => {
  const small = handmadeTar({ name: 'etc/', type: '5' });
  await refused(t, b, source('a', ociArchive([base])), /container format bare, but it is an OCI layout/);
  await refused(t, b, source('b', dockerArchive([base])), /container format bare, but it is a docker save archive/);
  await refused(t, b, docker('c', small), /container format docker, but its archive is neither an OCI layout/);
  await refused(t, b, docker('d', Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), Buffer.alloc(100_000)])), /container format docker, but it is a QCOW2 disk image/);
  await refused(t, b, source('e', small, { diskFormat: 'qcow2' }), /disk format qcow2, container format bare, but it is a tar archive/);
  await refused(t, b, docker('f', small, { diskFormat: 'qcow2' }), /Glance has it as disk format qcow2, container format docker; Haulier takes/);
  await refused(t, b, docker('g', ociArchive([base]), { layer: true }), /a template is a raw\/bare tarball/);
}));

/** Changes the part of an archive that is JSON at the top. */
const edit = (name: string, work: (value: Readonly<Record<string, unknown>>) => unknown) => (files: Map<string, Buffer>): void => {
  files.set(name, Buffer.from(JSON.stringify(work(JSON.parse(files.get(name)?.toString() ?? '') as Record<string, unknown>))));
};

host('nonsense in manifests and configurations is refused by name', async (t) => withBench(async (b) => {
  const oci = (wrong: Parameters<typeof ociArchive>[1]): ImageSource => docker('x', ociArchive([base], wrong));
  const cases: readonly (readonly [ImageSource, RegExp])[] = [
    [oci({ change: (files) => files.set('index.json', Buffer.from('{')) }), /part index\.json is no JSON/],
    [oci({ change: (files) => files.set('index.json', Buffer.from('['.repeat(100_000))) }), /nested more than 64 deep/],
    [oci({ change: (files) => files.set('index.json', Buffer.alloc(5 * 1024 ** 2, ' ')) }), /has 5242880 bytes; at most/],
    [oci({ change: (files) => files.set('index.json', Buffer.from('{"manifests":[]}')) }), /has no image for linux/],
    [oci({ change: edit('index.json', (index) => ({ manifests: [...(index['manifests'] as unknown[]), { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${'1'.repeat(64)}`, size: 1 }] })) }), /holds 2 images/],
    [oci({ change: edit('index.json', (index) => ({ manifests: (index['manifests'] as Record<string, unknown>[]).map((one) => ({ ...one, digest: 'sha256:../../../etc/passwd' })) })) }), /without type, size and sha256/],
    [oci({ change: edit('index.json', (index) => ({ manifests: (index['manifests'] as Record<string, unknown>[]).map((one) => ({ ...one, size: 3 })) })) }), /bytes, not 3/],
    [oci({ change: (files) => files.set('oci-layout', Buffer.from('{"imageLayoutVersion":"7.0"}')) }), /OCI layout is of version "7\.0"/],
    [oci({ configBytes: Buffer.from('"nonsense"') }), /configuration is no JSON object/],
    [oci({ configBytes: Buffer.from(`{"a":"${'x'.repeat(5 * 1024 ** 2)}"}`) }), /at most 4194304 are read/],
    [oci({ config: { os: 'windows' } }), /for the system "windows"/],
    [oci({ config: { architecture: 's390x' } }), /for the architecture "s390x"/],
    [oci({ config: { rootfs: { diff_ids: 'many' } } }), /no list of layers/],
    [oci({ config: { rootfs: { diff_ids: [] } } }), /has 0 layers/],
    [oci({ config: { rootfs: { diff_ids: Array(2).fill(`sha256:${'1'.repeat(64)}`) } } }), /it has 1 layers, and its configuration names 2/],
    [oci({ config: { rootfs: { diff_ids: [`sha256:${'1'.repeat(64)}`] } } }), /layer 1 of 1 has the sha256 digest [0-9a-f]{64} when unpacked, not 1111/],
    [oci({ run: { Entrypoint: [1, 2] } }), /configuration names no program/],
    [oci({ run: { Cmd: ['x'], Env: ['NOVALUE'] } }), /'NOVALUE' in its environment/],
    [oci({ run: { Cmd: ['x'], WorkingDir: '../..' } }), /working directory that is not absolute/],
    [oci({ run: { Cmd: ['x'], StopSignal: 'KILL; reboot' } }), /stop signal that does not exist/],
    [oci({ run: { Cmd: ['x'], User: 'a b' } }), /a user that is not/],
    [oci({ run: { Cmd: ['x'.repeat(70_000)] } }), /longer than 60000 bytes/],
    [oci({ change: (files) => { for (const name of files.keys()) if (files.get(name)?.equals(base.tar)) files.delete(name); } }), /part blobs\/sha256\/[0-9a-f]+ is missing/],
    [oci({ change: (files) => { for (const [name, bytes] of files) if (bytes.equals(base.tar)) files.set(name, Buffer.concat([bytes.subarray(0, -600), Buffer.alloc(600, 1)])); } }), /sha256 checksum is [0-9a-f]{64}, not|tar: /],
    [docker('x', dockerArchive([base], { change: edit('manifest.json', (list) => [...(list as unknown as unknown[]), ...(list as unknown as unknown[])]) })), /holds 2 images; one is wanted/],
    [docker('x', dockerArchive([base], { change: edit('manifest.json', (list) => [{ ...(list as unknown as object[])[0], Layers: ['../../../../etc/shadow'] }]) })), /"\.\.\/\.\.\/.*no path in its archive/],
    [docker('x', dockerArchive([base], { change: edit('manifest.json', (list) => [{ ...(list as unknown as object[])[0], Config: '/etc/passwd' }]) })), /no path in its archive/],
    [docker('x', dockerArchive([base], { change: edit('manifest.json', () => [{ Config: 7 }]) })), /does not name a configuration/],
  ];
  for (const [image, reason] of cases) await refused(t, b, image, reason);
}));

host('links in the outer archive lead nowhere', async (t) => withBench(async (b) => {
  const victim = join(b.dir, 'victim');
  await mkdir(victim);
  await writeFile(join(victim, 'layer.tar'), base.tar, { mode: 0o600 });
  const config = Buffer.from(JSON.stringify({ os: 'linux', architecture: goArch, rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(base.tar)}`] } }));
  const body = (path: string, ...links: Entry[]): Buffer => {
    const good = archive(new Map([['config', config], ['manifest.json', Buffer.from(JSON.stringify([{ Config: 'config', Layers: [path] }]))]]));
    return Buffer.concat([good.subarray(0, -1024), handmadeTar(...links)]);
  };
  await refused(t, b, docker('a', body('l/layer.tar', { name: 'l', type: '2', link: victim })), /no plain file/);
  await refused(t, b, docker('b', body('l/layer.tar', { name: 'l/', type: '5' }, { name: 'l/layer.tar', type: '2', link: join(victim, 'layer.tar') })), /no plain file/);
  await refused(t, b, docker('c', body('l/layer.tar', { name: 'l/', type: '5' }, { name: 'l/layer.tar', type: '2', link: '../../../../victim/layer.tar' })), /no plain file/);
  await refused(t, b, docker('d', body('l', { name: 'l', type: '6' })), /no plain file/);
  await refused(t, b, docker('e', body('l', { name: 'l/', type: '5' })), /no plain file/);
  await refused(t, b, docker('f', body('l/layer.tar', { name: 'l/', type: '5' }, { name: 'l/layer.tar', type: '1', link: '../victim/layer.tar' })), /tar: /);
  t.true(readFileSync(join(victim, 'layer.tar')).equals(base.tar));
}));

host('hostile layers write nothing outside and leave nothing behind', async (t) => withBench(async (b) => {
  const victim = join(b.dir, 'victim');
  await mkdir(victim);
  await writeFile(join(victim, 'secret'), 'secret', { mode: 0o600 });
  const of = (...layers: LayerInput[]): ImageSource => docker('x', ociArchive(layers));
  const link = (target: string): LayerInput => layer({ name: 'link', type: '2', link: target }, { name: 'd/', type: '5' });
  const cases: readonly (readonly [ImageSource, RegExp])[] = [
    [of(link(victim), layer({ name: 'link/evil', data: 'x' })), /layer 2 of 2 writes link\/evil through the symbolic link link of an earlier layer/],
    [of(link('../../../victim'), layer({ name: './link/evil', data: 'x' })), /through the symbolic link link/],
    [of(link('d'), layer({ name: 'link/evil', data: 'x' })), /through the symbolic link link/],
    [of(link(victim), layer({ name: 'link/.wh.secret' })), /through the symbolic link link/],
    [of(link(victim), layer({ name: 'link/.wh..wh..opq' })), /through the symbolic link link/],
    [of(base, layer({ name: '.wh...' })), /whiteout \.wh\.\.\. that names nothing/],
    [of(base, layer({ name: '.wh.' })), /whiteout \.wh\. that names nothing/],
    [of(base, layer({ name: 'etc/.wh..' })), /that names nothing/],
    [of(base, layer({ name: '../.wh.victim' })), /contains '\.\.'/],
    [of(base, layer({ name: 'etc/../../../victim/.wh.secret' })), /contains '\.\.'/],
    [of(base, layer({ name: '.wh.etc/', type: '5' })), /whiteout \.wh\.etc that is no plain file/],
    [of(base, layer({ name: '.wh.etc', type: '2', link: victim })), /that is no plain file/],
    [of(base, layer({ name: 'hard', type: '1', link: '../../../victim/secret' })), /tar: /],
    [of(base, layer({ name: 'hard', type: '1', link: join(victim, 'secret') })), /tar: hard: Cannot hard link/],
    [of(layer({ name: 'link', type: '2', link: victim }, { name: 'link/evil', data: 'x' })), /tar: link\/evil: Cannot open/],
    [of(layer({ name: 'big', data: 'x', uid: 100_000 })), /owned by 100000/],
    [of(layer(...Array.from({ length: 1500 }, (_, n) => ({ name: `a${n}` }))), layer(...Array.from({ length: 1500 }, (_, n) => ({ name: `b${n}` })))), /more than 2000 entries/],
    [docker('x', archive(new Map(Array.from({ length: 5001 }, (_, n) => [`part${n}`, Buffer.alloc(0)])))), /more than 5000 entries/],
    [of({ tar: handmadeTar({ name: 'zeros', data: '\0'.repeat(70 * 1024 ** 2) }), packing: 'gzip' }), /unpacks to more than|larger than/],
    [of({ tar: handmadeTar({ name: 'a', data: '\0'.repeat(40 * 1024 ** 2) }), packing: 'gzip' }, { tar: handmadeTar({ name: 'b', data: '\0'.repeat(40 * 1024 ** 2) }), packing: 'zstd' }), /unpacks to more than/],
    [of({ tar: Buffer.alloc(4096, 'x') }), /it is of an unknown format/],
    [of({ tar: base.tar.subarray(0, -1024) }), /end-of-archive mark is missing/],
    [of({ tar: handmadeTar({ name: 'etc/file', data: 'x'.repeat(10_000) }).subarray(0, 4096) }), /tar: |cut off/],
    [docker('x', ociArchive([base]).subarray(0, 3000), { checksum: undefined }), /tar: |ends after/],
  ];
  for (const [image, reason] of cases) await refused(t, b, image, reason);
  t.is(readFileSync(join(victim, 'secret'), 'utf8'), 'secret');
  t.deepEqual(readdirSync(victim), ['secret']);
}, { maxBytes: 64 * 1024 ** 2, maxEntries: 2000 }));

host('links inside one image, which the container itself would follow, are kept', async (t) => withBench(async (b) => {
  await b.images.ensure(docker('a', ociArchive([layer({ name: 'run', type: '2', link: '/var/run' }, { name: 'up', type: '2', link: '../../..' }), layer({ name: 'run', type: '2', link: 'other' })])), operation());
  t.is(readlinkSync(join(b.images.rootfs('a'), 'run')), 'other');
  t.is(readlinkSync(join(b.images.rootfs('a'), 'up')), '../../..');
}));

host('an image that takes too long is given up, and leaves nothing', async (t) => withBench(async (b) => {
  const bytes = handmadeTar({ name: 'a', data: 'x'.repeat(200_000) });
  const stalled = (): Readable => {
    const stream = new Readable({ read: () => undefined });
    stream.push(bytes.subarray(0, 100_000));
    return stream;
  };
  const alive = setInterval(() => undefined, 1000); // as the service's own timers are
  try {
    await refused(t, b, { ...source('x', bytes), open: async () => stalled() }, /took more than 1 s/);
    await refused(t, b, { ...docker('x', bytes), open: async () => stalled() }, /took more than 1 s/);
  } finally {
    clearInterval(alive);
  }
}, { maxSeconds: 1 }));

host('what umoci and skopeo make of an image is the same tree', async (t) => {
  if (!existsSync('/usr/bin/skopeo') || !existsSync('/usr/bin/umoci')) {
    console.error('SKIPPED: no skopeo or umoci on this host');
    t.pass();
    return;
  }
  await withBench(async (b) => {
    const work = await mkdtemp('/var/tmp/umoci-');
    try {
      // umoci makes the layers itself, from what has changed in a folder
      const script = `set -e; umoci init --layout l; umoci new --image l:x; umoci unpack --image l:x b; cp -a "$0"/etc "$0"/gone "$0"/cleared b/rootfs/; umoci repack --refresh-bundle --image l:x b
        rm -r b/rootfs/gone b/rootfs/etc/one; echo zwei > b/rootfs/etc/two; chown 1000 b/rootfs/etc/two; rm -r b/rootfs/cleared/*; umoci repack --refresh-bundle --image l:x b
        umoci config --image l:x --config.entrypoint /bin/serve --config.user 7:8 --config.stopsignal SIGINT; tar -C l -cf l.tar .; skopeo --insecure-policy copy -q oci:l:x docker-archive:d.tar:x:latest; mkdir again; umoci unpack --image l:x again/b`;
      await mkdir(join(work, 'base'));
      await run('tar', ['-C', join(work, 'base'), '-xf', '-'], { input: base.tar });
      await run('sh', ['-c', `cd ${work}; ${script}`, join(work, 'base')], { timeoutMs: 120_000 });
      for (const name of ['l', 'd']) {
        await b.images.ensure(docker(name, await readFile(join(work, `${name}.tar`))), operation());
        const root = b.images.rootfs(name);
        t.deepEqual(readdirSync(join(root, 'etc')).sort(), ['three', 'two']);
        t.false(existsSync(join(root, 'gone')));
        t.deepEqual(readdirSync(join(root, 'cleared')), []);
        t.like(b.images.record(name).application, { args: ['/bin/serve'], user: '7:8', stopSignal: 'SIGINT' });
        const list = async (folder: string): Promise<string> => (await run('find', [folder, '-mindepth', '1', '-not', '-path', `${folder}/dev`, '-printf', '%P %y %m %U:%G %s\n'])).stdout.split('\n').sort().map((line) => line.replace(/( d .*) \d+$/, '$1')).join('\n');
        t.is(await list(root), await list(join(work, 'again/b/rootfs')), `${name}: as umoci unpacks it`);
      }
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
});

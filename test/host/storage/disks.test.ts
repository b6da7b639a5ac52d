/** SquashFS, raw and qcow2 disks as images: what comes of good ones, and that bad ones leave nothing. */
import test from 'ava';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findCommand, run } from '../../../src/base/run.js';
import { runJailed } from '../../../src/container/image/jailed-run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { bench, guestTar, missing, operation, refused, source, type Bench } from './helper.js';

const lacking = ['qemu-img', 'fuse2fs', 'sqfs2tar', 'mksquashfs', 'mke2fs'].filter((name) => findCommand(name) === name);
const why = missing() ?? (lacking.length > 0 ? `no ${lacking.join(', ')}` : existsSync('/dev/fuse') ? undefined : 'no /dev/fuse');
const host = why === undefined ? test.serial : test.skip;
if (why !== undefined) console.error(`tests of disk images skipped: ${why}`);

const mebi = 1024 ** 2;
let folder: string;
/** A tree, and a file system of it of each kind. */
let tree: string;
let ext4: Buffer;

test.before(async () => {
  if (why !== undefined) return;
  folder = await mkdtemp('/var/tmp/disks-');
  tree = join(folder, 'tree');
  await mkdir(tree);
  await writeFile(join(folder, 'tree.tar'), await guestTar());
  await run('tar', ['-C', tree, '--xattrs', '--xattrs-include=security.capability', '-xpf', join(folder, 'tree.tar')]);
  await run('mkfifo', [join(tree, 'var/data/fifo')]);
  ext4 = await disk('mke2fs -q -t ext4 -d tree out 128M');
});
test.after.always(async () => { if (folder) await rm(folder, { recursive: true, force: true }); });

/** Runs a shell line that makes `out`, and takes it. */
async function disk(script: string): Promise<Buffer> {
  await run('sh', ['-c', `set -e; rm -f out; ${script}`], { cwd: folder, timeoutMs: 120_000 });
  return await readFile(join(folder, 'out'));
}

/** One partition: its type (of an MBR a number, of a GPT a GUID), first sector and sectors. */
type Partition = readonly [type: number | string, start: number, sectors: number];
const linux = '0fc63daf-8483-4772-8e79-3d69d8477de4';
const rootX64 = '4f68bce3-e8cd-4db1-96e7-fbcaf984b709';
const biosBoot = '21686148-6449-6e6f-744e-656564454649';
const efi = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';
const whole: readonly [number, number] = [2048, 262_144];

/** A disk with the ext4 file system at sector 2048, and a table that says so, or something else. */
function partitioned(...partitions: readonly Partition[]): Buffer {
  const out = Buffer.alloc(140 * mebi);
  ext4.copy(out, 2048 * 512);
  out.writeUInt16BE(0x55aa, 510);
  const gpt = typeof partitions[0]?.[0] === 'string';
  if (gpt) {
    out[450] = 0xee; // protective
    out.write('EFI PART', 512);
    out.writeBigUInt64LE(2n, 512 + 72);
    out.writeUInt32LE(128, 512 + 80);
    out.writeUInt32LE(128, 512 + 84);
  }
  partitions.forEach(([type, start, sectors], index) => {
    if (typeof type === 'number') {
      const at = 446 + 16 * index;
      out[at + 4] = type;
      out.writeUInt32LE(start, at + 8);
      out.writeUInt32LE(sectors, at + 12);
      return;
    }
    const at = 1024 + 128 * index;
    type.split('-').forEach((part, field) => {
      const bytes = Buffer.from(part, 'hex');
      (field < 3 ? bytes.reverse() : bytes).copy(out, at + ([0, 4, 6, 8, 10][field] ?? 0));
    });
    out.writeBigUInt64LE(BigInt(start), at + 32);
    out.writeBigUInt64LE(BigInt(start + sectors - 1), at + 40);
  });
  return out;
}
const qcow2 = (id: string, bytes: Buffer, changes: Partial<ImageSource> = {}): ImageSource => source(id, bytes, { diskFormat: 'qcow2', ...changes });

async function withBench(work: (b: Bench) => Promise<void>, limits: Parameters<typeof bench>[0] = {}): Promise<void> {
  const b = await bench(limits);
  try {
    await work(b);
  } finally {
    await b.close();
  }
}

const kinds: readonly (readonly [string, () => Promise<Buffer>, (id: string, bytes: Buffer) => ImageSource])[] = [
  ['squashfs', () => disk('mksquashfs tree out -quiet -no-progress -comp zstd'), source],
  ['ext4', async () => ext4, source],
  ['ext2', () => disk('mke2fs -q -t ext2 -d tree out 128M'), source],
  ['mbr', async () => partitioned([0x83, ...whole]), source],
  ['gpt', async () => partitioned([linux, ...whole], [biosBoot, 270_000, 2048], [efi, 272_048, 2048]), source],
  ['qcow2', async () => { await writeFile(join(folder, 'raw'), ext4); return await disk('qemu-img convert -O qcow2 -c raw out'); }, qcow2],
  ['qcow2-gpt', async () => { await writeFile(join(folder, 'raw'), partitioned([rootX64, ...whole])); return await disk('qemu-img convert -O qcow2 -o compat=0.10 raw out'); }, qcow2],
];
for (const [name, make, claim] of kinds) {
  host(`an image as ${name} is unpacked as it is`, async (t) => withBench(async (b) => {
    const op = operation();
    t.false(await b.images.ensure(claim(name, await make()), op));
    const root = b.images.rootfs(name);
    t.is(readFileSync(join(root, 'etc/owned'), 'utf8'), 'root\n');
    t.like(statSync(join(root, 'etc/user')), { uid: 1000, gid: 1000, nlink: 2 });
    t.is(statSync(join(root, 'etc/last')).uid, 65_535);
    t.is(statSync(join(root, 'setuid/cat')).mode & 0o7777, 0o4755);
    t.is(statSync(join(root, 'tmp')).mode & 0o7777, 0o1777);
    t.true(lstatSync(join(root, 'etc/absolute')).isSymbolicLink());
    t.true(lstatSync(join(root, 'var/data/fifo')).isFIFO());
    t.regex((await run('getcap', [join(root, 'capable/grep')])).stdout, /cap_net_raw=ep/);
    t.true(readFileSync(join(root, 'var/data/random')).equals(readFileSync(join(tree, 'var/data/random'))));
    t.is(statSync(join(root, 'var/data/sparse')).size, 32 * mebi);
    t.deepEqual(readdirSync(join(root, 'dev')), []);
    t.false(existsSync(join(root, 'var/data/zero')), 'device nodes are left out');
    t.false(existsSync(join(root, 'lost+found')));
    t.deepEqual(readdirSync(join(b.images.path, b.images.record(name).key)).sort(), ['image.json', 'rootfs'], 'the disk is gone');
    t.deepEqual(await b.leftovers(`${name}-`), []);
    t.is(execFileSync('sh', ['-c', 'pgrep -c fuse2fs || true'], { encoding: 'utf8' }).trim(), '0');
  }));
}

host('disks that are not what they seem are refused, and leave nothing', async (t) => withBench(async (b) => {
  const squash = await disk('mksquashfs tree out -quiet -no-progress');
  const made = async (script: string): Promise<Buffer> => await disk(script);
  await writeFile(join(folder, 'raw'), ext4);
  const good = await made('qemu-img convert -O qcow2 raw out');
  const changed = (at: number, bytes: Buffer): Buffer => { const copy = Buffer.from(good); bytes.copy(copy, at); return copy; };
  const number = (value: number, width: number): Buffer => { const bytes = Buffer.alloc(width); bytes.writeUIntBE(value, Math.max(0, width - 6), Math.min(6, width)); return bytes; };
  const unchecked = { checksum: undefined, size: undefined };
  const cases: readonly (readonly [ImageSource, RegExp])[] = [
    [qcow2('x', await made('echo secret > /var/tmp/backing; qemu-img create -q -f qcow2 -b /etc/passwd -F raw out 1M')), /a QCOW2 image with a backing file/],
    [qcow2('x', await made('qemu-img create -q -f qcow2 -o data_file=/var/tmp/data.raw out 1M; rm -f /var/tmp/data.raw /var/tmp/backing')), /data are in another file/],
    [qcow2('x', changed(32, number(1, 4))), /encrypted QCOW2/],
    [qcow2('x', changed(4, number(9, 4))), /QCOW2 version is 9/],
    [qcow2('x', changed(20, number(40, 4))), /cluster size is 2\^40/],
    [qcow2('x', changed(24, number(2 ** 44, 8))), /QCOW2 disk has 17592186044416 bytes; at most/],
    [qcow2('x', changed(24, number(0, 8))), /has no bytes/],
    [qcow2('x', changed(72, number(2, 8))), /marked as corrupt/],
    [qcow2('x', changed(72, number(2 ** 20, 8))), /unknown features/],
    [qcow2('x', changed(40, number(2 ** 40, 8))), /its disk cannot be read: qemu-img: |all zeros/],
    [qcow2('x', changed(36, number(2 ** 31, 4))), /its disk cannot be read: qemu-img: /],
    [qcow2('x', good.subarray(0, 70_000)), /its disk cannot be read: qemu-img: |ext2\/3\/4|of file systems/],
    [qcow2('x', good.subarray(0, 40)), /header is cut off|ends after/],
    [qcow2('x', good.subarray(0, 100_000), { size: good.length, checksum: undefined }), /ends after 100000 of \d+ bytes/],
    [qcow2('x', good, { checksum: { algorithm: 'md5', value: '00112233445566778899aabbccddeeff' } }), /md5 checksum is/],
    [qcow2('x', await made('qemu-img create -q -f qcow2 out 64M')), /it is all zeros; of file systems/],
    [source('x', good), /disk format raw, container format bare, but it is a QCOW2 disk image/],
    [qcow2('x', ext4), /disk format qcow2, container format bare, but it is an ext2\/3\/4/],
    [source('x', ext4.subarray(0, 300_000), unchecked), /its disk cannot be read: fuse2fs|tar: |cut off/],
    [source('x', squash.subarray(0, 60_000), unchecked), /its disk cannot be read: sqfs2tar/],
    [source('x', Buffer.concat([squash.subarray(0, 2000), Buffer.alloc(squash.length - 2000, 0x5a)])), /its disk cannot be read: sqfs2tar/],
    [source('x', partitioned([0x83, 2048, 1000], [0x83, 4096, 1000])), /has 2 Linux partitions/],
    [source('x', partitioned([0x82, ...whole])), /has no Linux partition/],
    [source('x', partitioned([linux, 270_000, 4096])), /the disk's Linux partition is all zeros; ext2/],
    [source('x', partitioned([0x83, ...whole]).subarray(0, 100 * mebi), unchecked), /reaches past its end/],
    [source('x', Buffer.concat([Buffer.from('XFSB'), Buffer.alloc(100_000)])), /it is an XFS file system image; of file systems/],
  ];
  for (const [image, reason] of cases) await refused(t, b, image, reason);
}, { maxBytes: 512 * mebi }));

host('the jail of a FUSE tool: it may mount, but what it sees of the host stays read-only, and no cgroup is there to be had', async (t) => {
  const script = [
    'mount -n -t tmpfs none /tree && umount -n /tree && echo mounts',
    'for path in /usr /bin /lib /dev/fuse; do mount -n -o remount,bind,rw $path 2>/dev/null && echo "$path is writable"; done',
    'mount -n --bind /usr /tree && mount -n -o remount,bind,rw /tree 2>/dev/null && echo "a bind of /usr is writable"',
    'umount -n /tree; touch /usr/written 2>/dev/null && rm /usr/written && echo written',
    'chmod 600 /dev/fuse 2>/dev/null && echo "the device is changed"',
    'for type in cgroup2 proc sysfs; do mount -n -t $type none /tree 2>/dev/null && echo "$type is mounted"; done',
    'echo done',
  ].join('\n');
  const end = await runJailed(['sh', '-c', script], { fuse: true }, undefined, new AbortController().signal);
  t.is(end.stdout, 'mounts\ndone\n', end.stderr);
});

host('a jailed command that writes without end is ended', async (t) => {
  await t.throwsAsync(runJailed(['yes'], {}, undefined, new AbortController().signal, 100_000), { code: 'COMMAND_FAILED', message: /writes more than 100000 bytes/ });
});

host('bombs stop at the limits', async (t) => withBench(async (b) => {
  const bomb = 'rm -rf bomb; mkdir bomb; truncate -s 3G bomb/zeros';
  await refused(t, b, source('x', await disk(`${bomb}; mksquashfs bomb out -quiet -no-progress`)), /unpacks to more than|larger than/);
  await refused(t, b, source('x', await disk(`${bomb}; mke2fs -q -t ext4 -d bomb out 16M`)), /larger than/);
  await refused(t, b, source('x', await disk('rm -rf bomb; mkdir bomb; cd bomb; seq 3000 | xargs touch; cd ..; mksquashfs bomb out -quiet -no-progress')), /more than 2000 entries/);
  await refused(t, b, source('x', Buffer.concat([ext4, Buffer.alloc(130 * mebi)])), /has more than 209715200 bytes/);
  await writeFile(join(folder, 'raw'), ext4);
  await refused(t, b, qcow2('x', await disk('qemu-img create -q -f qcow2 out 1T')), /QCOW2 disk has 1099511627776 bytes/);
}, { maxBytes: 200 * mebi, maxEntries: 2000 }));

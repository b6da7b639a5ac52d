import test from 'ava';
import { existsSync, readdirSync, readFileSync, lstatSync, statSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/base/run.js';
import { bench, guestTar, handmadeTar, missing, operation, refused, source, through, type Entry } from './helper.js';

const why = missing();
const host = why === undefined ? test : test.skip;
if (why !== undefined) console.error(`storage tests skipped: ${why}`);

let guest: Buffer;
test.before(async () => { if (why === undefined) guest = await guestTar(); });

const packings: readonly [string, (bytes: Buffer) => Buffer][] = [
  ['tar', (bytes) => bytes], ['gz', (bytes) => through(bytes, 'gzip', '-1')], ['xz', (bytes) => through(bytes, 'xz', '-0')], ['zst', (bytes) => through(bytes, 'zstd', '-q')],
];
for (const [name, pack] of packings) {
  host(`an image as ${name} may go on after the archive's end: the padding is read, and counts for the checksum`, async (t) => {
    const b = await bench();
    try {
      const padded = pack(Buffer.concat([handmadeTar({ name: 'etc/', type: '5' }, { name: 'etc/file', data: 'x' }), Buffer.alloc(8 * 1024 ** 2)]));
      for (let round = 0; round < 5; round++) {
        const id = `${name}${round}`;
        t.false(await b.images.ensure(source(id, padded), operation()));
        t.is(readFileSync(join(b.images.rootfs(id), 'etc/file'), 'utf8'), 'x');
      }
    } finally {
      await b.close();
    }
  });

  host(`an image as ${name} is unpacked as it is`, async (t) => {
    const b = await bench();
    try {
      const op = operation();
      t.false(await b.images.ensure(source(name, pack(guest)), op));
      const root = b.images.rootfs(name);
      t.is(readFileSync(join(root, 'etc/owned'), 'utf8'), 'root\n');
      t.like(statSync(join(root, 'etc/user')), { uid: 1000, gid: 1000, nlink: 2 });
      t.is(statSync(join(root, 'etc/last')).uid, 65_535);
      t.is(statSync(join(root, 'setuid/cat')).mode & 0o7777, 0o4755);
      t.is(statSync(join(root, 'tmp')).mode & 0o7777, 0o1777);
      t.is(statSync(root).mode & 0o7777, 0o755);
      t.true(lstatSync(join(root, 'etc/absolute')).isSymbolicLink());
      t.true(statSync(join(root, 'var/data/sparse')).blocks < 100);
      t.regex((await run('getcap', [join(root, 'capable/grep')])).stdout, /cap_net_raw=ep/);
      t.deepEqual(readdirSync(join(root, 'dev')), []);
      t.false(existsSync(join(root, 'var/data/zero')), 'device nodes are left out');
      t.is(statSync(b.images.path).mode & 0o777, 0o700);
      t.is(op.progress, undefined);
      t.deepEqual(await b.leftovers(`${name}-`), []);
    } finally {
      await b.close();
    }
  });
}

host('a second caller, and a second store after a restart, download nothing', async (t) => {
  const b = await bench();
  try {
    let opened = 0;
    const image = source('again', guest, { opened: () => { opened++; } });
    await b.images.ensure(image, operation());
    const used = (await run('du', ['-sk', b.dir])).stdout;
    t.true(await b.images.ensure(image, operation()));
    await b.images.start();
    t.true(await b.images.ensure(image, operation()));
    t.is(opened, 1);
    t.is((await run('du', ['-sk', b.dir])).stdout, used);
    t.deepEqual(b.images.list(), ['again']);
  } finally {
    await b.close();
  }
});

const small = (): Buffer => handmadeTar({ name: 'etc/', type: '5' }, { name: 'etc/file', data: 'x'.repeat(100_000) });
host('bytes that are not what Glance says are refused', async (t) => {
  const b = await bench();
  try {
    const gz = through(guest, 'gzip', '-1');
    await refused(t, b, source('a', guest, { checksum: { algorithm: 'md5', value: '00112233445566778899aabbccddeeff' } }), /md5 checksum is [0-9a-f]{32}, not 0011/);
    await refused(t, b, source('b', guest.subarray(0, 3_000_000), { size: guest.length }), /ends after 3000000 of \d+ bytes/);
    await refused(t, b, source('c', gz.subarray(0, 2_000_000), { size: gz.length }), /ends after 2000000 of \d+ bytes/);
    await refused(t, b, source('d', gz.subarray(0, 2_000_000), { checksum: undefined }), /gzip data are damaged: gzip: .*unexpected end of file/);
    await refused(t, b, source('e', guest.subarray(0, 3_000_320), { checksum: undefined }), /tar: Unexpected EOF in archive/);
    await refused(t, b, source('f', small().subarray(0, -1024), { checksum: undefined }), /end-of-archive mark is missing/);
    await refused(t, b, source('g', guest.subarray(0, 100), { size: guest.length }), /ends after 100 of/);
    await refused(t, b, source('h', Buffer.concat([guest, guest]), { size: guest.length }), /more than the \d+ bytes/);
    const damaged = Buffer.from(gz);
    damaged.fill(0x55, 1_000_000, 1_000_100);
    await refused(t, b, source('i', damaged), /gzip data are damaged|tar: /);
    const xz = through(guest, 'xz', '-0');
    await refused(t, b, source('j', xz.subarray(0, 1_000_000), { checksum: undefined }), /xz data are damaged: .*Unexpected end of input/);
    await refused(t, b, source('k', guest, { checksum: { algorithm: 'rot13', value: 'aa' } }), /'rot13'/);
  } finally {
    await b.close();
  }
});

host('formats other than a tarball are refused by name', async (t) => {
  const b = await bench();
  try {
    const qcow = Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), Buffer.alloc(200_000, 7)]);
    await refused(t, b, source('a', qcow), /disk format raw, container format bare, but it is a QCOW2 disk image/);
    await refused(t, b, source('b', through(qcow, 'gzip')), /gzip of something else: a QCOW2 disk image/);
    await refused(t, b, source('c', through(Buffer.alloc(10), 'zstd', '-q')), /zstd of something else: all zeros/);
    await refused(t, b, source('d', through(through(small(), 'gzip'), 'xz')), /xz of something else: gzip data/);
    await refused(t, b, source('e', Buffer.alloc(0)), /it is empty/);
    await refused(t, b, source('f', through(Buffer.alloc(0), 'gzip')), /gzip of something else: empty/);
    await refused(t, b, source('g', small(), { diskFormat: 'qcow2' }), /disk format qcow2, container format bare, but it is a tar archive/);
    await refused(t, b, source('h', small(), { containerFormat: 'ova' }), /disk format raw, container format ova; Haulier takes raw\/bare/);
    await refused(t, b, source('../../x', small()), /not of a usable form/);
  } finally {
    await b.close();
  }
});

host('hostile archives write nothing outside and leave nothing behind', async (t) => {
  const b = await bench({ maxBytes: 64 * 1024 * 1024, maxEntries: 2000 });
  try {
    const victim = join(b.dir, 'victim');
    await mkdir(victim);
    await run('sh', ['-c', `echo secret > ${victim}/secret; chmod 600 ${victim}/secret`]);
    const evil: Entry = { name: 'link/file', data: 'evil' };
    await refused(t, b, source('a', handmadeTar({ name: '../../../victim/file', data: 'evil' })), /tar: .*contains '\.\.'/);
    await refused(t, b, source('b', handmadeTar({ name: 'link', type: '2', link: victim }, evil)), /tar: link\/file: Cannot open/);
    await refused(t, b, source('c', handmadeTar({ name: 'link', type: '2', link: '../../../victim' }, evil)), /tar: link\/file: Cannot open/);
    await refused(t, b, source('d', handmadeTar({ name: 'd/', type: '5' }, { name: 'd/up', type: '2', link: '..' }, { name: 'link', type: '2', link: 'd/up/../../../victim' }, evil)), /tar: /);
    await refused(t, b, source('e', handmadeTar({ name: 'hard', type: '1', link: `${victim}/secret` })), /tar: hard: Cannot hard link/);
    await refused(t, b, source('f', handmadeTar({ name: 'hard', type: '1', link: '../../../victim/secret' })), /tar: /);
    await refused(t, b, source('g', handmadeTar({ name: 'x', uid: 65_536 })), /owned by 65536:0/);
    await refused(t, b, source('h', handmadeTar({ name: 'x/', type: '5', uid: 100_000 })), /owned by 100000:0/);
    await refused(t, b, source('i', handmadeTar(...Array.from({ length: 2001 }, (_, i) => ({ name: `f${i}` })))), /more than 2000 entries/);
    await refused(t, b, source('j', through(handmadeTar({ name: 'zeros', data: '\0'.repeat(80 << 20) }), 'gzip', '-1')), /unpacks to more than 67108864 bytes/);
    await refused(t, b, source('k', await sparse('1T')), /larger than the limit/);
    await refused(t, b, source('l', await sparse('40M', 3)), /larger than 67108864 bytes together/);
    t.deepEqual(readdirSync(victim), ['secret']);
    t.is(await readFile(join(victim, 'secret'), 'utf8'), 'secret\n');
    t.is(statSync(join(victim, 'secret')).nlink, 1);
  } finally {
    await b.close();
  }
});

host('absolute names, whole-system links and device nodes of an honest archive do no harm', async (t) => {
  const b = await bench();
  try {
    const archive = handmadeTar({ name: '/etc/', type: '5' }, { name: '/etc/passwd', data: 'p' }, { name: 'abs', type: '2', link: '/etc/passwd' }, { name: 'up', type: '2', link: '../../../../etc/passwd' },
      { name: 'dev/', type: '5' }, { name: 'dev/null', type: '3' }, { name: 'srv/dev/', type: '5' }, { name: 'srv/dev/null', type: '3' }, { name: 'srv/dev/file', data: 'f' });
    await b.images.ensure(source('abs', archive), operation());
    const root = b.images.rootfs('abs');
    t.is(readFileSync(join(root, 'etc/passwd'), 'utf8'), 'p');
    t.deepEqual(readdirSync(join(root, 'dev')), []);
    t.deepEqual(readdirSync(join(root, 'srv/dev')), ['file']);
    t.true(lstatSync(join(root, 'up')).isSymbolicLink());
  } finally {
    await b.close();
  }
});

async function sparse(size: string, files = 1): Promise<Buffer> {
  const result = await run('bash', ['-c', `d=$(mktemp -d); cd $d; for i in $(seq ${files}); do truncate -s ${size} f$i; done; tar -Scf - . | base64; rm -rf $d`]);
  return Buffer.from(result.stdout, 'base64');
}

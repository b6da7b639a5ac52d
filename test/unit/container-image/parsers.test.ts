/** What strangers' bytes are read by: listings, container images' configurations, QCOW2 headers, partition tables, users, signals. */
import test from 'ava';
import { isOwnInit, parseApplication } from '../../../src/container/application/config.js';
import { lookUp } from '../../../src/container/application/user.js';
import { claimOf, requireClaim } from '../../../src/container/image/claim.js';
import { findFileSystem } from '../../../src/container/image/disk/partitions.js';
import { checkQcow2 } from '../../../src/container/image/disk/qcow2.js';
import { machine, parseConfig } from '../../../src/container/image/oci/config.js';
import { parseListing } from '../../../src/container/image/tar.js';
import { signalWord } from '../../../src/container/shutdown.js';
import type { ImageSource } from '../../../src/container/spec.js';

test('lines of a tar listing', (t) => {
  t.deepEqual(parseListing('-rw-r--r-- 0/0               5 2023-11-14 22:13 etc/file'), { type: '-', name: 'etc/file' });
  t.deepEqual(parseListing('drwxr-xr-x 1000/65535        0 2023-11-14 22:13 ./a b/'), { type: 'd', name: './a b/' });
  t.deepEqual(parseListing('crw-r--r-- 0/0             1,3 2023-11-14 22:13 dev/null'), { type: 'c', name: 'dev/null' });
  t.deepEqual(parseListing('lrwxrwxrwx 0/0               0 2023-11-14 22:13 link -> /etc'), { type: 'l', name: 'link' });
  t.deepEqual(parseListing('hrw-r--r-- 0/0               0 2023-11-14 22:13 b link to a'), { type: 'h', name: 'b' });
  t.deepEqual(parseListing('-rw-r--r-- 0/0 0 2023-11-14 22:13  a\\nb\\\\n\\303\\274\\t'), { type: '-', name: ' a\nb\\n\xc3\xbc\t' });
  t.deepEqual(parseListing('-rw-r--r-- 0/0 5 292277026596-12-04 15:30 a -> b link to c'), { type: '-', name: 'a -> b link to c' });
  for (const line of [
    'nonsense', '-rw-r--r-- 0/0 5 9223372036854775807 a b', 'lrwxrwxrwx 0/0 0 2023-11-14 22:13 a -> b -> c', 'lrwxrwxrwx 0/0 0 2023-11-14 22:13 a',
    'hrw-r--r-- 0/0 0 2023-11-14 22:13 a link to b link to c',
  ]) t.is(parseListing(line), undefined, line);
});

const diff = `sha256:${'a'.repeat(64)}`;
const config = (change: object, run: object = {}): unknown => ({ os: 'linux', architecture: machine(process.arch), rootfs: { diff_ids: [diff] }, config: run, ...change });
const parse = (value: unknown): ReturnType<typeof parseConfig> => parseConfig('i', value, process.arch);

test('configurations: what is run', (t) => {
  t.deepEqual(parse(config({})), { diffIds: [diff], application: undefined });
  t.deepEqual(parse(config({ config: null })).application, undefined);
  t.deepEqual(parse(config({}, { Entrypoint: null, Cmd: ['a'], Env: null, User: '', WorkingDir: '' })).application, { args: ['a'], env: [], user: '', cwd: '/', stopSignal: 'SIGTERM' });
  t.deepEqual(parse(config({}, { Entrypoint: ['a'], Cmd: ['b'] })).application?.args, ['a', 'b']);
  t.deepEqual(parse(config({}, { Cmd: 'a b' })).application?.args, ['/bin/sh', '-c', 'a b']);
  for (const bad of [undefined, 7, [], 'x']) t.throws(() => parse(bad), { message: /no JSON object/ });
  t.throws(() => parse(config({}, { Entrypoint: { a: 1 } })), { message: /names no program/ });
  t.throws(() => parse(config({ rootfs: { diff_ids: Array(128).fill(diff) } })), { message: /has 128 layers/ });
  t.throws(() => parse(config({ rootfs: { diff_ids: ['md5:0'] } })), { message: /no list of layers/ });
});

test('applications: what is no configuration', (t) => {
  const good = { args: ['a'], env: ['A=1'], user: 'a:b', cwd: '/x', stopSignal: 'RTMIN+3' };
  t.deepEqual(parseApplication(good), good);
  for (const [change, words] of [
    [{ args: [] }, /no program/], [{ args: [''] }, /no program/], [{ args: 'a' }, /no program/], [{ env: 'A=1' }, /no list of words/], [{ env: ['=1'] }, /not NAME=value/], [{ user: 'a:b:c' }, /user/], [{ user: 7 }, /user/],
    [{ cwd: 'x' }, /not absolute/], [{ cwd: '/a/../b' }, /not absolute/], [{ stopSignal: 9 }, /stop signal/], [{ stopSignal: 'TERM KILL' }, /stop signal/], [{ args: ['a\0b'] }, /zero byte/], [{ env: [`A=${'x'.repeat(60_000)}`] }, /longer than/],
  ] as const) t.throws(() => parseApplication({ ...good, ...change }), { message: words });
  for (const value of [null, 'a', [], 3]) t.throws(() => parseApplication(value), { message: /no object/ });
  t.true(isOwnInit({ args: ['/lib/systemd/systemd', '--x'] }));
  t.true(isOwnInit({ args: ['/usr/bin/tini', '--', 'x'] }));
  t.false(isOwnInit({ args: ['/bin/initdb'] }));
});

const passwd = 'root:x:0:0:r:/root:/bin/sh\nweb:x:1001:1002::/srv:/bin/sh\n1234:x:5:5::/:/bin/sh\nbad:x:nan:1::/:\n';
const group = 'root:x:0:\nwww:x:1003:\nlogs:x:1004:web,other\nsame:x:1002:web\n';
test('users', (t) => {
  const look = (wanted: string): unknown => { const { uid, gid, additionalGids, home } = lookUp(wanted, passwd, group); return [uid, gid, additionalGids.join(), home]; };
  t.deepEqual(look(''), [0, 0, '', '/root']);
  t.deepEqual(look('web'), [1001, 1002, '1004', '/srv']);
  t.deepEqual(look('1001'), [1001, 1002, '1004', '/srv']);
  t.deepEqual(look('web:www'), [1001, 1003, '', '/srv']);
  t.deepEqual(look('web:7'), [1001, 7, '', '/srv']);
  t.deepEqual(look('77'), [77, 0, '', '/']);
  t.deepEqual(look('77:88'), [77, 88, '', '/']);
  t.deepEqual(look('1234'), [1234, 0, '', '/'], 'digits are a number, whatever passwd calls so');
  t.deepEqual(look(':www'), [0, 1003, '', '/root']);
  for (const wanted of ['none', 'web:none', 'bad', '65536', '0:99999999']) t.throws(() => look(wanted), undefined, wanted);
});

test('stop signals as the runtime knows them', (t) => {
  t.deepEqual(['SIGTERM', 'QUIT', '15', 'SIGRTMIN+3', 'RTMIN', 'SIGRTMAX-2'].map(signalWord), ['SIGTERM', 'QUIT', '15', '37', '34', '62']);
});

function qcow2(change: (head: Buffer) => void = () => undefined): Buffer {
  const head = Buffer.alloc(512);
  head.write('QFI\xfb', 'latin1');
  head.writeUInt32BE(3, 4);
  head.writeUInt32BE(16, 20);
  head.writeBigUInt64BE(1n << 20n, 24);
  head.writeUInt32BE(104, 100);
  change(head);
  return head;
}
test('QCOW2 headers', (t) => {
  const wrong = (change: (head: Buffer) => void): string => { const checked = checkQcow2(qcow2(change), 1 << 21); return 'wrong' in checked ? checked.wrong : ''; };
  t.deepEqual(checkQcow2(qcow2(), 1 << 21), { size: 1 << 20 });
  t.is(wrong((head) => head.writeBigUInt64BE(0b11001n, 72)), '');
  t.regex(wrong((head) => head.writeBigUInt64BE(200n, 8)), /backing file/);
  t.regex(wrong((head) => head.writeUInt32BE(4, 16)), /backing file/);
  t.regex(wrong((head) => head.writeBigUInt64BE(4n, 72)), /another file/);
  t.regex(wrong((head) => { head.writeUInt32BE(0x44415441, 104); head.writeUInt32BE(4, 108); }), /names a data file/);
  t.regex(wrong((head) => { head.writeUInt32BE(0x12345678, 104); head.writeUInt32BE(0xffffffff, 108); }), /extensions are damaged/);
  t.regex(wrong((head) => head.writeUInt32BE(1, 4)), /version is 1/);
  t.regex(wrong((head) => head.writeBigUInt64BE(1n << 60n, 24)), /at most 2097152/);
  t.deepEqual(checkQcow2(qcow2().subarray(0, 71), 1), { wrong: 'its QCOW2 header is cut off' });
});

const readOf = (disk: Buffer) => async (at: number, length: number): Promise<Buffer> => disk.subarray(at, at + length);
test('partition tables', async (t) => {
  const disk = Buffer.alloc(1 << 20);
  disk.writeUInt16BE(0x53ef, 2048 * 100 + 1080);
  disk.writeUInt16BE(0x55aa, 510);
  disk[450] = 0x83;
  disk.writeUInt32LE(400, 454);
  disk.writeUInt32LE(800, 458);
  t.deepEqual(await findFileSystem(readOf(disk), disk.length), { offset: 204_800, size: 409_600, kind: 'ext' });
  disk.writeUInt32LE(0xffffffff, 458);
  await t.throwsAsync(findFileSystem(readOf(disk), disk.length), { message: /past its end/ });
  disk.write('EFI PART', 512);
  disk.writeUInt32LE(0xffffffff, 592);
  await t.throwsAsync(findFileSystem(readOf(disk), disk.length), { message: /4294967295 entries/ });
  disk.writeUInt32LE(128, 592);
  disk.writeUInt32LE(128, 596);
  disk.writeBigUInt64LE(0xffffffffffffn, 584);
  await t.throwsAsync(findFileSystem(readOf(disk), disk.length), { message: /table/ });
  await t.throwsAsync(findFileSystem(readOf(Buffer.alloc(4096)), 4096), { message: /all zeros/ });
  await t.throwsAsync(findFileSystem(readOf(Buffer.alloc(0)), 0), { message: /empty/ });
});

test('claims', (t) => {
  const source = (diskFormat: string, containerFormat: string): ImageSource => ({ id: 'i', size: undefined, checksum: undefined, diskFormat, containerFormat, open: async () => { throw new Error('not opened'); } });
  t.is(claimOf(source('raw', 'bare')), 'tree or disk');
  t.is(claimOf(source('qcow2', 'bare')), 'qcow2');
  t.is(claimOf(source('raw', 'docker')), 'docker');
  for (const [disk, container] of [['vmdk', 'bare'], ['raw', 'ova'], ['', ''], ['qcow2', 'docker'], ['iso', 'bare']] as const) t.throws(() => claimOf(source(disk, container)), { message: /Glance has it as/ });
  t.is(requireClaim(source('raw', 'bare'), 'tree or disk', { packing: 'xz' }), 'tarball');
  t.is(requireClaim(source('raw', 'bare'), 'tree or disk', { disk: 'gpt', foreign: 'x' }), 'gpt');
  t.throws(() => requireClaim(source('raw', 'bare'), 'tree or disk', { disk: 'qcow2', foreign: 'a QCOW2 disk image' }), { message: /disk format raw, container format bare, but it is a QCOW2 disk image/ });
  t.throws(() => requireClaim(source('raw', 'docker'), 'docker', { foreign: 'a zip archive' }), { message: /but it is a zip archive/ });
  t.throws(() => requireClaim({ ...source('raw', 'bare'), layer: true }, 'tree or disk', { disk: 'squashfs', foreign: 'a SquashFS image' }), { message: /a SquashFS image/ });
});

import test from 'ava';
import { lowestFreeRange } from '../../../src/container/storage/id-ranges.js';
import { mountsOf, parseMountinfo } from '../../../src/container/storage/mounts.js';

const pool = { base: 1_000_000, ranges: 4 };
const at = (index: number): number => pool.base + index * 65_536;

test('the lowest free range is taken, gaps first', (t) => {
  t.is(lowestFreeRange(pool, []), at(0));
  t.is(lowestFreeRange(pool, [at(0), at(1)]), at(2));
  t.is(lowestFreeRange(pool, [at(2), at(0)]), at(1));
});

test('a range of another base takes both that it overlaps', (t) => {
  t.is(lowestFreeRange(pool, [at(0) + 5]), at(2));
  t.is(lowestFreeRange(pool, [pool.base - 1]), at(1));
  t.is(lowestFreeRange(pool, [pool.base - 65_536]), at(0));
});

test('none free', (t) => {
  t.throws(() => lowestFreeRange(pool, [0, 1, 2, 3].map(at)), { name: 'NO_RESOURCES' });
});

test('mountinfo is parsed with its escapes and optional fields', (t) => {
  const text = '46 114 254:0 /a\\040b /mnt/x\\011y ro,nodev,idmapped shared:1 master:2 - ext4 /dev/vda rw,discard\n50 114 0:57 / /r rw - overlay overlay rw,index=on,nfs_export=on\n';
  const [bind, overlay] = parseMountinfo(text);
  t.is(bind?.path, '/mnt/x\ty');
  t.is(bind?.root, '/a b');
  t.true(bind?.options.has('idmapped'));
  t.is(overlay?.type, 'overlay');
  t.true(overlay?.superOptions.has('nfs_export=on'));
});

test('the mounts of one folder: what is at it and below, in the order of the file, and nothing that only looks like it', (t) => {
  const line = (root: string, path: string, source = 'x'): string => `1 2 0:1 ${root} ${path} rw - ext4 ${source} rw\n`;
  const text = [line('/', '/i/a'), line('/', '/i/ab'), line('/i/a', '/other'), line('/', '/i/a/b\\040c'), line('/', '/x/i/a'), line('/', '/i/a', '/i/a'), line('/', '/i/a/\\303\\244')].join('');
  t.deepEqual(mountsOf(text, '/i/a').map(({ path, source }) => [path, source]), [['/i/a', 'x'], ['/i/a/b c', 'x'], ['/i/a', '/i/a'], ['/i/a/ä', 'x']]);
  t.deepEqual(mountsOf(text, '/i/a/b c').map(({ path }) => path), ['/i/a/b c']);
  t.deepEqual(mountsOf('1 2 0:1 / /i/a rw - ext4 x rw', '/i/a').map(({ path }) => path), ['/i/a'], 'without an end of line');
  t.deepEqual(mountsOf(text, '/i/c'), []);
});

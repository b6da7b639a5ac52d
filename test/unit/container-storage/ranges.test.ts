import test from 'ava';
import { lowestFreeRange } from '../../../src/container/storage/id-ranges.js';
import { parseMountinfo } from '../../../src/container/storage/mounts.js';

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

import test from 'ava';
import { difference, mistakes, parseManifest, type Entry, type Manifest } from '../../../src/haul/disk/manifest.js';

/** `path type inode ctime size`; the rest is the same for all. */
function manifest(from: number, ...lines: string[]): Manifest {
  const text = lines.map((line) => {
    const [path = '', type = 'f', inode = '1', ctime = '0', size = '5'] = line.split(' ');
    return [type, inode, ctime, '644', '0', '0', size, '1.5', '1', path === '.' ? '' : path, ''].map((field) => `${field}\0`).join('');
  }).join('');
  return parseManifest(text, from);
}

const names = (entries: readonly Entry[]): string[] => entries.map(({ path }) => path || '.');

test('the first time everything is new', (t) => {
  const { gone, changed } = difference(undefined, manifest(100, '. d 1', 'a f 2', 'b d 3', 'b/c f 4'));
  t.deepEqual(gone, []);
  t.deepEqual(names(changed), ['.', 'a', 'b', 'b/c']);
});

test('nothing changed: nothing is sent; but what was young at the last look is doubted', (t) => {
  t.deepEqual(difference(manifest(100, '. d 1', 'a f 2 50'), manifest(200, '. d 1', 'a f 2 50')), { gone: [], changed: [] });
  t.deepEqual(names(difference(manifest(100, '. d 1', 'a f 2 99.5', 'b f 3 50'), manifest(200, '. d 1', 'a f 2 99.5', 'b f 3 50')).changed), ['.', 'a']);
  t.deepEqual(names(difference(manifest(100, '. d 1', 'a f 2 150'), manifest(200, '. d 1', 'a f 2 150')).changed), ['.', 'a'], 'a clock that was set back');
});

test('changed, gone, replaced; a folder of a changed name is sent for its times', (t) => {
  const before = manifest(100, '. d 1', 'd d 2', 'd/e d 3', 'd/e/f f 4 10', 'd/g f 5 10', 'x f 6 10', 'y d 7 10', 'y/z f 8 10');
  const now = manifest(200, '. d 1', 'd d 2', 'd/e d 3', 'd/e/f f 4 150', 'x d 9 150', 'x/new f 10 150', 'y d 11 150', 'y/z f 8 10');
  const { gone, changed } = difference(before, now);
  t.deepEqual(gone, ['d/g', 'x', 'y'], 'a file that became a folder, and a folder that is another, go first');
  t.deepEqual(names(changed), ['.', 'd', 'd/e', 'd/e/f', 'x', 'x/new', 'y', 'y/z']);
});

test('a file that replaced a file is written over; a moved folder takes its content along', (t) => {
  t.deepEqual(difference(manifest(100, '. d 1', 'a f 2 10'), manifest(200, '. d 1', 'a f 3 10')).gone, []);
  const { gone, changed } = difference(manifest(100, '. d 1', 'a d 2 10', 'a/b f 3 10'), manifest(200, '. d 1', 'c d 2 150', 'c/b f 3 10'));
  t.deepEqual(gone, ['a']);
  t.deepEqual(names(changed), ['.', 'c', 'c/b']);
});

test('all names of a changed file go together', (t) => {
  const now = manifest(200, '. d 1', 'a f 2 150', 'b d 3', 'b/link f 2 150', 'c f 4 10');
  t.deepEqual(names(difference(manifest(100, '. d 1', 'a f 2 10', 'b d 3', 'c f 4 10'), now).changed), ['.', 'a', 'b', 'b/link']);
});

test('names that the copy has wrong are sent again', (t) => {
  const same = (from: number): Manifest => manifest(from, '. d 1', 'a f 2 10', 'b f 3 10');
  t.deepEqual(names(difference(same(100), same(200), new Set(['b'])).changed), ['.', 'b']);
});

test('mistakes of a copy: missing, left over, other content, links fallen apart or grown together', (t) => {
  const wanted = manifest(0, '. d 1', 'a f 2', 'b f 2', 'c f 3', 'l l 4');
  t.deepEqual(mistakes(wanted, manifest(0, '. d 9 0 77', 'a f 5 9', 'b f 5', 'c f 6', 'l l 7')), []);
  t.deepEqual(mistakes(wanted, manifest(0, '. d 1', 'a f 5', 'b f 5', 'l l 7', 'x f 8')), ['x', 'c']);
  t.deepEqual(mistakes(wanted, manifest(0, '. d 1', 'a f 5', 'b f 6', 'c f 7', 'l l 8')), ['b']);
  t.deepEqual(mistakes(wanted, manifest(0, '. d 1', 'a f 5', 'b f 5', 'c f 5', 'l l 8')), ['c']);
  t.deepEqual(mistakes(wanted, manifest(0, '. d 1', 'a f 5 0 6', 'b f 5 0 6', 'c p 7', 'l l 8')), ['a', 'b', 'c']);
});

test('a list that is cut off is refused', (t) => {
  t.throws(() => parseManifest('f\0' + '1\0', 0), { code: 'HAUL_PROTOCOL' });
});

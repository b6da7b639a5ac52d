import test from 'ava';
import { templateRequest } from '../../../src/cli/template-request.js';
import { tarHeader } from '../../../src/container/image/tar-writer.js';
import { difference } from '../../../src/container/template/difference.js';
import type { TreeList } from '../../../src/container/template/tree-list.js';

const list = (paths: Readonly<Record<string, string>>): TreeList => new Map(Object.entries({ '': 'd', ...paths }).map(([path, look]) => [path, { type: look.charAt(0), look, attributes: { mode: 0o755, uid: 0, gid: 0, mtime: '1' } }]));

test('what was added, changed and removed; folders on the way are in it', (t) => {
  const before = list({ a: 'd', 'a/b': 'd', 'a/b/c': 'f1', 'a/b/stays': 'f', x: 'f', gone: 'd', 'gone/deep': 'd', 'gone/deep/file': 'f' });
  const after = list({ a: 'd', 'a/b': 'd', 'a/b/c': 'f2', 'a/b/stays': 'f', x: 'f', new: 'd', 'new/file': 'f', 'new/socket': 's' });
  t.deepEqual(difference(before, after, []), { paths: ['a', 'a/b', 'a/b/c', 'new', 'new/file'], whiteouts: ['.wh.gone'], changed: 3, removed: 3 });
});

test('a folder of which nothing is left hides all; one that became a file needs no whiteout', (t) => {
  const before = list({ all: 'd', 'all/one': 'f', 'all/two': 'f', part: 'd', 'part/one': 'f', 'part/two': 'f', turn: 'd', 'turn/in': 'f' });
  const after = list({ all: 'd9', 'all/three': 'f', part: 'd9', 'part/two': 'f', turn: 'f' });
  t.deepEqual(difference(before, after, []), { paths: ['all', 'all/three', 'part', 'turn'], whiteouts: ['all/.wh..wh..opq', 'part/.wh.one'], changed: 4, removed: 4 });
});

test('what is of one machine is left out, unless it is asked for; of logs the folders stay', (t) => {
  const before = list({ etc: 'd', 'etc/machine-id': 'f1', tmp: 'd', 'tmp/old': 'f' });
  const after = list({ etc: 'd', 'etc/machine-id': 'f2', 'etc/ssh': 'd', 'etc/ssh/ssh_host_key': 'f', 'etc/ssh/sshd_config': 'f', tmp: 'd', 'tmp/new': 'f', var: 'd', 'var/log': 'd', 'var/log/app': 'd', 'var/log/app/log': 'f' });
  t.deepEqual(difference(before, after, []).paths, ['etc', 'etc/ssh', 'etc/ssh/sshd_config', 'var', 'var/log', 'var/log/app']);
  t.deepEqual(difference(before, after, []).whiteouts, []);
  t.deepEqual(difference(before, after, ['etc/machine-id', 'tmp']), { paths: ['etc', 'etc/machine-id', 'etc/ssh', 'etc/ssh/sshd_config', 'tmp', 'tmp/new', 'var', 'var/log', 'var/log/app'], whiteouts: ['tmp/.wh..wh..opq'], changed: 7, removed: 1 });
});

test('long names, times and attributes go into a pax header', (t) => {
  const long = 'x'.repeat(150);
  const header = tarHeader({ name: long, type: 'directory', mode: 0o755, uid: 1, gid: 2, mtime: '1700000000.25', xattrs: { 'trusted.overlay.opaque': 'y' } });
  t.is(header.length, 3 * 512);
  t.is(header.toString('latin1', 512, 512 + 160 + 27 + 41).replace(/\0.*/s, ''), `160 path=${long}\n23 mtime=1700000000.25\n41 SCHILY.xattr.trusted.overlay.opaque=y\n`.replace('23 mtime', '23 mtime').slice(0, 160 + 27 + 41));
});

test('the words of the command', (t) => {
  t.deepEqual(templateRequest(['mark', 'id']), { verb: 'mark', id: 'id', name: '', output: undefined, keep: [] });
  t.deepEqual(templateRequest(['capture', 'id', 'name', '--output', '/f', '--keep=/etc/ssh', '--keep', 'tmp']), { verb: 'capture', id: 'id', name: 'name', output: '/f', keep: ['etc/ssh', 'tmp'] });
  for (const wrong of [[], ['mark'], ['capture', 'id'], ['mark', 'id', 'more'], ['capture', 'id', 'n', '--else'], ['capture', 'id', 'n', '--output']]) t.is(typeof templateRequest(wrong), 'string', wrong.join(' '));
});

/** What a layer's listing may ask for: strangers' names, as long, as deep and as many as they like. */
import test from 'ava';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Plan } from '../../../src/container/image/oci/plan.js';

const line = (name: string, type = '-'): string => `${type}rw-r--r-- 0/0 0 2023-11-14 22:13 ${name}\n`;

async function tree(t: { teardown: (end: () => Promise<void>) => void }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'plan-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'etc/old'), { recursive: true });
  await writeFile(join(folder, 'file'), '');
  await symlink('etc', join(folder, 'link'));
  return folder;
}

test('what is taken away, in whatever pieces the listing comes', async (t) => {
  const text = [line('etc/', 'd'), line('etc/.wh.old'), line('etc/.wh..wh..opq'), line('file/', 'd'), line('file/.wh.gone'), line('new/deep/.wh.a'), line('new/deep/b'), line('etc/old/x/y'), line('etc/old/x/.wh.z')].join('');
  for (const step of [1, 7, 10_000]) {
    const plan = new Plan('i', '1 of 1', await tree(t));
    for (let at = 0; at < text.length; at += step) plan.read(Buffer.from(text.slice(at, at + step), 'latin1'));
    t.deepEqual([[...plan.remove], [...plan.empty]], [['etc/old', 'file'], ['etc']]);
  }
  for (const [entry, words] of [[line('link/x'), /through the symbolic link link/], [line('a/../b'), /contains '\.\.'/], [line('a', 'l'), /cannot be listed/], [line('etc/.wh..'), /names nothing/]] as const) {
    const folder = await tree(t);
    t.throws(() => new Plan('i', '1 of 1', folder).read(Buffer.from(entry)), { code: 'IMAGE_UNACCEPTABLE', message: words });
  }
});

test('names are bounded, each and together', async (t) => {
  const folder = await tree(t);
  const read = (text: string, most?: number): Plan => { const plan = new Plan('i', '1 of 1', folder, most); plan.read(Buffer.from(text)); return plan; };
  t.throws(() => read('x'.repeat(33_000)), { message: /a name of more than 4096 bytes/ }, 'before its line is there as a whole');
  t.throws(() => read(line('y'.repeat(5000))), { message: /a name of 5000 bytes/ });
  t.throws(() => read(line('a/'.repeat(300))), { message: /300 folders deep/ });
  t.notThrows(() => read(line(`${'a/'.repeat(255)}b`)));
  t.notThrows(() => read(line('\\303'.repeat(4096))), 'escaped');
  const whiteouts = Array.from({ length: 100 }, (_, n) => line(`etc/.wh.${'n'.repeat(50)}${n}`)).join('');
  t.is(read(whiteouts).remove.size, 100);
  t.throws(() => read(whiteouts, 5000), { message: /more than 5000 bytes of names together/ });
  t.throws(() => read(Array.from({ length: 100 }, (_, n) => line(`${'n'.repeat(50)}${n}/`, 'd')).join(''), 5000), { message: /more than 5000 bytes of names together/ });
  t.is(read(`${line('etc/.wh.same')}`.repeat(2000), 5000).remove.size, 1, 'what is named again counts once');
});

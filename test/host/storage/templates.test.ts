/** Templates: layers over an image's tree, what they add and take away, what they cost, and hostile ones. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { isHaulierError } from '../../../src/base/errors.js';
import { run } from '../../../src/base/run.js';
import { rootFsPaths } from '../../../src/container/storage/root-fs.js';
import { bench, guestTar, handmadeTar, inside, missing, operation, source, type Bench } from './helper.js';

const why = missing();
const host = why === undefined ? test : test.skip;
if (why !== undefined) process.stderr.write(`SKIPPED test/host/storage/templates: ${why}\n`);
let guest: Buffer;
test.before(async () => { if (why === undefined) guest = await guestTar(); });

const idBase = 1_000_000;

async function withImage(work: (b: Bench) => Promise<void>): Promise<void> {
  const b = await bench();
  try {
    await b.images.ensure(source('img', guest), operation());
    await work(b);
  } finally {
    await b.close();
  }
}

const layer = (b: Bench, id: string, bytes: Buffer): Promise<boolean> => b.images.ensure(source(id, bytes, { layer: true }), operation());

async function boot(b: Bench, name: string, base: number, templates: readonly string[]): Promise<{ dir: string; rootfs: string }> {
  const dir = await b.instance(name);
  const op = operation();
  return { dir, rootfs: await op.run(async () => {
    await b.rootFs.prepare(dir, 'img', 1, op, templates);
    return b.rootFs.mount(dir, base, op);
  }) };
}

const first = (): Buffer => handmadeTar(
  { name: './opt/', type: '5' }, { name: './opt/app/', type: '5', uid: 7 }, { name: './opt/app/one', data: 'one', uid: 1000, mode: 0o4755 },
  { name: './etc/.wh.last', data: '' }, // takes a file away
  { name: './var/.wh.data', data: '' }, // and a folder
  { name: './usr/', type: '5' }, { name: './usr/.wh..wh..opq', data: '' }, { name: './usr/mine', data: 'mine' }, // a folder made anew
  { name: './etc/owned', data: 'changed' }, { name: './etc/.wh.user', data: '' }, { name: './etc/user', type: '5' }, { name: './etc/user/now', data: 'a folder' }, // a folder for a file
);
const second = (): Buffer => handmadeTar({ name: './opt/app/two', data: 'two' }, { name: './opt/app/.wh.one', data: '' }, { name: './.wh.tmp', data: '' }, { name: './etc/last', data: 'back' });

host('layers add, replace and take away, each over the one before; the guest may do the same to them', (t) => withImage(async (b) => {
  t.false(await layer(b, 'first', first()));
  t.true(await layer(b, 'first', first()));
  await layer(b, 'second', second());
  const look = 'ls -A /opt/app /usr /etc/user; cat /etc/owned; ls -d /etc/last /var/data /tmp; stat -c "%u %a %n" /opt/app /opt/app/*';
  const { dir, rootfs } = await boot(b, 'one', idBase, ['first']);
  t.is(await inside(rootfs, idBase, look, [0, 1]), '/etc/user:\nnow\n\n/opt/app:\none\n\n/usr:\nmine\nchanged/tmp\n7 755 /opt/app\n1000 4755 /opt/app/one\nls: /etc/last: No such file or directory\nls: /var/data: No such file or directory\n');
  const both = await boot(b, 'two', idBase + 65_536, ['first', 'second']);
  t.is(await inside(both.rootfs, idBase + 65_536, 'ls -A /opt/app; cat /etc/last; ls -d /tmp', [0, 1]), 'two\nbackls: /tmp: No such file or directory\n');
  t.is(await inside(both.rootfs, idBase + 65_536, 'stat -c "%u %a %n" /opt/app; ls -d /usr/lib', [0, 1]), '0 755 /opt/app\nls: /usr/lib: No such file or directory\n');
  // copy-on-write
  await inside(rootfs, idBase, 'rm -r /opt/app; mkdir /opt/app; echo own > /opt/app/own');
  t.is(await inside(rootfs, idBase, 'ls -A /opt/app'), 'own\n');
  t.is(await inside((await boot(b, 'three', idBase + 2 * 65_536, ['first'])).rootfs, idBase + 2 * 65_536, 'ls -A /opt/app'), 'one\n');
  const plain = await boot(b, 'plain', idBase + 3 * 65_536, []);
  t.is(await inside(plain.rootfs, idBase + 3 * 65_536, 'cat /etc/owned; ls -d /opt /usr/lib', [0, 1]), 'root\n/usr/lib\nls: /opt: No such file or directory\n');

  // as after a restart of host and service
  await b.rootFs.unmount(dir);
  t.is(await b.rootFs.state(dir), 'unmounted');
  await b.images.start();
  await b.rootFs.mount(dir, idBase);
  t.is(await inside(rootfs, idBase, 'ls -A /opt/app /etc/user'), '/etc/user:\nnow\n\n/opt/app:\nown\n');
  t.deepEqual([...await b.images.uses()].map(([key, count]) => `${key.split('-')[0]} ${count}`).sort(), ['first 3', 'img 4', 'second 1']);
  t.deepEqual(await b.images.removeUnused(0), []);
  await b.rootFs.remove(both.dir);
  t.deepEqual(await b.images.removeUnused(3_600_000), [], 'its age counts from its last use');
  t.deepEqual(await b.images.removeUnused(0), ['second'], 'only what nobody uses');
  for (const name of ['one', 'three', 'plain']) await b.rootFs.remove(join(b.dir, name));
  t.deepEqual(readdirSync(dir), []);
  t.deepEqual(await b.leftovers('img', 'first'), []);
}));

host('many layers, and no space for any of them', (t) => withImage(async (b) => {
  const templates = Array.from({ length: 16 }, (_, index) => `layer${index}`);
  for (const [index, id] of templates.entries()) await layer(b, id, handmadeTar({ name: './top', data: `${index}` }, { name: `./of${index}`, data: 'x'.repeat(100_000) }));
  const used = async (dir: string): Promise<number> => Number((await run('du', ['-s', '-B1', rootFsPaths(dir).upper])).stdout.split('\t')[0]);
  const without = await boot(b, 'without', idBase, []);
  const withAll = await boot(b, 'with-all', idBase + 65_536, templates);
  t.is(await inside(withAll.rootfs, idBase + 65_536, 'cat /top; echo; ls -d /of15 /of0'), '15\n/of0\n/of15\n');
  t.is(await used(withAll.dir), await used(without.dir));
  t.is(statSync(rootFsPaths(withAll.dir).disk).blocks, statSync(rootFsPaths(without.dir).disk).blocks);
}));

const hostile: readonly (readonly [string, Buffer, RegExp])[] = [
  ['a whiteout that is a folder', handmadeTar({ name: './.wh.etc/', type: '5' }), /no plain file/],
  ['a whiteout that is a link', handmadeTar({ name: './.wh.etc', type: '2', link: '/etc' }), /no plain file/],
  ['a whiteout of nothing', handmadeTar({ name: './.wh.', data: '' }), /names nothing/],
  ['a whiteout of the parent', handmadeTar({ name: './a/', type: '5' }, { name: './a/.wh...', data: '' }), /names nothing/],
  ['a root that hides all', handmadeTar({ name: './.wh..wh..opq', data: '' }), /hides the whole tree/],
];
for (const [what, bytes, reason] of hostile) {
  host(`${what} is refused`, (t) => withImage(async (b) => {
    const error = await t.throwsAsync(layer(b, 'bad', bytes));
    t.true(isHaulierError(error, 'IMAGE_UNACCEPTABLE'));
    t.regex(error?.message ?? '', reason);
    t.deepEqual(await b.leftovers('img'), []);
  }));
}

host('links and device nodes of a layer do nothing outside it', (t) => withImage(async (b) => {
  await layer(b, 'sly', handmadeTar(
    { name: './out', type: '2', link: '/' }, { name: './out/.wh.usr', data: '' }, { name: './in/', type: '5' }, { name: './in/.wh.x', data: '' }, { name: './null', type: '3' }, { name: './etc/last', type: '3' },
  )).catch((error: unknown) => { if (!isHaulierError(error, 'IMAGE_UNACCEPTABLE')) throw error; });
  t.true(existsSync('/usr/bin/env'));
  const { rootfs } = await boot(b, 'one', idBase, b.images.list().includes('sly') ? ['sly'] : []);
  t.is(await inside(rootfs, idBase, 'cat /etc/last; ls /null', [0, 1]), 'last\nls: /null: No such file or directory\n');
}));

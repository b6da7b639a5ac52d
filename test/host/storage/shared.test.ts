/** Two hosts with one instances_path: their image caches are the same folder, and neither takes from the other what it uses. */
import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { mkdtemp, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'ava';
import { InstanceStore } from '../../../src/container/state.js';
import { HaulRecords } from '../../../src/haul/live/record.js';
import { bench, guestTar, missing, operation, source } from './helper.js';

const why = missing();
const real = why === undefined ? test : test.skip;
if (why !== undefined) process.stderr.write(`SKIPPED test/host/storage/shared: ${why}\n`);

real('an image is unpacked once for both, is not taken from the other, and what the other unpacks just now stays', async (t) => {
  const a = await bench({ host: 'a' });
  t.teardown(() => a.close());
  const b = await bench({ host: 'b', dir: a.dir });
  const bytes = await guestTar();
  t.false(await a.images.ensure(source('img', bytes), operation()), 'b has looked before it was there');
  const { ino } = statSync(a.images.rootfs('img'));
  const never = { ...source('img', bytes), open: () => Promise.reject(new Error('it is there')) };
  t.true(await b.images.ensure(never, operation()));
  t.is(statSync(b.images.rootfs('img')).ino, ino);

  // a server of a's
  const op = operation();
  await op.run(async () => { await a.rootFs.prepare(await a.instance(randomUUID()), 'img', 1, op); });
  t.deepEqual(await b.images.removeUnused(0), []);
  t.is(statSync(a.images.rootfs('img')).ino, ino);

  // both at once
  const both = Buffer.concat([bytes]);
  const slow = source('both', both, {});
  await Promise.all([a, b].map(({ images }) => images.ensure(slow, operation())));
  t.deepEqual(readdirSync(a.images.path).filter((name) => name.startsWith('.tmp-')), []);
  t.true(statSync(a.images.rootfs('both')).ino === statSync(b.images.rootfs('both')).ino);

  // one is at it while the other starts
  let go: (() => void) | undefined;
  const begun = new Promise<void>((resolve) => { go = resolve; });
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => { release = resolve; });
  const stalls = { ...source('late', bytes), open: async () => Readable.from((async function* () { go?.(); await held; yield bytes; })()) };
  const late = a.images.ensure(stalls as never, operation());
  await begun;
  await b.images.start();
  release?.();
  t.false(await late);
  t.true(await b.images.ensure({ ...never, id: 'late' }, operation()));

  // what nobody has goes, and each sees that it is gone
  t.deepEqual([...await b.images.removeUnused(0)].sort(), ['both', 'late']);
  t.false(await a.images.ensure(source('late', bytes), operation()), 'taken by the other, and made anew');
});

test('each host sees its own containers and hauls only', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'shared-'));
  const [a, b, all] = [new InstanceStore(folder, folder, 'a'), new InstanceStore(folder, folder, 'b'), new InstanceStore(folder, folder)];
  const state = { version: 1, phase: 'ready', idBase: 1, wanted: 'stopped', startedAt: undefined, exit: undefined, guestFiles: true } as const;
  const [mine, other, old] = [randomUUID(), randomUUID(), randomUUID()].sort() as [string, string, string];
  for (const id of [mine, other, old]) await mkdir(join(folder, id));
  await a.writeState(mine, state);
  await b.writeState(other, state);
  await all.writeState(old, state);
  t.deepEqual([await a.ids(), await b.ids(), await all.ids()], [[mine, old], [other, old], [mine, other, old]]);
  t.deepEqual([await a.isForeign(other), await a.isForeign(mine), await b.isForeign(old)], [true, false, false]);
  await b.writeState(mine, (await b.readState(mine))!);
  t.deepEqual([await a.ids(), await b.ids()], [[old], [mine, other, old]], 'taken over');
  await writeFile(join(folder, other, 'state.json'), 'damaged');
  t.deepEqual(await a.ids(), [other, old], 'a record that cannot be read hides nothing');

  const about = { version: 1, haul: createHash('md5').update('x').digest('hex').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'), instance: mine, peer: { host: 'b', address: '127.0.0.1', port: 1 }, secret: 's' } as const;
  const [here, there] = [new HaulRecords(folder, 'a'), new HaulRecords(folder, 'b')];
  await here.write({ ...about, role: 'source', phase: 'offered' });
  await there.write({ ...about, role: 'destination', phase: 'restoring' });
  await here.write({ ...about, role: 'source', phase: 'committed' });
  t.deepEqual((await here.all()).map(({ role, phase }) => [role, phase]), [['source', 'committed']]);
  t.deepEqual((await there.all()).map(({ role, phase }) => [role, phase]), [['destination', 'restoring']]);
});

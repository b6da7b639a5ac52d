/** Records of hauls: whole JSON at every phase, and a phase that follows another changes one sector of the same file. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { HaulRecords, type HaulRecord } from '../../../src/haul/live/record.js';

const haul = '8f14e45f-ceea-467f-a34e-9a0f1c2d3e4f';
const about = { version: 1, haul, instance: 'ä '.repeat(200), peer: { host: 'b', address: '10.0.0.2', port: 1 }, secret: 'x'.repeat(64) } as const;

test('a phase that follows changes the last sector and nothing else; what is read is what was written', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'records-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const records = new HaulRecords(folder);
  const path = join(folder, '_hauls', `${haul}.destination`);
  const phases: readonly HaulRecord[] = [
    { ...about, role: 'destination', phase: 'preparing' },
    { ...about, role: 'destination', phase: 'restoring', paused: true },
    { ...about, role: 'destination', phase: 'committed' },
  ];
  let before: { readonly ino: number; readonly bytes: Buffer } | undefined;
  for (const record of phases) {
    await records.write(record);
    t.deepEqual(await records.read(haul, 'destination'), record);
    const [bytes, { ino }] = [await readFile(path), await stat(path)];
    t.is(bytes.length % 512, 0);
    if (before) {
      t.is(ino, before.ino);
      t.deepEqual(bytes.subarray(0, -512), before.bytes.subarray(0, -512));
    }
    before = { ino, bytes };
  }
  t.deepEqual(await records.all(), [phases[2]]);
  t.deepEqual(await readdir(join(folder, '_hauls')), [`${haul}.destination`]);
  await records.remove(haul, 'destination');
  t.deepEqual(await records.all(), []);
});

test('a record of another form is replaced as a whole', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'records-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const records = new HaulRecords(folder);
  const record: HaulRecord = { ...about, role: 'source', phase: 'offered' };
  await records.write(record);
  await writeFile(join(folder, '_hauls', `${haul}.source`), JSON.stringify(record));
  t.deepEqual(await records.read(haul, 'source'), record);
  await records.write({ ...record, phase: 'committed' });
  t.deepEqual(await records.read(haul, 'source'), { ...record, phase: 'committed' });
});

test('a damaged record is told of and left out, or named in the error', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'records-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const records = new HaulRecords(folder);
  await records.write({ ...about, role: 'source', phase: 'offered' });
  const damaged = join(folder, '_hauls', `${haul}.destination`);
  await writeFile(damaged, '{"version": 1');
  await t.throwsAsync(records.all(), { name: 'STATE_DAMAGED' });
  const told: string[] = [];
  t.deepEqual((await records.all((error) => told.push(String(error)))).map(({ role }) => role), ['source']);
  t.true(told.length === 1 && told[0]!.includes(damaged));
});

/** A source whose haul is over and whose destination cannot be told: it tries again in growing pauses, and not for ever. */
import { mkdtemp, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { silentLog } from '../../../src/base/log.js';
import type { HostParts } from '../../../src/container/parts.js';
import { Hauler } from '../../../src/haul/hauler.js';
import { HaulRecords, isOvertaken, type HaulRecord } from '../../../src/haul/live/record.js';
import { Telling } from '../../../src/haul/live/telling.js';

const haul = '8f14e45f-ceea-467f-a34e-9a0f1c2d3e4f';
const gone: HaulRecord = { version: 1, role: 'source', haul, instance: 'i', peer: { host: 'b', address: '127.0.0.1', port: 1 }, secret: 's', phase: 'gone' };

test('the pauses grow to ten minutes; a haul that is told begins anew', (t) => {
  const telling = new Telling();
  const pauses: number[] = [];
  let now = 1000;
  t.true(telling.due(haul, now));
  for (let times = 0; times < 9; times++) {
    telling.failed(haul, now);
    let pause = 0;
    while (!telling.due(haul, now + pause)) pause += 1000;
    pauses.push(pause / 1000);
    now += pause;
  }
  t.deepEqual(pauses, [15, 30, 60, 120, 240, 480, 600, 600, 600]);
  telling.failed(haul, now);
  telling.done(haul);
  t.true(telling.due(haul, now));
});

test('a record of a haul that is over is kept while its destination cannot be told, and forgotten after a week', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'telling-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const records = new HaulRecords(folder);
  await records.write(gone);
  const life = async (): Promise<void> => {
    const parts = { options: { instancesPath: folder }, log: silentLog() } as unknown as HostParts;
    const settings = { host: 'a', ca: undefined, cert: undefined, key: undefined, address: '127.0.0.1', port: 0, bandwidthMiB: 0, policy: { mode: 'auto', permitPostCopy: false } } as const;
    const hauler = new Hauler(parts, settings, { watch: async () => undefined, startContainer: async () => undefined, stopContainer: async () => undefined }, silentLog());
    await Promise.all((await hauler.start()).values());
    await hauler.stop();
  };
  await life();
  t.deepEqual(await records.all(), [gone]);
  const days = (count: number): Date => new Date(Date.now() - count * 24 * 3600_000);
  await utimes(join(folder, '_hauls', `${haul}.source`), days(6), days(6));
  await life();
  t.deepEqual(await records.all(), [gone]);
  await utimes(join(folder, '_hauls', `${haul}.source`), days(8), days(8));
  await life();
  t.deepEqual(await records.all(), []);
});

test('a destination that was never told does not take a later haul of the same instance for the old one', (t) => {
  const old: HaulRecord = { ...gone, role: 'destination', phase: 'committed' };
  const later: HaulRecord = { ...old, haul: '9f14e45f-ceea-467f-a34e-9a0f1c2d3e4f', phase: 'restoring' };
  t.false(isOvertaken(old, [old]));
  t.true(isOvertaken(old, [old, later]));
  t.false(isOvertaken(later, [old, later]));
  t.false(isOvertaken(old, [old, { ...later, instance: 'another' }]));
});

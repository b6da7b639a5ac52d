/** What is told of hauls: the board, its stream, and the lines for people. */
import test from 'ava';
import { HaulLines, roundLine } from '../../../src/cli/haul-lines.js';
import { HaulBoard, type HaulView } from '../../../src/haul/board.js';
import { HaulTracker } from '../../../src/haul/live/tracker.js';

const what = (instance: string): { haul: string; instance: string; direction: 'out'; peer: string; address: string; port: number } => ({ haul: `haul of ${instance}`, instance, direction: 'out', peer: 'host-b', address: '192.0.2.2', port: 8791 });

test('who watches hears of all that is there, then of every change; whoever reads slowly misses no round', async (t) => {
  const board = new HaulBoard();
  const tracker = new HaulTracker();
  board.begin(what('bbbb'));
  const stop = new AbortController();
  const all = board.watch(stop.signal);
  const one = board.watch(stop.signal, 'aa');
  t.is((await all.next()).value?.instance, 'bbbb');
  const first = one.next(); // nothing of it yet
  const work = (async () => {
    await board.run(board.begin(what('aaaa'), tracker), tracker, () => false, async () => {
      tracker.stage('copying');
      t.like((await first).value, { instance: 'aaaa', rounds: [] });
      for (let round = 1; round <= 5; round++) tracker.begin('disk', round, 10).end(10 * round);
      Object.assign(tracker, { reason: 'asked for' });
    });
  })();
  await work;
  const last = (await one.next()).value as HaulView;
  t.deepEqual(last.rounds.map(({ round, bytes }) => [round, bytes]), [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]);
  t.like(last.end, { result: 'done', account: { mode: 'stop-and-copy', diskBytes: 150 } });
  t.like((await all.next()).value, { instance: 'aaaa', end: { result: 'done' } });
  const [waiting, other] = [one.next(), all.next()];
  stop.abort();
  t.true((await waiting).done && (await other).done);
});

test('what has ended stays for a while, what is under way always', async (t) => {
  const board = new HaulBoard();
  board.begin(what('first'));
  for (let n = 0; n < 50; n++) await t.throwsAsync(board.run(board.begin(what(`n${n}`)), undefined, () => n % 2 === 0, async () => { throw new Error(`reason ${n}`); }));
  const list = board.list();
  t.is(list[0]?.instance, 'first');
  t.deepEqual(list.slice(1).map(({ instance }) => instance), Array.from({ length: 20 }, (_, n) => `n${n + 30}`));
  t.like(list.at(-1), { end: { result: 'failed', error: 'reason 49' } });
  t.like(list.at(-2), { end: { result: 'aborted' } });
  t.deepEqual(board.figures.underWay, { out: 1, in: 0 });
});

test('lines: one for each stage, each round and each tenth, and how it ended; nothing of a name moves the terminal', (t) => {
  const lines = new HaulLines();
  const amount = (total: number, processed: number) => ({ total, processed, remaining: total - processed });
  const progress = (stage: 'copying' | 'frozen' | 'asking', processed: number, expectedMs?: number) => ({ stage, mode: 'stop-and-copy', round: 1, memory: amount(0, 0), disk: amount(100 * 1024 ** 2, processed * 1024 ** 2), ...(expectedMs === undefined ? {} : { expectedMs }) }) as const;
  const base: HaulView = { ...what('aaaaaaaa-1'), peer: 'host\x1b[2J', began: '2026-01-01T00:00:00.000Z', ms: 10, rounds: [], progress: progress('copying', 0), end: undefined };
  t.deepEqual(lines.of(base), ['aaaaaaaa  on its way to host?[2J at 192.0.2.2:8791, since 2026-01-01T00:00:00.000Z', 'aaaaaaaa  copying: 0B of 100MiB']);
  t.deepEqual(lines.of({ ...base, progress: progress('copying', 9) }), []);
  t.deepEqual(lines.of({ ...base, progress: progress('copying', 25, 75_000) }), ['aaaaaaaa  copying: 25.0MiB of 100MiB, about 1m15s left']);
  const rounds = [{ what: 'disk', round: 1, bytes: 100 * 1024 ** 2, ms: 2000 }, { what: 'memory', round: 2, bytes: 8192, ms: 100 }] as const;
  t.deepEqual(lines.of({ ...base, rounds, progress: progress('frozen', 100) }), ['aaaaaaaa  round 1, file system: 100MiB in 2.0 s, 50.0MiB/s', 'aaaaaaaa  round 2, memory: 2 pages, 8.0KiB in 0.100 s, 80.0KiB/s', 'aaaaaaaa  frozen: 100MiB of 100MiB']);
  t.regex(lines.of({ ...base, rounds, progress: progress('asking', 100) }).join(), /asking: it stands frozen here, the other host does not say/);
  const end: HaulView = { ...base, ms: 12_000, rounds, end: { result: 'done', account: { mode: 'pre-copy', reason: 'asked for', frozenMs: 31, frozenParts: { dump: 20, restore: 11 }, totalMs: 12_000, rounds, memoryBytes: 8192, diskBytes: 100 * 1024 ** 2 } } };
  t.deepEqual(lines.of(end), ['aaaaaaaa  hauled to host?[2J in 12s: pre-copy (asked for), frozen 0.031 s (dump 20, restore 11 ms), 2 rounds, memory 8.0KiB, file system 100MiB']);
  t.deepEqual(lines.of(end), []);
  t.is(lines.of({ ...base, haul: 'other', end: { result: 'aborted', error: 'somebody wants it' }, progress: undefined }).at(-1), 'aaaaaaaa  aborted after 0.010 s: somebody wants it');
  t.is(roundLine({ what: 'disk', round: 0, bytes: 0, ms: 0 }), 'frozen, file system: 0B in 0.000 s');
});

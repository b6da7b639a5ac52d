/** How the memory of a haul moves: the choice between the modes, and when copying ahead ends, by recorded rounds. */
import test from 'ava';
import { chooseMode, readAbilities, type HaulPolicy, type MemoryAbilities } from '../../../src/haul/memory/mode.js';
import { maxMemoryRounds, whyStop } from '../../../src/haul/memory/stop-rule.js';
import type { MemoryMode } from '../../../src/haul/progress.js';

const all: MemoryAbilities = { tracksDirty: null, servesPages: null, takesPages: null };
const untracked: MemoryAbilities = { ...all, tracksDirty: 'no soft-dirty' };
const policy = (mode: HaulPolicy['mode'], permitPostCopy = false): HaulPolicy => ({ mode, permitPostCopy });

const MiB = 1024 ** 2;
const notPermitted = 'no post-copy: it is not permitted here (haul_permit_post_copy)';

const choices: readonly [HaulPolicy, MemoryMode | undefined, MemoryAbilities, MemoryAbilities, MemoryMode, string, boolean, number?][] = [
  [policy('auto'), undefined, all, all, 'pre-copy', 'the kernel tracks dirty memory', false],
  [policy('auto'), undefined, all, all, 'stop-and-copy', `no pre-copy: its memory is only 255 MiB (haul_pre_copy_from); ${notPermitted}`, false, 255 * MiB],
  [policy('auto'), undefined, all, all, 'pre-copy', 'the kernel tracks dirty memory', false, 256 * MiB],
  [{ ...policy('auto'), preCopyFromMiB: 0 }, undefined, all, all, 'pre-copy', 'the kernel tracks dirty memory', false, 0],
  [{ ...policy('auto'), preCopyFromMiB: 4096 }, undefined, all, all, 'stop-and-copy', `no pre-copy: its memory is only 1024 MiB (haul_pre_copy_from); ${notPermitted}`, false],
  [policy('pre-copy'), undefined, all, all, 'pre-copy', 'haul_mode = pre-copy', false, 4 * MiB],
  [policy('auto'), undefined, untracked, all, 'stop-and-copy', `no pre-copy: no soft-dirty; ${notPermitted}`, false],
  [policy('auto', true), undefined, untracked, { ...all, takesPages: 'no uffd' }, 'stop-and-copy', 'no pre-copy: no soft-dirty; no post-copy: at the destination, no uffd', false],
  [policy('auto', true), undefined, all, all, 'post-copy', 'post-copy is permitted', false],
  [policy('auto', true), undefined, all, { ...all, takesPages: 'no uffd' }, 'pre-copy', 'the kernel tracks dirty memory', false],
  [policy('post-copy'), undefined, all, all, 'post-copy', 'haul_mode = post-copy', false],
  [policy('post-copy'), undefined, { ...all, servesPages: 'small pipes' }, all, 'stop-and-copy', 'no post-copy: at the source, small pipes', false],
  [policy('post-copy'), undefined, { ...all, pageHeader: 24 }, { ...all, pageHeader: 32 }, 'stop-and-copy', 'no post-copy: the criu of one side is 4.2 or newer, that of the other is older', false],
  [policy('auto'), 'post-copy', all, all, 'stop-and-copy', 'no post-copy: it is not permitted here (haul_permit_post_copy)', false],
  [policy('pre-copy'), undefined, untracked, all, 'stop-and-copy', 'no pre-copy: no soft-dirty', false],
  [policy('pre-copy'), undefined, all, all, 'pre-copy', 'haul_mode = pre-copy', false],
  [policy('pre-copy', true), undefined, all, all, 'pre-copy', 'haul_mode = pre-copy', true],
  [policy('auto'), 'pre-copy', all, all, 'pre-copy', 'asked for', false],
  [policy('post-copy'), 'stop-and-copy', all, all, 'stop-and-copy', 'asked for', false],
  [policy('stop-and-copy', true), undefined, all, all, 'stop-and-copy', 'haul_mode = stop-and-copy', false],
];
for (const [own, asked, source, destination, mode, reason, mayTurn, bytes = 1024 * MiB] of choices) {
  test(`haul_mode ${own.mode}, post-copy ${own.permitPostCopy ? '' : 'not '}permitted, asked for ${asked ?? 'nothing'}, ${bytes / MiB} MiB, from ${own.preCopyFromMiB ?? 'the usual'}: ${mode}, ${reason}`, (t) => {
    t.deepEqual(chooseMode(own, asked, source, destination, bytes), { mode, reason, mayTurn });
  });
}

test('what another host does not say of itself, it cannot', (t) => {
  t.deepEqual(readAbilities({ tracksDirty: null, servesPages: 'x'.repeat(300), more: 1 }), { tracksDirty: null, servesPages: 'x'.repeat(200), takesPages: 'it does not say that it can' });
  for (const nothing of [undefined, null, 'yes', 3]) t.is(readAbilities(nothing).takesPages, 'it does not say that it can');
});

/** Runs the rules over the pages that the rounds would send. @returns rounds made, and why no more */
function simulate(pages: (round: number) => number): [number, string] {
  const sent: number[] = [];
  for (;;) {
    const why = whyStop(sent);
    if (why !== undefined) return [sent.length, why];
    sent.push(pages(sent.length + 1));
  }
}
const recorded = (...pages: readonly number[]) => (round: number): number => pages[round - 1] ?? pages.at(-1) ?? 0;

test('recorded rounds', (t) => {
  t.deepEqual(simulate(recorded(8400, 530, 520, 31)), [4, 'only 31 pages were left']);
  t.deepEqual(simulate(recorded(8400, 20)), [2, 'only 20 pages were left']);
  t.deepEqual(simulate(recorded(262_144, 900, 1000, 990)), [3, 'no progress: 1000 pages after 900']);
  t.deepEqual(simulate(recorded(0)), [1, 'only 0 pages were left']);
  // test/vm/pre-copy, 48 MiB of which 1 MiB/s is written to
  t.deepEqual(simulate(recorded(15_501, 1322, 230, 182, 283, 196)), [5, 'no progress: 283 pages after 182']);
  t.deepEqual(simulate(recorded(19_877, 1893, 359, 337, 367, 292, 219, 254)), [8, 'no progress: 254 pages after 219']);
});

test('a container that writes as fast as ever is frozen after the last round, one that writes faster at once', (t) => {
  t.deepEqual(simulate((round) => (round === 1 ? 50_000 : 5000)), [maxMemoryRounds, `${maxMemoryRounds} rounds were made`]);
  t.deepEqual(simulate(() => 5000), [2, 'as much was sent again as it has: 5000 pages']);
  t.deepEqual(simulate((round) => (round === 1 ? 10_000 : 5000)), [3, 'as much was sent again as it has: 10000 pages']);
  t.is(simulate((round) => 1000 * 2 ** round)[0], 2);
  t.true(simulate((round) => 100_000 / 2 ** round)[0] <= maxMemoryRounds);
});

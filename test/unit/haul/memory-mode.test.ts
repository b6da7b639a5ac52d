/** How the memory of a haul moves: the choice between the modes, and when copying ahead ends, by recorded rounds. */
import test from 'ava';
import { chooseMode, readAbilities, type HaulPolicy, type MemoryAbilities } from '../../../src/haul/memory/mode.js';
import { maxMemoryRounds, whyStop } from '../../../src/haul/memory/stop-rule.js';
import type { MemoryMode } from '../../../src/haul/progress.js';

const all: MemoryAbilities = { tracksDirty: null, servesPages: null, takesPages: null };
const untracked: MemoryAbilities = { ...all, tracksDirty: 'no soft-dirty' };
const policy = (mode: HaulPolicy['mode'], permitPostCopy = false): HaulPolicy => ({ mode, permitPostCopy });

const choices: readonly [HaulPolicy, MemoryMode | undefined, MemoryAbilities, MemoryAbilities, MemoryMode, string, boolean][] = [
  [policy('auto'), undefined, all, all, 'stop-and-copy', 'no post-copy: it is not permitted here (haul_permit_post_copy)', false],
  [policy('auto', true), undefined, all, all, 'post-copy', 'post-copy is permitted', false],
  [policy('auto', true), undefined, all, { ...all, takesPages: 'no uffd' }, 'stop-and-copy', 'no post-copy: at the destination, no uffd', false],
  [policy('post-copy'), undefined, all, all, 'post-copy', 'haul_mode = post-copy', false],
  [policy('post-copy'), undefined, { ...all, servesPages: 'small pipes' }, all, 'stop-and-copy', 'no post-copy: at the source, small pipes', false],
  [policy('auto'), 'post-copy', all, all, 'stop-and-copy', 'no post-copy: it is not permitted here (haul_permit_post_copy)', false],
  [policy('pre-copy'), undefined, untracked, all, 'stop-and-copy', 'no pre-copy: no soft-dirty', false],
  [policy('pre-copy'), undefined, all, all, 'pre-copy', 'haul_mode = pre-copy', false],
  [policy('pre-copy', true), undefined, all, all, 'pre-copy', 'haul_mode = pre-copy', true],
  [policy('auto'), 'pre-copy', all, all, 'pre-copy', 'asked for', false],
  [policy('post-copy'), 'stop-and-copy', all, all, 'stop-and-copy', 'asked for', false],
  [policy('stop-and-copy', true), undefined, all, all, 'stop-and-copy', 'haul_mode = stop-and-copy', false],
];
for (const [own, asked, source, destination, mode, reason, mayTurn] of choices) {
  test(`haul_mode ${own.mode}, post-copy ${own.permitPostCopy ? '' : 'not '}permitted, asked for ${asked ?? 'nothing'}: ${mode}, ${reason}`, (t) => {
    t.deepEqual(chooseMode(own, asked, source, destination), { mode, reason, mayTurn });
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
});

test('a container that writes as fast as ever is frozen after the last round, one that writes faster at once', (t) => {
  t.deepEqual(simulate(() => 5000), [maxMemoryRounds, `${maxMemoryRounds} rounds were made`]);
  t.is(simulate((round) => 1000 * 2 ** round)[0], 2);
  t.true(simulate((round) => 100_000 / 2 ** round)[0] <= maxMemoryRounds);
});

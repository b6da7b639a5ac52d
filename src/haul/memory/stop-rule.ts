/**
 * When copying memory ahead ends and the container is frozen: P.Haul's rules (phaul's iters.py). Each round sends what was written to
 * since the one before, so one that is small, or not smaller than the last, says that another one gains nothing. Beyond P.Haul's: what
 * goes ahead is kept at the destination until the restore, so all later rounds together are no larger than the first by much.
 */

/** Rounds at most. */
export const maxMemoryRounds = 8;
/** A round with no more pages than this is small enough. */
const fewPages = 64;
/** A round that has grown by more than this, in percent, will not get better. */
const growth = 10;

/** @param pages those that each round so far has sent @returns why there is no other round, in words; undefined if there is one */
export function whyStop(pages: readonly number[]): string | undefined {
  const last = pages.at(-1);
  const before = pages.at(-2);
  if (last === undefined) return undefined;
  if (last <= fewPages) return `only ${last} pages were left`;
  if (before !== undefined && (last - before) * 100 > before * growth) return `no progress: ${last} pages after ${before}`;
  const again = pages.slice(1).reduce((sum, count) => sum + count, 0);
  if (again >= pages[0]!) return `as much was sent again as it has: ${again} pages`;
  return pages.length >= maxMemoryRounds ? `${maxMemoryRounds} rounds were made` : undefined;
}

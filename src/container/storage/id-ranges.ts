/** Private uid/gid ranges: each container has 65536 host ids of its own. */
import { HaulierError } from '../../base/errors.js';

/** Ids in one range. */
export const rangeSize = 65_536;

/**
 * The lowest range that overlaps none of `used`.
 * @param pool.base first host id of the first range; @param pool.ranges how many there are
 * @param used first ids of the ranges in use (a range from another `base` counts where it overlaps)
 * @returns the range's first host id; the caller records it before it asks again
 * @throws NO_RESOURCES if none is free
 */
export function lowestFreeRange(pool: { readonly base: number; readonly ranges: number }, used: Iterable<number>): number {
  const taken = new Set<number>();
  for (const id of used) {
    const first = Math.floor((id - pool.base) / rangeSize);
    taken.add(first);
    if ((id - pool.base) % rangeSize !== 0) taken.add(first + 1);
  }
  for (let index = 0; index < pool.ranges; index++) if (!taken.has(index)) return pool.base + index * rangeSize;
  throw new HaulierError('NO_RESOURCES', { reason: `all ${pool.ranges} id ranges from ${pool.base} are in use` });
}

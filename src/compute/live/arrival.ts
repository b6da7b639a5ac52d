/** What this host has of a server that another host may be hauling to it. */
import type { Compute } from '../compute.js';

/** `coming`: a haul is under way, and not decided: what is here may still be the source's. */
export type Arrival = 'coming' | 'here' | 'nothing';

/** For whoever counts on the answer: a haul that has not begun does not begin any more. */
export async function arrivalOf(compute: Compute, uuid: string): Promise<Arrival> {
  compute.hauls.forget(uuid, compute.hauls.expected(uuid) ?? ''); // first: what has begun by now is seen, or decided
  if (await compute.hauls.coming(uuid)) return 'coming';
  return (await compute.containers.view(uuid)).state === 'missing' ? 'nothing' : 'here';
}

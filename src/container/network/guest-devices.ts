/** Names of a container's interfaces. They stay with their ports as long as the container lives: a socket bound to one must find it again after a resume. */
import type { VifSpec } from '../spec.js';

/**
 * Interfaces get fixed numbers, above those that the kernel gives away by itself in a new namespace: a packet socket (a DHCP client)
 * is bound to a number, and must find it again after a restore.
 */
const firstIndex = 100;

/** First metric of default routes: interfaces in order of their names, so that the first one wins. */
const firstMetric = 100;

/** The number in a name: 2 of `eth2`. */
function placeOf({ guestDevice }: Pick<VifSpec, 'guestDevice'>): number {
  return Number(/\d+$/.exec(guestDevice)?.[0] ?? 0);
}

/** Index of an interface in its namespace. */
export function indexOf(vif: Pick<VifSpec, 'guestDevice'>): number {
  return firstIndex + placeOf(vif);
}

/** Metric of its default routes. */
export function metricOf(vif: Pick<VifSpec, 'guestDevice'>): number {
  return firstMetric + placeOf(vif);
}

/** `vifs` with the names that their ports have in `before`; a new port has the name it came with, or, if that is taken, the first free one. */
export function keepNames(vifs: readonly VifSpec[], before: readonly VifSpec[]): VifSpec[] {
  const known = new Map(before.map(({ id, guestDevice }) => [id, guestDevice]));
  const taken = new Set(vifs.flatMap(({ id }) => known.get(id) ?? []));
  const free = (wanted: string): string => {
    let name = wanted;
    for (let place = 0; taken.has(name); place++) name = `eth${place}`;
    taken.add(name);
    return name;
  };
  return vifs.map((vif) => ({ ...vif, guestDevice: known.get(vif.id) ?? free(vif.guestDevice) }));
}

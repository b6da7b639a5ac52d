/** Where a container lies that is set aside, for a resize, a move or a rescue. */
import type { InstanceStore } from './state.js';

/** Suffix of its directory. */
export const keptSuffix = '_resize';

/** Its directory. */
export function keptFolder({ store }: { readonly store: Pick<InstanceStore, 'paths'> }, id: string): string {
  return store.paths(id).folder + keptSuffix;
}

/** Whose an instance is: the fields that say on which host it lives (contract C.3 step 6, C.10). Changed here, saved by the caller. */
import type { Compute } from './compute.js';
import type { NovaObject } from '../nova/object.js';

/** The instance lives here, and was launched here. */
export function placeHere(compute: Compute, instance: NovaObject): void {
  moveHere(compute, instance);
  instance.set('launched_on', compute.settings.host);
}

/** The instance lives here, wherever it was launched. */
export function moveHere(compute: Compute, instance: NovaObject): void {
  instance.set('host', compute.settings.host);
  instance.set('node', compute.node.hypervisorHostname);
  if (compute.conductor.release !== 'zed') instance.set('compute_id', compute.node.id);
}

/** The instance lives nowhere. */
export function placeNowhere(compute: Compute, instance: NovaObject): void {
  for (const field of ['host', 'node', 'launched_on', 'availability_zone']) instance.set(field, null);
  if (compute.conductor.release !== 'zed') instance.set('compute_id', null);
}

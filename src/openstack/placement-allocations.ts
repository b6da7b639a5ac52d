/** Allocations in placement: who holds what of a provider, and moving or deleting a consumer's (contract E.2). */
import { HaulierError } from '../base/errors.js';
import { statusOf, typeOf } from './rest-errors.js';
import type { RestResponse } from './rest.js';
import type { Call } from './session.js';

/** Repeats of a change that met another one at the same time; nova's resource tracker has the same number. */
export const conflictRedoes = 4;

/** Sends one call to placement. */
export type PlacementCall = (call: Call) => Promise<RestResponse>;

/** A consumer as `GET /allocations/{uuid}` shows it at 1.28; without allocations only the first member is there. */
interface Consumer {
  readonly allocations: Readonly<Record<string, unknown>>;
  readonly project_id?: string;
  readonly user_id?: string;
  readonly consumer_generation?: number | null;
}

const moveVersion = { 'openstack-api-version': 'placement 1.28' };

/** True for a 409 that a new reading may cure. */
export function isConflict(error: unknown): boolean {
  return statusOf(error) === 409 && typeOf(error) !== 'placement.inventory.inuse';
}

/** Allocations on a provider: consumer uuid to resources. */
export async function allocationsOf(call: PlacementCall, provider: string): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>> {
  const answer = await call({ method: 'GET', path: `/resource_providers/${encodeURIComponent(provider)}/allocations` });
  const { allocations } = answer.body as { allocations: Record<string, { resources: Record<string, number> }> };
  return Object.fromEntries(Object.entries(allocations).map(([consumer, { resources }]) => [consumer, resources]));
}

/** Deletes a consumer's allocations; that there are none (404) is fine. */
export async function deleteAllocations(call: PlacementCall, consumer: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await call({ method: 'DELETE', path: `/allocations/${encodeURIComponent(consumer)}` });
      return;
    } catch (error) {
      if (statusOf(error) === 404) return;
      if (!isConflict(error) || attempt >= conflictRedoes) throw error;
    }
  }
}

async function consumer(call: PlacementCall, uuid: string): Promise<Consumer> {
  return (await call({ method: 'GET', path: `/allocations/${encodeURIComponent(uuid)}`, headers: moveVersion })).body as Consumer;
}

/**
 * Gives all that `from` holds to `to`, in one step; what `to` held is replaced. False if `from` holds nothing.
 * @throws REST_FAILED; a 409 at once if one of the consumers itself was changed meanwhile: somebody else moves them too
 */
export async function moveAllocations(call: PlacementCall, from: string, to: string): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    const source = await consumer(call, from);
    if (Object.keys(source.allocations).length === 0) return false;
    const target = await consumer(call, to);
    const owner = { project_id: source.project_id, user_id: source.user_id };
    try {
      await call({
        method: 'POST',
        path: '/allocations',
        headers: moveVersion,
        json: {
          [from]: { allocations: {}, ...owner, consumer_generation: source.consumer_generation },
          [to]: {
            allocations: source.allocations,
            project_id: target.project_id ?? owner.project_id,
            user_id: target.user_id ?? owner.user_id,
            consumer_generation: target.consumer_generation ?? null,
          },
        },
      });
      return true;
    } catch (error) {
      const consumerChanged = error instanceof HaulierError && /consumer generation conflict/i.test(String(error.details['reason']));
      if (consumerChanged || !isConflict(error) || attempt >= conflictRedoes) throw error;
    }
  }
}

/** Takes one provider's part out of what `uuid` holds; nothing to do if there is none. */
export async function removeProvider(call: PlacementCall, uuid: string, provider: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const held = await consumer(call, uuid);
    if (!(provider in held.allocations)) return;
    const rest = Object.fromEntries(Object.entries(held.allocations).filter(([key]) => key !== provider));
    const json = { allocations: rest, project_id: held.project_id, user_id: held.user_id, consumer_generation: held.consumer_generation };
    try {
      await call({ method: 'PUT', path: `/allocations/${encodeURIComponent(uuid)}`, headers: moveVersion, json });
      return;
    } catch (error) {
      if (!isConflict(error) || attempt >= conflictRedoes) throw error;
    }
  }
}

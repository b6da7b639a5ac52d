/** Placement's REST API as a compute service uses it: the provider (contract E.1; microversions as nova's report client sends them). */
import { HaulierError } from '../base/errors.js';
import { KeyedLock } from '../base/lock.js';
import { allocationsOf, conflictRedoes, deleteAllocations, isConflict, moveAllocations, removeProvider } from './placement-allocations.js';
import { statusOf, typeOf } from './rest-errors.js';
import type { RestResponse } from './rest.js';
import type { Call, Session } from './session.js';
import type { Inventory, Placement, PlacementScope } from './types.js';

const defaultRefreshMs = 300_000;
const inventoryFields = ['total', 'reserved', 'allocation_ratio', 'min_unit', 'max_unit', 'step_size'] as const;

/** What is known of a provider. Replaced as a whole by a fresh reading, forgotten after any failure. */
interface Known {
  readonly name: string;
  readonly since: number;
  generation: number;
  inventories: Readonly<Record<string, Inventory>> | undefined;
  traits: readonly string[] | undefined;
  /** Standard traits that this placement does not know. */
  readonly unknown: Set<string>;
}

interface ProviderRow { readonly uuid: string; readonly name: string; readonly generation: number }

const version = (number: string): Record<string, string> => ({ 'openstack-api-version': `placement ${number}` });

function sameInventories(one: Readonly<Record<string, Inventory>>, other: Readonly<Record<string, Inventory>>): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length
    && names.every((name) => inventoryFields.every((field) => one[name]?.[field] === other[name]?.[field]));
}

/** The REST client. Changes of one provider wait for each other. */
export class PlacementClient implements Placement {
  readonly #session: Session;
  readonly #refreshMs: number;
  readonly #known = new Map<string, Known>();
  readonly #knownTraits = new Set<string>();
  readonly #lock = new KeyedLock();

  /** @param refreshMs milliseconds after which what is known of a provider is read again (`resource_provider_association_refresh`); 0: never */
  constructor(session: Session, refreshMs: number = defaultRefreshMs) {
    this.#session = session;
    this.#refreshMs = refreshMs > 0 ? refreshMs : Infinity;
  }

  async ensureProvider(uuid: string, name: string, scope: PlacementScope = {}): Promise<void> {
    await this.#lock.hold(uuid, async () => {
      const known = this.#fresh(uuid);
      const provider = known ?? await this.#find(uuid, scope) ?? await this.#create(uuid, name, scope);
      if (provider.name !== name) {
        throw new HaulierError('IDENTITY', { reason: `its resource provider ${uuid} is named ${provider.name}, not ${name}` });
      }
    });
  }

  async inventories(provider: string, scope: PlacementScope = {}): Promise<Readonly<Record<string, Inventory>>> {
    return this.#lock.hold(provider, () => this.#forgetting(provider, () => this.#inventories(provider, scope)));
  }

  async setInventories(provider: string, inventories: Readonly<Record<string, Inventory>>, scope: PlacementScope = {}): Promise<void> {
    const wanted = Object.fromEntries(Object.entries(inventories).filter(([, inventory]) => inventory.total > 0));
    await this.#change(provider, async () => {
      const current = await this.#inventories(provider, scope);
      if (sameInventories(current, wanted)) return;
      const known = await this.#get(provider, scope);
      const answer = await this.#call(scope, {
        method: 'PUT',
        path: `/resource_providers/${encodeURIComponent(provider)}/inventories`,
        headers: version('1.26'),
        json: { resource_provider_generation: known.generation, inventories: wanted },
      }).catch((error: unknown) => { throw inUse(error, Object.keys(current).filter((name) => !(name in wanted))); });
      known.inventories = wanted;
      known.generation = generationOf(answer);
    });
  }

  async setTraits(provider: string, present: readonly string[], absent: readonly string[], scope: PlacementScope = {}): Promise<readonly string[]> {
    return this.#change(provider, async () => {
      const current = await this.#traits(provider, scope);
      const known = await this.#get(provider, scope);
      await this.#ensureTraits(known, present, scope);
      const possible = present.filter((name) => !known.unknown.has(name));
      const wanted = [...new Set([...current.filter((name) => !absent.includes(name)), ...possible])];
      if (wanted.length !== current.length || wanted.some((name) => !current.includes(name))) {
        const answer = await this.#call(scope, {
          method: 'PUT',
          path: `/resource_providers/${encodeURIComponent(provider)}/traits`,
          headers: version('1.6'),
          json: { resource_provider_generation: known.generation, traits: wanted },
        });
        known.traits = wanted;
        known.generation = generationOf(answer);
      }
      return present.filter((name) => known.unknown.has(name));
    });
  }

  allocationsOf(provider: string, scope: PlacementScope = {}): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>> {
    return allocationsOf((call) => this.#call(scope, call), provider);
  }

  moveAllocations(from: string, to: string, scope: PlacementScope = {}): Promise<boolean> {
    return moveAllocations((call) => this.#call(scope, call), from, to);
  }

  removeProviderFromAllocations(consumer: string, provider: string, scope: PlacementScope = {}): Promise<void> {
    return removeProvider((call) => this.#call(scope, call), consumer, provider);
  }

  deleteAllocations(consumer: string, scope: PlacementScope = {}): Promise<void> {
    return deleteAllocations((call) => this.#call(scope, call), consumer);
  }

  /** Runs a change of a provider; after a conflict it is read again and the change redone. */
  #change<T>(provider: string, change: () => Promise<T>): Promise<T> {
    return this.#lock.hold(provider, async () => {
      for (let attempt = 0; ; attempt++) {
        try {
          return await this.#forgetting(provider, change);
        } catch (error) {
          const traitGone = statusOf(error) === 400 && /no such trait/i.test(String((error as HaulierError).details['reason']));
          if (traitGone) this.#knownTraits.clear(); // an operator deleted it
          if (!(traitGone || isConflict(error)) || attempt >= conflictRedoes) throw error;
        }
      }
    });
  }

  /** Forgets the provider if `work` fails: what is remembered may be the reason. */
  async #forgetting<T>(provider: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#known.delete(provider);
      throw error;
    }
  }

  #fresh(uuid: string): Known | undefined {
    const known = this.#known.get(uuid);
    return known && performance.now() - known.since < this.#refreshMs ? known : undefined;
  }

  async #get(uuid: string, scope: PlacementScope): Promise<Known> {
    const known = this.#fresh(uuid) ?? await this.#find(uuid, scope);
    if (known) return known;
    throw new HaulierError('REST_FAILED', { service: 'placement', method: 'GET', path: '/resource_providers', status: 404, reason: `there is no resource provider ${uuid}` });
  }

  async #find(uuid: string, scope: PlacementScope): Promise<Known | undefined> {
    const answer = await this.#call(scope, { method: 'GET', path: '/resource_providers', query: { in_tree: uuid }, headers: version('1.14') });
    const { resource_providers: rows } = answer.body as { resource_providers: ProviderRow[] };
    const row = rows.find((candidate) => candidate.uuid === uuid);
    return row && this.#remember(row, undefined, undefined);
  }

  async #create(uuid: string, name: string, scope: PlacementScope): Promise<Known> {
    try {
      const answer = await this.#call(scope, { method: 'POST', path: '/resource_providers', headers: version('1.20'), json: { uuid, name } });
      return this.#remember(answer.body as ProviderRow, {}, []);
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      if (/conflicting resource provider name/i.test(String((error as HaulierError).details['reason']))) {
        throw new HaulierError('IDENTITY', { reason: `another resource provider than ${uuid} has the name ${name}; delete that one, or restore this host's compute_id` }, { cause: error });
      }
      const found = await this.#find(uuid, scope); // somebody made it just now
      if (!found) throw error;
      return found;
    }
  }

  #remember(row: ProviderRow, inventories: Known['inventories'], traits: Known['traits']): Known {
    const known: Known = { name: row.name, since: performance.now(), generation: row.generation, inventories, traits, unknown: new Set() };
    this.#known.set(row.uuid, known);
    return known;
  }

  async #inventories(provider: string, scope: PlacementScope): Promise<Readonly<Record<string, Inventory>>> {
    const known = await this.#get(provider, scope);
    if (!known.inventories) {
      const answer = await this.#call(scope, { method: 'GET', path: `/resource_providers/${encodeURIComponent(provider)}/inventories` });
      known.inventories = (answer.body as { inventories: Record<string, Inventory> }).inventories;
      // the older of two readings: a change in between must show as a conflict
      known.generation = Math.min(known.generation, generationOf(answer));
    }
    return known.inventories;
  }

  async #traits(provider: string, scope: PlacementScope): Promise<readonly string[]> {
    const known = await this.#get(provider, scope);
    if (!known.traits) {
      const answer = await this.#call(scope, { method: 'GET', path: `/resource_providers/${encodeURIComponent(provider)}/traits`, headers: version('1.6') });
      known.traits = (answer.body as { traits: string[] }).traits;
      for (const name of known.traits) this.#knownTraits.add(name);
      known.generation = Math.min(known.generation, generationOf(answer));
    }
    return known.traits;
  }

  /** Creates missing CUSTOM_ traits; notes unknown standard ones, which only placement's own release can bring. */
  async #ensureTraits(known: Known, names: readonly string[], scope: PlacementScope): Promise<void> {
    const asked = names.filter((name) => !this.#knownTraits.has(name) && !known.unknown.has(name));
    if (asked.length === 0) return;
    const answer = await this.#call(scope, { method: 'GET', path: '/traits', query: { name: `in:${asked.join(',')}` }, headers: version('1.6') });
    const there = new Set((answer.body as { traits: string[] }).traits);
    for (const name of asked) {
      if (!there.has(name) && name.startsWith('CUSTOM_')) await this.#call(scope, { method: 'PUT', path: `/traits/${encodeURIComponent(name)}`, headers: version('1.6') });
      if (there.has(name) || name.startsWith('CUSTOM_')) this.#knownTraits.add(name);
      else known.unknown.add(name);
    }
  }

  #call(scope: PlacementScope, call: Call): Promise<RestResponse> {
    return this.#session.request({ requestId: scope.requestId, signal: scope.signal, identity: { kind: 'service' } }, call);
  }
}

function generationOf(answer: RestResponse): number {
  return (answer.body as { resource_provider_generation: number }).resource_provider_generation;
}

/** Says in plain words that allocations forbid the removal of a class. */
function inUse(error: unknown, removed: readonly string[]): unknown {
  if (!(error instanceof HaulierError) || statusOf(error) !== 409) return error;
  const reason = String(error.details['reason']);
  if (typeOf(error) !== 'placement.inventory.inuse' && !/inventory for .* in use/i.test(reason)) return error;
  const said = `inventory of ${removed.join(', ')} cannot be removed while servers have allocations of it (${reason})`;
  return new HaulierError('REST_FAILED', { ...error.details, type: 'placement.inventory.inuse', reason: said }, { cause: error });
}

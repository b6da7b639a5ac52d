/** Placement's routes: providers, inventories, traits, allocations, each change with its generation check. */
import { Refusal, type RestAnswer, type RestCall, type Route } from './server.js';
import type { Amounts, Inventories, Inventory, Provider } from './inventory.js';

/** Standard traits are the release's own; CUSTOM_ ones are made by those who need them. */
const standard = /^(COMPUTE|HW|STORAGE|MISC|OWNER)_[A-Z0-9_]+$/;

function refuse(status: number, detail: string, code = 'placement.undefined_code'): Refusal {
  return new Refusal(status, { errors: [{ status, title: 'Conflict', detail, code }] });
}

function view(provider: Provider): Record<string, unknown> {
  return { uuid: provider.uuid, name: provider.name, generation: provider.generation, root_provider_uuid: provider.uuid, parent_provider_uuid: null, links: [] };
}

interface WireAllocations { readonly allocations: Record<string, { readonly resources: Amounts }>; readonly project_id?: string; readonly user_id?: string; readonly consumer_generation?: number | null }

/** The routes over `store`. */
export function placementRoutes(store: Inventories): Route[] {
  const customs = new Set<string>();

  function provider({ params }: RestCall): Provider {
    const found = store.providers.get(params['id'] ?? '');
    if (!found) throw refuse(404, `No resource provider with uuid ${params['id']} found`);
    return found;
  }
  function checkGeneration(of: Provider, body: RestCall['body']): void {
    if (body['resource_provider_generation'] !== of.generation) throw refuse(409, 'resource provider generation conflict', 'placement.concurrent_update');
  }
  function setInventories(call: RestCall): RestAnswer {
    const of = provider(call);
    checkGeneration(of, call.body);
    const wanted = call.body['inventories'] as Record<string, Inventory>;
    const missing = [...store.used(of.uuid).keys()].filter((name) => !(name in wanted));
    if (missing.length > 0) throw refuse(409, `Inventory for '${missing.join(', ')}' on resource provider '${of.uuid}' in use.`, 'placement.inventory.inuse');
    of.inventories = wanted;
    of.generation++;
    return { body: { resource_provider_generation: of.generation, inventories: wanted } };
  }
  function setTraits(call: RestCall): RestAnswer {
    const of = provider(call);
    checkGeneration(of, call.body);
    const traits = call.body['traits'] as string[];
    const unknown = traits.filter((name) => !standard.test(name) && !customs.has(name));
    if (unknown.length > 0) throw refuse(400, `No such trait ${unknown.join(', ')}.`);
    of.traits = traits;
    of.generation++;
    return { body: { resource_provider_generation: of.generation, traits } };
  }
  function consumerView(uuid: string): Record<string, unknown> {
    const consumer = store.consumers.get(uuid);
    if (!consumer) return { allocations: {} };
    const allocations = Object.fromEntries([...consumer.allocations].map(([id, resources]) => [id, { resources, generation: store.providers.get(id)?.generation }]));
    return { allocations, project_id: consumer.projectId, user_id: consumer.userId, consumer_generation: consumer.generation };
  }
  function checkConsumer(uuid: string, wire: WireAllocations): Map<string, Amounts> {
    const before = store.consumers.get(uuid);
    if ((before?.generation ?? null) !== (wire.consumer_generation ?? null)) throw refuse(409, `consumer generation conflict - expected ${before?.generation ?? 'null'}`, 'placement.concurrent_update');
    const allocations = new Map(Object.entries(wire.allocations).map(([id, { resources }]) => [id, resources]));
    for (const [id] of allocations) if (!store.providers.has(id)) throw refuse(400, `Allocation for resource provider '${id}' that does not exist.`);
    return allocations;
  }
  function write(all: Record<string, WireAllocations>): RestAnswer {
    const checked = Object.entries(all).map(([uuid, wire]) => [uuid, checkConsumer(uuid, wire), wire] as const);
    for (const [uuid, allocations, wire] of checked) store.hold(uuid, allocations, { projectId: wire.project_id ?? '', userId: wire.user_id ?? '' });
    return { status: 204 };
  }

  return [
    { at: 'GET /', open: true, run: () => ({ body: { versions: [{ id: 'v1.0', min_version: '1.0', max_version: '1.39', status: 'CURRENT', links: [] }] } }) },
    {
      at: 'GET /resource_providers',
      run: ({ query }) => {
        const tree = query.get('in_tree') ?? query.get('uuid');
        const name = query.get('name');
        const rows = [...store.providers.values()].filter((row) => (tree === null || row.uuid === tree) && (name === null || row.name === name));
        return { body: { resource_providers: rows.map(view) } };
      },
    },
    {
      at: 'POST /resource_providers',
      run: ({ body }) => {
        const [uuid, name] = [String(body['uuid']), String(body['name'])];
        if (store.providers.has(uuid)) throw refuse(409, `Conflicting resource provider uuid: ${uuid} already exists.`);
        if ([...store.providers.values()].some((row) => row.name === name)) throw refuse(409, `Conflicting resource provider name: ${name} already exists.`, 'placement.duplicate_name');
        const made: Provider = { uuid, name, generation: 0, inventories: {}, traits: [] };
        store.providers.set(uuid, made);
        return { body: view(made) };
      },
    },
    { at: 'GET /resource_providers/:id/inventories', run: (call) => ({ body: { resource_provider_generation: provider(call).generation, inventories: provider(call).inventories } }) },
    { at: 'PUT /resource_providers/:id/inventories', run: setInventories },
    { at: 'GET /resource_providers/:id/traits', run: (call) => ({ body: { resource_provider_generation: provider(call).generation, traits: provider(call).traits } }) },
    { at: 'PUT /resource_providers/:id/traits', run: setTraits },
    {
      at: 'GET /resource_providers/:id/allocations',
      run: (call) => {
        const of = provider(call);
        const held = [...store.consumers].flatMap(([uuid, { allocations }]) => (allocations.has(of.uuid) ? [[uuid, { resources: allocations.get(of.uuid) }] as const] : []));
        return { body: { allocations: Object.fromEntries(held), resource_provider_generation: of.generation } };
      },
    },
    {
      at: 'GET /traits',
      run: ({ query }) => {
        const names = (query.get('name') ?? '').replace(/^in:/, '').split(',');
        return { body: { traits: names.filter((name) => standard.test(name) || customs.has(name)) } };
      },
    },
    {
      at: 'PUT /traits/:name',
      run: ({ params }) => {
        customs.add(params['name'] ?? '');
        return { status: 201 };
      },
    },
    { at: 'GET /allocations/:id', run: ({ params }) => ({ body: consumerView(params['id'] ?? '') }) },
    { at: 'PUT /allocations/:id', run: ({ params, body }) => write({ [params['id'] ?? '']: body as unknown as WireAllocations }) },
    { at: 'POST /allocations', run: ({ body }) => write(body as unknown as Record<string, WireAllocations>) },
    {
      at: 'DELETE /allocations/:id',
      run: ({ params }) => {
        const uuid = params['id'] ?? '';
        const consumer = store.consumers.get(uuid);
        if (!consumer) throw refuse(404, `No allocations for consumer '${uuid}'`);
        store.hold(uuid, new Map(), consumer);
        return { status: 204 };
      },
    },
  ];
}

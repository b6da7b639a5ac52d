/** The part of Nova's API that the command line uses, in Nova's own words (compute API v2.1). */
import { isUp } from '../cell/services.js';
import type { Row } from '../cell/table.js';
import { Refusal, type RestCall, type Route } from '../rest/server.js';
import { cacheOf } from '../cell/instance-row.js';
import { bootServer } from './boot.js';
import type { Control } from './control.js';
import { flavors } from './flavors.js';
import { consoleOutput, deleteServer, isOperation, operate } from './operations.js';

const statuses: Readonly<Record<string, string>> = { active: 'ACTIVE', building: 'BUILD', stopped: 'SHUTOFF', paused: 'PAUSED', error: 'ERROR', deleted: 'DELETED' };
const taskStatuses: Readonly<Record<string, string>> = { rebooting: 'REBOOT', reboot_pending: 'REBOOT', reboot_started: 'REBOOT', rebooting_hard: 'HARD_REBOOT', reboot_pending_hard: 'HARD_REBOOT', reboot_started_hard: 'HARD_REBOOT' };

interface CachedVif { readonly address: string; readonly network: { readonly label: string; readonly subnets: readonly { readonly version: number; readonly ips: readonly { readonly address: string }[] }[] } }

function addresses(row: Row): Record<string, unknown[]> {
  const vifs = JSON.parse(String(cacheOf(row)['network_info'] ?? '[]')) as CachedVif[];
  const all: Record<string, unknown[]> = {};
  for (const { address: mac, network } of vifs) {
    for (const { version, ips } of network.subnets) for (const ip of ips) (all[network.label] ??= []).push({ addr: ip.address, version, 'OS-EXT-IPS-MAC:mac_addr': mac, 'OS-EXT-IPS:type': 'fixed' });
  }
  return all;
}

function view(control: Control, row: Row): Row {
  const fault = control.cell.faults.all({ instance_uuid: row['uuid'] }).at(-1);
  const state = String(row['vm_state']);
  return {
    id: row['uuid'], name: row['display_name'], status: (state === 'active' ? taskStatuses[String(row['task_state'])] : undefined) ?? statuses[state] ?? state.toUpperCase(),
    addresses: addresses(row), image: { id: row['image_ref'] }, flavor: { original_name: flavors.find(({ id }) => id === row['instance_type_id'])?.name },
    created: row['created_at'], updated: row['updated_at'], metadata: row['metadata'],
    'OS-EXT-STS:vm_state': row['vm_state'], 'OS-EXT-STS:task_state': row['task_state'], 'OS-EXT-STS:power_state': row['power_state'], 'OS-SRV-USG:launched_at': row['launched_at'],
    'OS-EXT-SRV-ATTR:host': row['host'], 'OS-EXT-SRV-ATTR:instance_name': `instance-${Number(row['id']).toString(16).padStart(8, '0')}`,
    ...(fault && state === 'error' ? { fault: { code: fault['code'], message: fault['message'], created: fault['created_at'] } } : {}),
  };
}

function notFound(message: string): Refusal {
  return new Refusal(404, { itemNotFound: { code: 404, message } });
}

function badRequest(message: string): Refusal {
  return new Refusal(400, { badRequest: { code: 400, message } });
}

/** The routes. */
export function novaRoutes(control: Control): Route[] {
  const { cell } = control;

  function server({ params }: RestCall): Row {
    const row = cell.instances.one({ uuid: params['id'] });
    if (!row) throw notFound(`Instance ${params['id']} could not be found.`);
    return row;
  }
  async function create({ body }: RestCall): Promise<Row> {
    const { name, imageRef, flavorRef, user_data: userData, metadata, networks } = (body['server'] ?? {}) as Record<string, unknown>;
    if (typeof name !== 'string' || name === '') throw badRequest('a server needs a name');
    const flavor = flavors.find((one) => one.name === flavorRef);
    if (!flavor) throw badRequest(`Flavor ${String(flavorRef)} could not be found; there are ${flavors.map((one) => one.name).join(', ')}.`);
    const image = control.images.get(String(imageRef));
    if (image['status'] !== 'active') throw badRequest(`Image ${image.id} is not active.`);
    return bootServer(control, { name, image, flavor, userData: typeof userData === 'string' ? userData : null, metadata: (metadata ?? {}) as Record<string, string>, ports: networks === 'none' ? 'none' : 'auto' });
  }
  async function act(call: RestCall): Promise<{ status: number; body?: unknown }> {
    const row = server(call);
    const [name = ''] = Object.keys(call.body);
    const argument = call.body[name] as Row | null;
    if (name === 'os-getConsoleOutput') return { status: 200, body: { output: await consoleOutput(control, row, typeof argument?.['length'] === 'number' ? argument['length'] : null) } };
    const operation = name === 'reboot' ? String(argument?.['type'] ?? 'SOFT').toLowerCase() : name;
    if (!isOperation(operation)) throw badRequest(`There is no action ${name} here.`);
    await operate(control, row, operation);
    return { status: 202 };
  }

  return [
    { at: 'GET /v2.1/servers', run: ({ query }) => ({ body: { servers: cell.instances.all().filter((row) => [null, row['display_name']].includes(query.get('name'))).map((row) => view(control, row)) } }) },
    { at: 'POST /v2.1/servers', run: async (call) => ({ status: 202, body: { server: view(control, await create(call)) } }) },
    { at: 'GET /v2.1/servers/:id', run: (call) => ({ body: { server: view(control, server(call)) } }) },
    { at: 'POST /v2.1/servers/:id/action', run: act },
    {
      at: 'DELETE /v2.1/servers/:id',
      run: async (call) => {
        await deleteServer(control, server(call));
        return { status: 204 };
      },
    },
    {
      at: 'GET /v2.1/servers/:id/os-instance-actions',
      run: ({ params }) => ({ body: { instanceActions: cell.actions.all({ instance_uuid: params['id'] }).map((row) => ({ ...row, events: cell.events.all({ action_id: row['id'] }) })) } }),
    },
    {
      at: 'GET /v2.1/os-services',
      run: () => ({ body: { services: cell.services.all().map((row) => ({ ...row, status: row['disabled'] ? 'disabled' : 'enabled', state: row['topic'] !== 'compute' || isUp(row) ? 'up' : 'down' })) } }),
    },
    { at: 'GET /v2.1/flavors', run: () => ({ body: { flavors } }) },
  ];
}

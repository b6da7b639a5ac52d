/** Neutron's routes, and its agent: it makes the bridge, watches it, and says when a port is wired. */
import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Log } from '../../../src/base/log.js';
import { bridge, networks, securityGroups, subnets, type Port, type Ports } from './ports.js';
import type { RestAnswer, Route } from './server.js';

const run = promisify(execFile);
const pollMs = 50;

/** What nova hears of neutron. */
export type PortEvent = 'network-vif-plugged' | 'network-vif-unplugged' | 'network-vif-deleted' | 'network-changed';
export type OnPortEvent = (name: PortEvent, port: Port) => void;

/** Filters as neutron takes them: a repeated parameter means any of its values. */
function filtered(rows: readonly Record<string, unknown>[], query: URLSearchParams): Record<string, unknown>[] {
  const names = [...new Set(query.keys())].filter((name) => name !== 'fields');
  const equal = (value: unknown, wanted: string): boolean => (typeof value === 'boolean' ? String(value) === wanted.toLowerCase() : value === wanted);
  return rows.filter((row) => names.every((name) => query.getAll(name).some((wanted) => equal(row[name], wanted))));
}

/** The routes over `ports`. */
export function neutronRoutes(ports: Ports, onEvent: OnPortEvent): Route[] {
  const list = (name: string, rows: () => readonly Record<string, unknown>[]): Route => ({
    at: `GET /v2.0/${name}`, run: ({ query }): RestAnswer => ({ body: { [name.replaceAll('-', '_')]: filtered(rows(), query) } }),
  });
  return [
    list('networks', () => networks),
    list('subnets', () => subnets),
    list('ports', () => ports.all()),
    list('security-groups', () => securityGroups),
    { at: 'GET /v2.0/extensions', run: () => ({ body: { extensions: ['binding', 'security-group'].map((alias) => ({ alias, name: alias, description: '', links: [] })) } }) },
    { at: 'GET /v2.0/ports/:id', run: ({ params }) => ({ body: { port: ports.get(params['id'] ?? '') } }) },
    { at: 'POST /v2.0/ports', run: ({ body }) => ({ status: 201, body: { port: ports.create((body['port'] ?? {}) as Record<string, unknown>) } }) },
    { at: 'PUT /v2.0/ports/:id', run: ({ params, body }) => ({ body: { port: ports.update(params['id'] ?? '', (body['port'] ?? {}) as Record<string, unknown>) } }) },
    {
      at: 'DELETE /v2.0/ports/:id',
      run: ({ params }) => {
        onEvent('network-vif-deleted', ports.delete(params['id'] ?? ''));
        return { status: 204 };
      },
    },
  ];
}

/** Makes the bridge with the gateway's addresses, as a router of the network would have them. Idempotent. */
export async function makeBridge(): Promise<void> {
  const ip = (...args: string[]): Promise<unknown> => run('ip', args);
  await ip('link', 'add', bridge.name, 'address', '02:00:00:73:00:01', 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0').catch((error: unknown) => {
    if (!String(error).includes('File exists')) throw error;
  });
  await writeFile(`/proc/sys/net/ipv6/conf/${bridge.name}/accept_dad`, '0').catch(() => undefined);
  await ip('addr', 'replace', `${bridge.gateway4}/24`, 'dev', bridge.name);
  await ip('addr', 'replace', `${bridge.gateway6}/64`, 'dev', bridge.name, 'nodad').catch(() => undefined); // a kernel without IPv6
  await ip('link', 'set', bridge.name, 'up');
}

/**
 * Watches the bridge: a bound port whose device is on it becomes ACTIVE and nova hears `network-vif-plugged`; one whose device
 * has gone becomes DOWN. This is what neutron's Linux bridge agent does, by the same polling.
 */
export function startAgent(ports: Ports, onEvent: OnPortEvent, log: Log): { stop(): void } {
  let stopped = false;
  const look = async (): Promise<void> => {
    const bound = ports.all().filter((port) => port['binding:vif_type'] === 'bridge');
    if (bound.length === 0) return;
    const devices = new Set(await readdir(`/sys/class/net/${bridge.name}/brif`));
    for (const port of bound) {
      const wired = devices.has(`tap${port.id}`.slice(0, 14));
      if (wired === (port['status'] === 'ACTIVE')) continue;
      port['status'] = wired ? 'ACTIVE' : 'DOWN';
      onEvent(wired ? 'network-vif-plugged' : 'network-vif-unplugged', port);
    }
  };
  const next = (): void => {
    if (stopped) return;
    look().catch((error: unknown) => log.warn({ err: error }, 'cannot look at the bridge')).finally(() => setTimeout(next, pollMs).unref());
  };
  next();
  return { stop: () => { stopped = true; } };
}

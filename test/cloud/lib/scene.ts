/**
 * What one test works with. Whatever it makes is deleted when it ends, well or badly, and then nothing may be left: no server,
 * port, allocation, and on no host anything that bears the name of one of its servers or ports.
 */
import type { ExecutionContext } from 'ava';
import { randomBytes } from 'node:crypto';
import { ApiError, type Session } from './api.js';
import { container, haulierPid, hosts, startHaulier, stopHaulier, traces, type Contained, type HostName } from './host.js';
import { cloud, answers, until } from './machine.js';
import { ground, type Ground } from './project.js';
import type { Action, Port, Server, Service } from './types.js';

/** One network interface of a server to boot. */
export interface Nic { readonly uuid?: string; readonly port?: string; readonly fixed_ip?: string }

/** What a server is booted from; the rest is the small image, flavor and network. */
export interface Boot {
  readonly host?: HostName;
  /** `az:host`: the other way to name a host. */
  readonly zone?: string;
  readonly image?: string;
  readonly flavor?: string;
  readonly networks?: readonly Nic[] | 'none' | 'auto';
  readonly count?: number;
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Scheduler hints. */
  readonly hints?: Readonly<Record<string, string>>;
}

/** Nova's `service_down_time` is 60 s; no test step takes as long as the rest. */
const staleMs = 35_000;

/** On a fresh cloud Nova does not know the hosts before; once a test file does. */
let discovered: Promise<string> | undefined;

const settledStatus = new Set(['ACTIVE', 'RESCUE', 'ERROR', 'SHUTOFF', 'PAUSED', 'SUSPENDED', 'VERIFY_RESIZE', 'DELETED']);

/** One test's part of the cloud. */
export class Scene {
  readonly #servers = new Set<string>();
  readonly #needles = new Set<string>();
  readonly #undo: (() => Promise<unknown>)[] = [];

  private constructor(readonly ground: Ground) {}

  /** Begins; ends by itself with the test. */
  static async begin(t: ExecutionContext): Promise<Scene> {
    const scene = new Scene(await ground());
    await Promise.all(hosts.map((host) => startHaulier(host)));
    await (discovered ??= cloud(['discover']));
    t.teardown(() => scene.#end());
    return scene;
  }

  get admin(): Session {
    return this.ground.admin;
  }

  /** Something to do when the test ends, after the servers are deleted; last in, first out. */
  after(undo: () => Promise<unknown>): void {
    this.#undo.push(undo);
  }

  /** From now on haulier of this host runs with a fault, until `clean` or the end of the test. */
  async fault(host: HostName, fault: string, wait = true): Promise<void> {
    await stopHaulier(host);
    this.#faulty.add(host);
    await startHaulier(host, { fault, wait });
  }
  readonly #faulty = new Set<HostName>();

  /** Ends the faults of a host. Afterwards the API takes it for up: what died at every start has not beaten for long. */
  async clean(host: HostName): Promise<void> {
    await stopHaulier(host);
    this.#faulty.delete(host);
    const before = await this.#beat(host);
    await startHaulier(host);
    if (Date.now() - before > staleMs) await until(`a new beat of ${host}`, 20, async () => (await this.#beat(host)) > before);
  }

  /** As `clean`, but only if the host could soon be taken for down. */
  async freshen(host: HostName): Promise<void> {
    if (Date.now() - (await this.#beat(host)) > staleMs) await this.clean(host);
  }

  async #beat(host: HostName): Promise<number> {
    return Date.parse(`${(await this.service(host)).updated_at}Z`);
  }

  async flavor(name: string): Promise<string> {
    const { flavors } = await this.admin.call<{ flavors: { id: string; name: string }[] }>('nova', 'GET', '/v2.1/flavors');
    const flavor = flavors.find((item) => item.name === name);
    if (!flavor) throw new Error(`no flavor ${name}`);
    return flavor.id;
  }

  /** Asks for servers. @returns the id of the first; others come with `servers` */
  async boot(spec: Boot = {}): Promise<string> {
    const networks = spec.networks ?? [{ uuid: this.ground.publicNetwork }];
    const name = `ct-${randomBytes(3).toString('hex')}`;
    const { server } = await this.admin.call<{ server: { id: string } }>('nova', 'POST', '/v2.1/servers', {
      server: {
        name, imageRef: spec.image ?? this.ground.image, flavorRef: await this.flavor(spec.flavor ?? 'h1.tiny'), networks,
        ...(spec.host ? { host: spec.host } : {}), ...(spec.zone ? { availability_zone: spec.zone } : {}),
        ...(spec.count ? { min_count: spec.count, max_count: spec.count } : {}), ...spec.extra,
      },
      ...(spec.hints ? { 'os:scheduler_hints': spec.hints } : {}),
    });
    if (spec.count) for (const { id } of await this.servers(name)) this.#note(id);
    this.#note(server.id);
    return server.id;
  }

  #note(id: string): void {
    this.#servers.add(id);
    this.#needles.add(id);
  }

  /** This project's servers whose name begins so. */
  async servers(name: string): Promise<Server[]> {
    return (await this.admin.call<{ servers: Server[] }>('nova', 'GET', `/v2.1/servers/detail?name=${name}`)).servers;
  }

  async show(id: string): Promise<Server> {
    return (await this.admin.call<{ server: Server }>('nova', 'GET', `/v2.1/servers/${id}`)).server;
  }

  /** The server, or undefined if it is deleted. */
  async find(id: string): Promise<Server | undefined> {
    try {
      return await this.show(id);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Waits until the server has one of these states and no task. @throws at once if it is in error and that was not asked for */
  async reach(id: string, status: string, seconds = 40): Promise<Server> {
    let last: Server | undefined;
    const server = await until(`${id} ${status}`, seconds, async () => {
      last = await this.show(id);
      if (last['OS-EXT-STS:task_state'] !== null || !settledStatus.has(last.status)) return undefined;
      if (last.status === 'ERROR' && status !== 'ERROR') throw new Error(`${id} is in error: ${JSON.stringify(last.fault)}`);
      return last.status === status ? last : undefined;
    }, () => last && { status: last.status, task: last['OS-EXT-STS:task_state'], host: last['OS-EXT-SRV-ATTR:host'], fault: last.fault?.message });
    for (const port of await this.ports(id)) this.#needles.add(port.id.slice(0, 11));
    return server;
  }

  /** A server that runs. */
  async active(spec: Boot = {}): Promise<Server> {
    return this.reach(await this.boot(spec), 'ACTIVE');
  }

  /** A server action; its answer's status must be 2xx. @returns the request id, under which the action is filed */
  async act(id: string, body: Readonly<Record<string, unknown>>): Promise<string> {
    const answer = await this.admin.raw('nova', 'POST', `/v2.1/servers/${id}/action`, body);
    if (answer.status >= 300) throw new ApiError(answer.status, answer.text, `action ${Object.keys(body)[0]}`);
    return String(answer.headers['x-openstack-request-id'] ?? answer.headers['x-compute-request-id']);
  }

  /** An action with its events, by its name; the last of that name. */
  async action(id: string, name: string): Promise<Action> {
    const { instanceActions } = await this.admin.call<{ instanceActions: { action: string; request_id: string }[] }>('nova', 'GET', `/v2.1/servers/${id}/os-instance-actions`);
    const found = instanceActions.find((item) => item.action === name);
    if (!found) throw new Error(`no action ${name} of ${id}: ${instanceActions.map((item) => item.action).join(' ')}`);
    return (await this.admin.call<{ instanceAction: Action }>('nova', 'GET', `/v2.1/servers/${id}/os-instance-actions/${found.request_id}`)).instanceAction;
  }

  /** Waits until every event of an action has a result. @returns the action */
  async finished(id: string, name: string): Promise<Action> {
    return until(`events of ${name}`, 10, async () => {
      const action = await this.action(id, name);
      return action.events.length > 0 && action.events.every((event) => event.result !== null) ? action : undefined;
    }, () => this.action(id, name));
  }

  async ports(id: string): Promise<Port[]> {
    return (await this.admin.call<{ ports: Port[] }>('neutron', 'GET', `/v2.0/ports?device_id=${id}`)).ports;
  }

  /** The container on the host where the server is. */
  async container(server: Server): Promise<Contained | undefined> {
    return container(server['OS-EXT-SRV-ATTR:host'] as HostName, server.id);
  }

  /** Allocation of a server at placement; undefined if none. */
  async allocation(id: string): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { allocations } = await this.admin.call<{ allocations: Record<string, { resources: Record<string, number> }> }>('placement', 'GET', `/allocations/${id}`);
    return Object.values(allocations)[0]?.resources;
  }

  async service(host: string, binary = 'nova-compute'): Promise<Service> {
    const { services } = await this.admin.call<{ services: Service[] }>('nova', 'GET', `/v2.1/os-services?binary=${binary}&host=${host}`);
    if (!services[0]) throw new Error(`no service ${binary} of ${host}`);
    return services[0];
  }

  /** Deletes a server and waits until it is gone. */
  async delete(id: string, how: 'delete' | 'forceDelete' = 'delete'): Promise<void> {
    if (how === 'forceDelete') await this.act(id, { forceDelete: null });
    else await this.admin.remove('nova', `/v2.1/servers/${id}`);
    await this.gone(id);
  }

  /** Waits until a server is gone. */
  async gone(id: string, seconds = 40): Promise<void> {
    let last: Server | undefined;
    await until(`${id} deleted`, seconds, async () => {
      last = await this.find(id);
      if (last?.status === 'ERROR' && last['OS-EXT-STS:task_state'] === null) throw new Error(`${id}: the delete ended in error: ${last.fault?.message}`);
      return last === undefined;
    }, () => last && { status: last.status, task: last['OS-EXT-STS:task_state'] });
  }

  /** All addresses of a server of one version. */
  addresses(server: Server, version: 4 | 6): string[] {
    return Object.values(server.addresses).flat().filter((item) => item.version === version).map((item) => item.addr);
  }

  /** The addresses that do not answer a ping; empty is good. */
  async silent(server: Server, seconds?: number): Promise<string[]> {
    const all = Object.values(server.addresses).flat().map((item) => item.addr);
    const checked = await Promise.all(all.map(async (address) => ((await answers(address, seconds)) ? undefined : address)));
    return checked.filter((address) => address !== undefined);
  }

  /** What is left of a server that should be gone. */
  async leftovers(ids: Iterable<string> = this.#needles): Promise<string[]> {
    const needles = [...ids];
    const found = (await Promise.all(hosts.map((host) => traces(host, needles)))).flat();
    for (const id of needles.filter((needle) => needle.length === 36)) {
      found.push(...(await this.ports(id)).map((port) => `neutron: port ${port.id} of ${id}`));
      if (await this.allocation(id)) found.push(`placement: allocation of ${id}`);
    }
    return found;
  }

  /** Nothing is left of these servers; a moment later at the latest. */
  async nothingLeft(...ids: string[]): Promise<void> {
    let left: string[] = [];
    const wanted = ids.length > 0 ? ids : this.#needles;
    await until('nothing is left', 3, async () => (left = await this.leftovers(wanted)).length === 0, () => left.slice(0, 12));
  }

  async #end(): Promise<void> {
    const troubles: string[] = [];
    const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        troubles.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    };
    for (const host of hosts) {
      if (this.#faulty.has(host)) await attempt(`clean ${host}`, () => this.clean(host));
      else if (!haulierPid(host)) await attempt(`start ${host}`, () => startHaulier(host));
    }
    await Promise.all([...this.#servers].map((id) => attempt(`delete ${id}`, async () => {
      if (!(await this.find(id))) return;
      for (const port of await this.ports(id)) this.#needles.add(port.id.slice(0, 11));
      await this.delete(id);
    })));
    for (const undo of this.#undo.reverse()) await attempt('undo', undo);
    await attempt('after the test', () => this.nothingLeft());
    if (troubles.length > 0) throw new Error(troubles.join('\n'));
  }
}

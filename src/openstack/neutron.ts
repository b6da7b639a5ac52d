/** Neutron's REST API as a compute service uses it (contract F). */
import { HaulierError, type ErrorCode } from '../base/errors.js';
import { statusOf, typeOf } from './rest-errors.js';
import type { Query, RestResponse } from './rest.js';
import type { Session } from './session.js';
import type { FloatingIp, Network, Neutron, Port, RequestScope, Subnet } from './types.js';

const extensionsKeptMs = 600_000;

type Fields = Readonly<Record<string, unknown>>;

/** Runs `call`; a 404 becomes `code`, everything else stays, with neutron's exception as `details.type`. */
async function orNotFound<T>(call: Promise<T>, code: ErrorCode, details: Readonly<Record<string, string>>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (statusOf(error) === 404) throw new HaulierError(code, details, { cause: error });
    throw error;
  }
}

/** One member of an answer's body; the API's documents say it is there. */
function member<T>(answer: RestResponse, name: string): T {
  return (answer.body as Record<string, T>)[name] as T;
}

const bindingPath = (port: string, host: string): string => `/v2.0/ports/${encodeURIComponent(port)}/bindings/${encodeURIComponent(host)}`;

/** The REST client. Failures are REST_FAILED; `details.type` is neutron's exception, as OverQuota, IpAddressGenerationFailure, MacAddressInUse. */
export class NeutronClient implements Neutron {
  readonly #session: Session;
  #extensions: { readonly until: number; readonly aliases: Promise<ReadonlySet<string>> } | undefined;

  constructor(session: Session) {
    this.#session = session;
  }

  ports(scope: RequestScope, filters: Query): Promise<readonly Port[]> {
    return this.#list(scope, 'ports', filters);
  }

  async port(scope: RequestScope, id: string): Promise<Port> {
    const answer = await orNotFound(this.#session.request(scope, { method: 'GET', path: `/v2.0/ports/${encodeURIComponent(id)}` }), 'PORT_NOT_FOUND', { port: id });
    return member(answer, 'port');
  }

  async createPort(scope: RequestScope, port: Fields): Promise<Port> {
    try {
      return member(await this.#session.request(scope, { method: 'POST', path: '/v2.0/ports', json: { port } }), 'port');
    } catch (error) {
      if (typeOf(error) === 'NetworkNotFound') throw new HaulierError('NETWORK_NOT_FOUND', { network: String(port['network_id']) }, { cause: error });
      throw error;
    }
  }

  async updatePort(scope: RequestScope, id: string, port: Fields): Promise<Port> {
    const answer = await orNotFound(this.#session.request(scope, { method: 'PUT', path: `/v2.0/ports/${encodeURIComponent(id)}`, json: { port } }), 'PORT_NOT_FOUND', { port: id });
    return member(answer, 'port');
  }

  async deletePort(scope: RequestScope, id: string): Promise<void> {
    try {
      await this.#session.request(scope, { method: 'DELETE', path: `/v2.0/ports/${encodeURIComponent(id)}` });
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
    }
  }

  async activatePortBinding(scope: RequestScope, id: string, host: string): Promise<boolean> {
    try {
      await this.#session.request(scope, { method: 'PUT', path: `${bindingPath(id, host)}/activate` });
    } catch (error) {
      if (statusOf(error) === 404) return false;
      if (statusOf(error) !== 409) throw error;
    }
    return true;
  }

  async deletePortBinding(scope: RequestScope, id: string, host: string): Promise<void> {
    try {
      await this.#session.request(scope, { method: 'DELETE', path: bindingPath(id, host) });
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
    }
  }

  networks(scope: RequestScope, filters: Query): Promise<readonly Network[]> {
    return this.#list(scope, 'networks', filters);
  }

  subnets(scope: RequestScope, filters: Query): Promise<readonly Subnet[]> {
    return this.#list(scope, 'subnets', filters);
  }

  floatingIps(scope: RequestScope, filters: Query): Promise<readonly FloatingIp[]> {
    return this.#list(scope, 'floatingips', filters);
  }

  securityGroups(scope: RequestScope, projectId: string): Promise<readonly { readonly id: string; readonly name: string }[]> {
    return this.#list(scope, 'security-groups', { fields: ['id', 'name'], tenant_id: projectId });
  }

  extensions(scope: RequestScope): Promise<ReadonlySet<string>> {
    if (this.#extensions && performance.now() < this.#extensions.until) return this.#extensions.aliases;
    const aliases = this.#list<{ readonly alias: string }>(scope, 'extensions', {}).then((rows) => new Set(rows.map((row) => row.alias)));
    const entry = { until: performance.now() + extensionsKeptMs, aliases };
    this.#extensions = entry;
    aliases.catch(() => { if (this.#extensions === entry) this.#extensions = undefined; });
    return aliases;
  }

  async #list<T>(scope: RequestScope, collection: string, query: Query): Promise<readonly T[]> {
    return member(await this.#session.request(scope, { method: 'GET', path: `/v2.0/${collection}`, query }), collection.replaceAll('-', '_'));
  }
}

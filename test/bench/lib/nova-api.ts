/** Nova's API as the benchmark drives it: plain HTTP, a new connection for each request, so that nobody's client library is measured. */
import { request } from 'node:http';

/** Where and as whom. */
export interface Login {
  readonly authUrl: string;
  readonly user: string;
  readonly project: string;
  readonly password: string;
}

interface Answer {
  readonly status: number;
  readonly token: string;
  readonly body: unknown;
}

/** A server as the list shows it. */
export interface ServerRow {
  readonly id: string;
  readonly status: string;
  readonly fault?: { readonly message?: string };
}

const microversion = '2.74'; // the first in which an administrator names the host and the scheduler still has its say

function send(method: string, url: string, headers: Record<string, string>, json?: unknown): Promise<Answer> {
  const body = json === undefined ? undefined : JSON.stringify(json);
  return new Promise((resolve, reject) => {
    const outgoing = request(url, {
      method,
      agent: false,
      timeout: 120_000,
      headers: { accept: 'application/json', connection: 'close', ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }), ...headers },
    }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('error', reject);
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        resolve({ status: answer.statusCode ?? 0, token: String(answer.headers['x-subject-token'] ?? ''), body: text.startsWith('{') ? JSON.parse(text) : text });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${url}: no answer`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A logged-in user. */
export class NovaApi {
  readonly #token: string;
  readonly #urls: ReadonlyMap<string, string>;

  private constructor(token: string, urls: ReadonlyMap<string, string>) {
    this.#token = token;
    this.#urls = urls;
  }

  /** Logs in with a password. */
  static async login(login: Login): Promise<NovaApi> {
    const domain = { id: 'default' };
    const { status, token, body } = await send('POST', `${login.authUrl}/auth/tokens`, {}, {
      auth: { identity: { methods: ['password'], password: { user: { name: login.user, domain, password: login.password } } }, scope: { project: { name: login.project, domain } } },
    });
    if (status !== 201) throw new Error(`keystone answers ${status}: ${JSON.stringify(body)}`);
    const catalog = (body as { token: { catalog: { type: string; endpoints: { interface: string; url: string }[] }[] } }).token.catalog;
    return new NovaApi(token, new Map(catalog.map((entry) => [entry.type, entry.endpoints.find((endpoint) => endpoint.interface === 'public')?.url ?? ''])));
  }

  /** One request; the body. @throws Error on any status that is not in `ok` */
  async call(service: 'compute' | 'network' | 'image', method: string, path: string, json?: unknown, ok: readonly number[] = [200, 201, 202, 204]): Promise<Record<string, unknown>> {
    const url = `${this.#urls.get(service)}${path}`;
    const { status, body } = await send(method, url, { 'x-auth-token': this.#token, ...(service === 'compute' ? { 'x-openstack-nova-api-version': microversion } : {}) }, json);
    if (!ok.includes(status)) throw new Error(`${method} ${url} answers ${status}: ${JSON.stringify(body).slice(0, 500)}`);
    return status === 404 ? {} : (body as Record<string, unknown>);
  }

  /** Id of the object called `name`. */
  async find(service: 'compute' | 'network' | 'image', collection: string, path: string, name: string): Promise<string | undefined> {
    const rows = (await this.call(service, 'GET', path))[collection] as { id: string; name: string }[];
    return rows.find((row) => row.name === name)?.id;
  }

  /** How many servers of `prefix` are in `status`. Of all ways to ask, this one does not make nova-api ask neutron as well. */
  async count(prefix: string, status: 'ACTIVE' | 'ERROR' | undefined): Promise<number> {
    const { servers } = await this.call('compute', 'GET', `/servers?all_tenants=1&name=%5E${prefix}${status ? `&status=${status}` : ''}`);
    return (servers as unknown[]).length;
  }

  /** All servers whose name begins with `prefix`. */
  async servers(prefix: string): Promise<readonly ServerRow[]> {
    const { servers } = await this.call('compute', 'GET', `/servers/detail?all_tenants=1&name=%5E${prefix}`);
    return servers as ServerRow[];
  }
}

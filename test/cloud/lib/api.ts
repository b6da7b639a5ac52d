/** A small OpenStack client: a token, and requests. */
import { bridge, type ApiName } from './bridge.js';
import { secret } from './machine.js';

/** The newest compute microversion that the tests need. */
export const computeVersion = '2.90';

/** An answer that was not asked for. */
export class ApiError extends Error {
  constructor(readonly status: number, readonly body: string, what: string) {
    super(`${what}: ${status} ${body.slice(0, 600)}`);
  }
}

/** Credentials in a project. */
export interface Login { readonly user: string; readonly password: string; readonly project: string }

interface Answer { readonly status: number; readonly headers: Readonly<Record<string, string | string[] | undefined>>; readonly text: string }

async function send(api: ApiName, method: string, path: string, headers: Record<string, string>, body: string | Buffer | undefined): Promise<Answer> {
  const pool = (await bridge())[api];
  const { statusCode, headers: answered, body: stream } = await pool.request({ path, method: method as 'GET', headers, body });
  return { status: statusCode, headers: answered, text: await stream.text() };
}

/** One user in one project. */
export class Session {
  #token: string | undefined;
  projectId = '';

  constructor(readonly login: Login) {}

  static admin(project = 'admin'): Session {
    return new Session({ user: 'admin', password: secret('PW_ADMIN'), project });
  }
  static demo(): Session {
    return new Session({ user: 'demo', password: secret('PW_DEMO'), project: 'demo' });
  }

  async #authenticate(): Promise<string> {
    const { user, password, project } = this.login;
    const body = { auth: { identity: { methods: ['password'], password: { user: { name: user, domain: { id: 'default' }, password } } }, scope: { project: { name: project, domain: { id: 'default' } } } } };
    const answer = await send('keystone', 'POST', '/v3/auth/tokens', { 'content-type': 'application/json' }, JSON.stringify(body));
    if (answer.status !== 201) throw new ApiError(answer.status, answer.text, `login of ${user}`);
    this.projectId = (JSON.parse(answer.text) as { token: { project: { id: string } } }).token.project.id;
    return String(answer.headers['x-subject-token']);
  }

  /** A request; a status of 400 or more comes back too. */
  async raw(api: ApiName, method: string, path: string, body?: unknown, version = computeVersion): Promise<Answer> {
    this.#token ??= await this.#authenticate();
    const headers: Record<string, string> = { 'x-auth-token': this.#token, accept: 'application/json' };
    if (api === 'nova') headers['openstack-api-version'] = `compute ${version}`;
    if (api === 'placement') headers['openstack-api-version'] = 'placement 1.39';
    if (body !== undefined) headers['content-type'] = Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/json';
    return send(api, method, path, headers, body === undefined ? undefined : Buffer.isBuffer(body) ? body : JSON.stringify(body));
  }

  /** A request whose answer is taken for a `T`. @throws ApiError */
  async call<T>(api: ApiName, method: string, path: string, body?: unknown, version?: string): Promise<T> {
    const answer = await this.raw(api, method, path, body, version);
    if (answer.status >= 400) throw new ApiError(answer.status, answer.text, `${api} ${method} ${path}`);
    return (answer.text === '' ? undefined : JSON.parse(answer.text)) as T;
  }

  /** DELETE that does not mind if it is gone. */
  async remove(api: ApiName, path: string): Promise<void> {
    const answer = await this.raw(api, 'DELETE', path);
    if (answer.status >= 400 && answer.status !== 404) throw new ApiError(answer.status, answer.text, `${api} DELETE ${path}`);
  }
}

/** Tokens of one set of credentials: one login for however many ask, kept until shortly before it ends. */
import { HaulierError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { AuthOptions } from './auth-options.js';
import { rest, type RestResponse } from './rest.js';
import type { Transport } from './transport.js';

const renewBeforeMs = 60_000;

/** A keystone token. */
export interface Token {
  readonly id: string;
  /** `performance.now()` from which on it is not used any more. */
  readonly useUntil: number;
  /** keystone's service catalog (v3 form). */
  readonly catalog: readonly unknown[];
}

type Fields = Record<string, unknown>;

function domain(id: string | undefined, name: string | undefined, options: AuthOptions): Fields {
  if (id !== undefined) return { id };
  if (name !== undefined) return { name };
  if (options.defaultDomainName !== undefined) return { name: options.defaultDomainName };
  return { id: options.defaultDomainId ?? 'default' };
}

function scopeOf(options: AuthOptions): Fields | undefined {
  if (options.systemScope !== undefined) return { system: { [options.systemScope]: true } };
  if (options.projectId !== undefined) return { project: { id: options.projectId } };
  if (options.projectName !== undefined) return { project: { name: options.projectName, domain: domain(options.projectDomainId, options.projectDomainName, options) } };
  if (options.domainId !== undefined) return { domain: { id: options.domainId } };
  if (options.domainName !== undefined) return { domain: { name: options.domainName } };
  return undefined;
}

/** Body of `POST /v3/auth/tokens` (keystone's Identity API v3, password method). */
export function loginBody(options: AuthOptions): Fields {
  const { userId: id, username: name, password } = options;
  const user: Fields = id !== undefined ? { id, password } : { name, domain: domain(options.userDomainId, options.userDomainName, options), password };
  const scope = scopeOf(options);
  return { auth: { identity: { methods: ['password'], password: { user } }, ...(scope === undefined ? {} : { scope }) } };
}

/** Where to log in: `auth_url` with its version made v3, whichever it names. */
export function identityUrl(authUrl: string): string {
  return authUrl.replace(/\/+$/, '').replace(/\/v(3|2\.0)$/, '') + '/v3';
}

/** Two sections with the same key share their token. Holds a password: a key of a map, nothing to print. */
export function credentialsKey(options: AuthOptions): string {
  return JSON.stringify([identityUrl(options.authUrl ?? ''), loginBody(options), options.cafile, options.certfile, options.insecure ?? false]);
}

function parse(answer: RestResponse): Token {
  const id = answer.headers['x-subject-token'];
  const token = (answer.body as { token?: Fields } | undefined)?.token;
  if (typeof id !== 'string' || token === undefined) throw new HaulierError('REST_FAILED', { service: 'keystone', method: 'POST', path: '/auth/tokens', status: answer.status, reason: 'an answer without a token' });
  // its span by keystone's clock, not its end: the clocks need not agree
  const span = Date.parse(String(token['expires_at'])) - Date.parse(String(token['issued_at'] ?? answer.headers['date']));
  const lifeMs = span > 0 ? span : 0;
  const catalog = token['catalog'];
  return { id, useUntil: performance.now() + lifeMs - Math.min(renewBeforeMs, lifeMs / 2), catalog: Array.isArray(catalog) ? catalog : [] };
}

/** Waits for `work`, but not longer than `signal` lets; the work goes on for the others. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** The tokens of one set of credentials. */
export class TokenSource {
  readonly #options: AuthOptions;
  readonly #transport: Transport;
  readonly #log: Log;
  #token: Token | undefined;
  #login: Promise<Token> | undefined;

  constructor(options: AuthOptions, transport: Transport, log: Log) {
    this.#options = options;
    this.#transport = transport;
    this.#log = log;
  }

  /**
   * The token, after a login if there is none that lasts. Concurrent callers wait for the same login.
   * @throws REST_FAILED, REST_UNREACHABLE, or the signal's reason
   */
  async token(signal?: AbortSignal): Promise<Token> {
    if (this.#token && performance.now() < this.#token.useUntil) return this.#token;
    this.#login ??= this.#logIn().finally(() => { this.#login = undefined; });
    return unlessAborted(this.#login, signal);
  }

  /** Forgets the token if it still is the one with this id. */
  invalidate(id: string): void {
    if (this.#token?.id === id) this.#token = undefined;
  }

  async #logIn(): Promise<Token> {
    const started = performance.now();
    const answer = await rest(this.#transport, {
      service: 'keystone',
      method: 'POST',
      endpoint: identityUrl(this.#options.authUrl ?? ''),
      path: '/auth/tokens',
      json: loginBody(this.#options),
      idempotent: true, // a second token does no harm
      retries: this.#options.retries,
      secrets: [this.#options.password ?? ''],
    });
    this.#token = parse(answer);
    this.#log.debug({ section: this.#options.section, ms: Math.round(performance.now() - started) }, 'logged in to keystone');
    return this.#token;
  }
}

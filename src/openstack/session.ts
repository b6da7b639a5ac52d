/** Requests of one section to one service: the right token, the right endpoint, and one more try after a 401. */
import { randomUUID } from 'node:crypto';
import type { Dispatcher } from 'undici';
import { HaulierError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { AuthOptions } from './auth-options.js';
import { findEndpoint } from './catalog.js';
import { open, rest, type RestRequest, type RestResponse } from './rest.js';
import { statusOf } from './rest-errors.js';
import type { Token, TokenSource } from './token.js';
import type { Transport } from './transport.js';
import type { RequestScope } from './types.js';

/** What a client asks of its service. */
export type Call = Pick<RestRequest, 'method' | 'path' | 'query' | 'headers' | 'json' | 'stream' | 'answerTimeoutMs' | 'idempotent'>;

/** What a session is made of. */
export interface SessionParts {
  readonly options: AuthOptions;
  /** Name in errors and log: `neutron`. */
  readonly service: string;
  /** Type in the catalog, unless the section names another. */
  readonly serviceType: string;
  /** Version part of every path; cut off an endpoint that already ends with it. */
  readonly version?: RegExp;
  readonly transport: Transport;
  /** The section's own credentials; undefined if it has none. */
  readonly source: TokenSource | undefined;
  /** Whose catalog serves if neither the caller nor the section has one. */
  readonly catalogFrom?: TokenSource;
  /** Gives the X-Service-Token; undefined: none is sent. */
  readonly serviceUser?: { readonly section: string; readonly source: TokenSource };
  readonly log: Log;
}

interface Prepared {
  readonly request: RestRequest;
  /** Forgets the tokens that the request carried and that can be had anew; false if there are none. */
  renew(): boolean;
}

/** One section's way to one service. */
export class Session {
  readonly #parts: SessionParts;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /**
   * Sends a call and reads the answer. A 401 renews the service's own tokens once; the user's token cannot be renewed, nor a stream sent again.
   * @throws REST_FAILED, REST_UNREACHABLE, KEYSTONE_REFUSED, CONFIG_INVALID, or the signal's reason
   */
  request(scope: RequestScope, call: Call): Promise<RestResponse> {
    return this.#authorized(scope, call, rest);
  }

  /** As `request`, but hands out the body unread. */
  open(scope: RequestScope, call: Call): Promise<Dispatcher.ResponseData> {
    return this.#authorized(scope, call, open);
  }

  async #authorized<T>(scope: RequestScope, call: Call, perform: (transport: Transport, request: RestRequest) => Promise<T>): Promise<T> {
    const started = performance.now();
    const prepared = await this.#prepare(scope, call);
    const say = (status: number | string): void => {
      const { service, method, path, requestId } = prepared.request;
      this.#parts.log.debug({ service, method, path, status, req: requestId, ms: Math.round(performance.now() - started) }, 'rest');
    };
    try {
      const answer = await perform(this.#parts.transport, prepared.request);
      say('ok');
      return answer;
    } catch (error) {
      say(statusOf(error) ?? 'failed');
      if (statusOf(error) !== 401 || !prepared.renew() || call.stream) throw error;
    }
    const again = await this.#prepare(scope, call);
    return perform(this.#parts.transport, again.request);
  }

  async #prepare(scope: RequestScope, call: Call): Promise<Prepared> {
    const { options, service, serviceUser, source } = this.#parts;
    const { identity, signal } = scope;
    const own = identity.kind === 'service' ? await tokenFor(this.#source(), options.section, signal) : undefined;
    const beside = serviceUser ? await tokenFor(serviceUser.source, serviceUser.section, signal) : undefined;
    const token = identity.kind === 'user' ? identity.token : own?.id ?? '';
    const secrets = [token, beside?.id ?? '', options.password ?? ''];
    const request: RestRequest = {
      ...call,
      service,
      endpoint: await this.#endpoint(scope, own),
      headers: { 'x-auth-token': token, ...(beside ? { 'x-service-token': beside.id } : {}), ...call.headers },
      requestId: scope.requestId ?? `req-${randomUUID()}`,
      signal,
      retries: options.retries,
      secrets,
    };
    return {
      request,
      renew: () => {
        if (own) source?.invalidate(own.id);
        if (beside) serviceUser?.source.invalidate(beside.id);
        return own !== undefined || beside !== undefined;
      },
    };
  }

  #source(): TokenSource {
    const { source, options } = this.#parts;
    if (source) return source;
    throw new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: options.section, option: 'auth_url', problem: 'no credentials, and the request is not a user\'s' });
  }

  async #endpoint(scope: RequestScope, own: Token | undefined): Promise<string> {
    const { options, serviceType, service, version, source, catalogFrom } = this.#parts;
    const clean = (url: string): string => url.replace(/\/+$/, '').replace(version ?? /$^/, '');
    if (options.endpointOverride !== undefined) return clean(options.endpointOverride);
    const wish = { serviceType: options.serviceType ?? serviceType, interfaces: options.validInterfaces ?? ['internal', 'public'], region: options.regionName };
    const users = scope.identity.kind === 'user' ? findEndpoint(scope.identity.catalog, wish) : undefined;
    if (users !== undefined) return clean(users);
    const other = source ?? catalogFrom;
    const catalog = own ?? (other ? await tokenFor(other, options.section, scope.signal) : undefined);
    const found = findEndpoint(catalog?.catalog ?? [], wish);
    if (found !== undefined) return clean(found);
    const region = wish.region === undefined ? '' : ` in region ${wish.region}`;
    throw new HaulierError('REST_UNREACHABLE', { service, reason: `no ${wish.interfaces.join(' or ')} endpoint of type ${wish.serviceType}${region} in the catalog` });
  }
}

/**
 * A source's token, for a section.
 * @throws KEYSTONE_REFUSED naming the section, REST_FAILED, REST_UNREACHABLE, or the signal's reason
 */
export async function tokenFor(source: TokenSource, section: string, signal: AbortSignal | undefined): Promise<Token> {
  try {
    return await source.token(signal);
  } catch (error) {
    if (error instanceof HaulierError && [400, 401, 403].includes(statusOf(error) ?? 0)) {
      throw new HaulierError('KEYSTONE_REFUSED', { section, status: statusOf(error), reason: String(error.details['reason']) }, { cause: error });
    }
    throw error;
  }
}

/** A small real HTTP server in place of keystone and one service: it notes every request and answers as the test says. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { AuthOptions } from '../../../src/openstack/auth-options.js';
import type { RequestScope } from '../../../src/openstack/types.js';

/** A request as it came. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: readonly (readonly [string, string])[];
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
  readonly socket: Socket;
}

/** What to answer; `destroy` cuts the connection instead. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly destroy?: boolean;
}

type Handler = (seen: Seen) => Reply | Promise<Reply>;

/** The server. Requests to `/identity/v3/auth/tokens` are logins, answered by `login`; all others go to `handler`. */
export class StandIn {
  readonly seen: Seen[] = [];
  readonly logins: Seen[] = [];
  /** Seconds that a token lasts. */
  tokenSeconds = 3600;
  handler: Handler = () => ({ status: 404, body: 'not here' });
  login: Handler = () => this.token(`token-${this.logins.length}`);
  readonly #server: Server;
  readonly #tls: boolean;

  constructor(tls?: { readonly cert: string; readonly key: string }) {
    const listener: RequestListener = (request, response) => {
      void (async () => {
        const parts: Buffer[] = [];
        for await (const part of request) parts.push(part as Buffer);
        const text = Buffer.concat(parts).toString();
        const url = new URL(request.url ?? '/', 'http://stand-in');
        const seen: Seen = { method: request.method ?? '', path: url.pathname, query: [...url.searchParams], headers: request.headers, body: text === '' ? undefined : JSON.parse(text), socket: request.socket };
        const isLogin = seen.path === '/identity/v3/auth/tokens';
        (isLogin ? this.logins : this.seen).push(seen);
        const reply = await (isLogin ? this.login : this.handler)(seen);
        if (reply.destroy) {
          request.socket.destroy();
          return;
        }
        const isText = typeof reply.body === 'string' || Buffer.isBuffer(reply.body);
        const body = reply.body === undefined ? '' : isText ? (reply.body as string | Buffer) : JSON.stringify(reply.body);
        response.writeHead(reply.status ?? 200, { ...(isText || body === '' ? {} : { 'content-type': 'application/json' }), ...reply.headers });
        response.end(body);
      })();
    };
    this.#tls = tls !== undefined;
    this.#server = tls ? createTlsServer(tls, listener) : createServer(listener);
    this.#server.keepAliveTimeout = 60_000;
  }

  static async start(tls?: { readonly cert: string; readonly key: string }): Promise<StandIn> {
    const server = new StandIn(tls);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get url(): string {
    return `${this.#tls ? 'https' : 'http'}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** A login's answer with a catalog that points here. */
  token(id: string): Reply {
    const endpoints = (url: string): unknown[] => [{ interface: 'public', region: 'RegionOne', region_id: 'RegionOne', url: 'http://127.0.0.1:1/public' }, { interface: 'internal', region: 'RegionOne', region_id: 'RegionOne', url }];
    const now = Date.now();
    return {
      status: 201,
      headers: { 'x-subject-token': id },
      body: {
        token: {
          issued_at: new Date(now).toISOString(),
          expires_at: new Date(now + this.tokenSeconds * 1000).toISOString(),
          catalog: [
            { type: 'placement', name: 'placement', endpoints: endpoints(`${this.url}/placement`) },
            { type: 'network', name: 'neutron', endpoints: endpoints(this.url) },
            { type: 'image', name: 'glance', endpoints: endpoints(`${this.url}/`) },
          ],
        },
      },
    };
  }

  /** Options of a section whose keystone is this server. */
  section(section: string, more: Partial<AuthOptions> = {}): AuthOptions {
    return {
      section,
      authType: 'password',
      authUrl: `${this.url}/identity`,
      username: section,
      password: 'hunter2-very-secret',
      userDomainName: 'Default',
      projectName: 'service',
      projectDomainName: 'Default',
      regionName: 'RegionOne',
      timeout: 5,
      ...more,
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => { this.#server.close(() => resolve()); });
  }
}

/** With the service's rights. */
export const asService: RequestScope = { requestId: 'req-11111111-2222-3333-4444-555555555555', signal: undefined, identity: { kind: 'service' } };

/** With a user's token. */
export function asUser(token: string, catalog: readonly unknown[] = []): RequestScope {
  return { ...asService, identity: { kind: 'user', token, catalog } };
}

/** Keystone's part: tokens for names and passwords of the configuration, and the catalog. */
import { randomBytes } from 'node:crypto';
import { Refusal, type Route } from './server.js';

/** Ports of the services, as OpenStack has them. */
export const ports = { keystone: 5000, placement: 8778, neutron: 9696, glance: 9292, nova: 8774 } as const;
/** The only project. */
export const projectId = '5e17086a2ebb4c769a59af54d64f4428';
/** The only user of the command line. */
export const userId = 'ab8a0401b2864621970b53668eea001d';

const types = { placement: 'placement', neutron: 'network', glance: 'image', nova: 'compute' } as const;
const lifeMs = 3_600_000;
const region = 'RegionOne';

/** Makes and knows tokens. */
export class Identity {
  readonly #tokens = new Map<string, number>();

  /** @param users passwords by name; @param address where all services listen */
  constructor(private readonly users: ReadonlyMap<string, string>, private readonly address: string) {}

  /** A fresh token. */
  issue(): string {
    const token = randomBytes(24).toString('base64url');
    this.#tokens.set(token, Date.now() + lifeMs);
    for (const [known, until] of this.#tokens) if (until < Date.now()) this.#tokens.delete(known);
    return token;
  }
  isValid(token: string): boolean {
    return (this.#tokens.get(token) ?? 0) > Date.now();
  }
  /** Checks a name and password. */
  accepts(name: unknown, password: unknown): boolean {
    return typeof name === 'string' && typeof password === 'string' && this.users.get(name) === password;
  }

  url(service: keyof typeof types): string {
    return `http://${this.address}:${ports[service]}`;
  }
  /** The catalog of a token (v3). */
  catalog(): unknown[] {
    return Object.entries(types).map(([name, type]) => ({
      name, type, id: name,
      endpoints: ['public', 'internal', 'admin'].map((face) => ({ id: `${name}-${face}`, interface: face, region, region_id: region, url: this.url(name as keyof typeof types) })),
    }));
  }
  /** The catalog as nova-api puts it into a request's context (v2 form, a few services). */
  contextCatalog(): unknown[] {
    return (['neutron', 'placement', 'glance'] as const).map((name) => {
      const url = this.url(name);
      return { type: types[name], name, endpoints: [{ region, adminURL: url, internalURL: url, publicURL: url }] };
    });
  }
}

function credentials(body: Readonly<Record<string, unknown>>): { name: unknown; password: unknown } {
  const auth = body['auth'] as { identity?: { password?: { user?: Record<string, unknown> } } } | undefined;
  const user = auth?.identity?.password?.user;
  return { name: user?.['name'], password: user?.['password'] };
}

/** The routes. */
export function keystoneRoutes(identity: Identity): Route[] {
  return [
    { at: 'GET /v3', open: true, run: () => ({ body: { version: { id: 'v3.14', status: 'stable', links: [] } } }) },
    {
      at: 'POST /v3/auth/tokens', open: true,
      run: ({ body }) => {
        const { name, password } = credentials(body);
        if (!identity.accepts(name, password)) throw new Refusal(401, { error: { code: 401, title: 'Unauthorized', message: 'The request you have made requires authentication.' } });
        const issued = Date.now();
        return {
          status: 201,
          headers: { 'x-subject-token': identity.issue() },
          body: { token: {
            methods: ['password'], issued_at: new Date(issued).toISOString(), expires_at: new Date(issued + lifeMs).toISOString(),
            user: { id: userId, name, domain: { id: 'default', name: 'Default' } }, project: { id: projectId, name: 'service', domain: { id: 'default', name: 'Default' } },
            roles: [{ id: 'admin', name: 'admin' }], catalog: identity.catalog(),
          } },
        };
      },
    },
  ];
}

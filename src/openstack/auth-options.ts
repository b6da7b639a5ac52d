/** The keystoneauth options of one section of nova.conf, as plain values. `main` fills them from the config table. */

/** One section: whose credentials, and which endpoint of which service. Names are those of keystoneauth's options, camel-cased. */
export interface AuthOptions {
  /** The section's name without brackets, as `placement`; error messages name it. */
  readonly section: string;
  /** `password` and `v3password` mean the same here. Undefined: the section has no credentials of its own (stock `[glance]`). */
  readonly authType?: string;
  /** keystone, with or without `/v3`. */
  readonly authUrl?: string;
  readonly username?: string;
  readonly userId?: string;
  readonly password?: string;
  readonly userDomainId?: string;
  readonly userDomainName?: string;
  readonly projectId?: string;
  readonly projectName?: string;
  readonly projectDomainId?: string;
  readonly projectDomainName?: string;
  /** Stands in for the user's and the project's domain where those are absent. */
  readonly defaultDomainId?: string;
  readonly defaultDomainName?: string;
  /** Scope of the token when no project is named. */
  readonly domainId?: string;
  readonly domainName?: string;
  /** `all`: a token for the whole system. */
  readonly systemScope?: string;
  readonly regionName?: string;
  /** Endpoint kinds in order of preference. Default `internal`, `public`. */
  readonly validInterfaces?: readonly string[];
  /** Used in place of the catalog. */
  readonly endpointOverride?: string;
  /** Type in the catalog. Default: the client's own (`placement`, `network`, `image`). */
  readonly serviceType?: string;
  /** PEM bundle that alone is trusted; default the system's. */
  readonly cafile?: string;
  /** PEM client certificate and its key. */
  readonly certfile?: string;
  readonly keyfile?: string;
  /** True: certificates are not checked. */
  readonly insecure?: boolean;
  /** Seconds without an answer, or without a byte of it. Default 60. */
  readonly timeout?: number;
  /** Repeats of an idempotent request after a failed connection or a 503. Default 3. */
  readonly retries?: number;
}

/** True if the section carries credentials. */
export function hasCredentials(options: AuthOptions): boolean {
  return options.authUrl !== undefined && (options.username !== undefined || options.userId !== undefined);
}

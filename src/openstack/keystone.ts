/** The sections' sessions: sections with the same credentials share one token, those with the same TLS settings their connections. */
import { HaulierError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { hasCredentials, type AuthOptions } from './auth-options.js';
import { Session, tokenFor, type SessionParts } from './session.js';
import { credentialsKey, TokenSource } from './token.js';
import { createTransport, transportKey, type Transport } from './transport.js';

const knownTypes = ['password', 'v3password'];

/** Which service a session is for. */
export type SessionTarget = Pick<SessionParts, 'service' | 'serviceType' | 'version' | 'catalogFrom' | 'serviceUser'>;

/** Makes sessions and holds what they share. */
export class Keystone {
  readonly #log: Log;
  readonly #transports = new Map<string, Transport>();
  readonly #sources = new Map<string, { readonly source: TokenSource; readonly section: string }>();

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * The token source of a section; undefined if the section has no credentials.
   * @throws CONFIG_INVALID for an authentication that Haulier does not know, or a certificate that cannot be read
   */
  source(options: AuthOptions): TokenSource | undefined {
    if (!hasCredentials(options)) return undefined;
    if (options.authType !== undefined && !knownTypes.includes(options.authType)) {
      throw new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: options.section, option: 'auth_type', problem: `${options.authType} is not one of ${knownTypes.join(', ')}` });
    }
    const key = credentialsKey(options);
    const entry = this.#sources.get(key) ?? { source: new TokenSource(options, this.#transport(options), this.#log), section: options.section };
    this.#sources.set(key, entry);
    return entry.source;
  }

  /** As `source`. @throws CONFIG_INVALID also if the section has no credentials */
  requiredSource(options: AuthOptions): TokenSource {
    const source = this.source(options);
    if (source) return source;
    const option = options.authUrl === undefined ? 'auth_url' : 'username';
    throw new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: options.section, option, problem: 'must be set' });
  }

  /** A section's way to one service. */
  session(options: AuthOptions, target: SessionTarget): Session {
    return new Session({ ...target, options, transport: this.#transport(options), source: this.source(options), log: this.#log });
  }

  /**
   * Logs in with every set of credentials at once, so that the first boot does not pay for it.
   * @throws the first failure, when all have been tried: KEYSTONE_REFUSED, REST_UNREACHABLE, REST_FAILED, or the signal's reason
   */
  async prefetch(signal?: AbortSignal): Promise<void> {
    const logins = await Promise.allSettled([...this.#sources.values()].map(({ source, section }) => tokenFor(source, section, signal)));
    for (const login of logins) if (login.status === 'rejected') throw login.reason;
  }

  /** Ends all connections; requests under way fail. */
  async close(): Promise<void> {
    await Promise.all([...this.#transports.values()].map((transport) => transport.close()));
  }

  #transport(options: AuthOptions): Transport {
    const key = transportKey(options);
    const transport = this.#transports.get(key) ?? createTransport(options);
    this.#transports.set(key, transport);
    return transport;
  }
}

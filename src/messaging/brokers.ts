/** Which broker is tried next, when, and with what TCP, TLS and AMQP options. */
import { readFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { credentials, type Options, type SocketOptions } from 'amqplib';
import type { RabbitOptions, Settings } from './options.js';
import type { BrokerHost } from './transport-url.js';

/** Milliseconds a broker may take for TCP, TLS and the AMQP handshake. */
const connectTimeoutMs = 10_000;

/**
 * Brokers in the order in which they are tried: shuffled once, so that services spread over a cluster, then in turn or at
 * random (impl_rabbit.py `Connection.__init__`, `kombu_failover_strategy`).
 */
export class BrokerRota {
  #order: BrokerHost[];
  #next = 0;
  constructor(hosts: readonly BrokerHost[], private readonly strategy: RabbitOptions['kombu_failover_strategy'], private readonly random: () => number = Math.random) {
    this.#order = this.#shuffled(hosts);
  }

  /** The broker to try now, and whether every broker will have been tried with it since the last time this was true. */
  next(): { host: BrokerHost; endsRound: boolean } {
    if (this.#next === this.#order.length) {
      this.#next = 0;
      if (this.strategy === 'shuffle') this.#order = this.#shuffled(this.#order);
    }
    const host = this.#order[this.#next++]!;
    return { host, endsRound: this.#next === this.#order.length };
  }

  #shuffled(hosts: readonly BrokerHost[]): BrokerHost[] {
    return hosts.map((host) => ({ host, at: this.random() })).sort((a, b) => a.at - b.at).map(({ host }) => host);
  }
}

/** Milliseconds before the try that follows the `failures`th failed round (1, 2, ...): 1 s, 3 s, 5 s ... 30 s by default. */
export function retryDelayMs(failures: number, rabbit: RabbitOptions): number {
  const seconds = (rabbit.rabbit_retry_interval || 1) + rabbit.rabbit_retry_backoff * (failures - 1);
  return Math.min(seconds, rabbit.rabbit_interval_max) * 1000;
}

/** Milliseconds to wait after a connection was lost. `kombu_reconnect_splay` keeps a whole cloud from coming at once. */
export function reconnectDelayMs(rabbit: RabbitOptions, random: () => number = Math.random): number {
  return (rabbit.kombu_reconnect_delay + rabbit.kombu_reconnect_splay * random()) * 1000;
}

/** Arguments of amqplib's `connect` for one broker. Files are read each time, so renewed certificates need no restart. */
export async function connectArguments(host: BrokerHost, settings: Settings): Promise<[Options.Connect, SocketOptions]> {
  const { rabbit } = settings;
  const tls = rabbit.ssl ? await tlsOptions(rabbit) : {};
  return [
    {
      protocol: rabbit.ssl ? 'amqps' : 'amqp',
      hostname: host.hostname,
      port: host.port,
      vhost: encodeURIComponent(settings.virtualHost), // amqplib decodes it
      heartbeat: rabbit.heartbeat_timeout_threshold,
      locale: 'en_US',
    },
    {
      ...tls,
      noDelay: true, // without it every call waits 40 ms for a delayed acknowledgement (contract K.41)
      keepAlive: true,
      timeout: connectTimeoutMs,
      // amqplib adds the capabilities that oslo sends (authentication_failure_close, connection.blocked, consumer_cancel_notify)
      clientProperties: { connection_name: `${settings.program}:${process.pid}:${randomUUID()}` },
      credentials: loginOf(rabbit.rabbit_login_method, host),
    },
  ];
}

function loginOf(method: string, host: BrokerHost): NonNullable<SocketOptions['credentials']> {
  if (method === 'EXTERNAL') return credentials.external();
  return method === 'PLAIN' ? credentials.plain(host.username, host.password) : credentials.amqplain(host.username, host.password);
}

async function tlsOptions(rabbit: RabbitOptions): Promise<SocketOptions> {
  const read = (path: string): Promise<Buffer> | undefined => (path ? readFile(path) : undefined);
  const [ca, cert, key] = await Promise.all([read(rabbit.ssl_ca_file), read(rabbit.ssl_cert_file), read(rabbit.ssl_key_file)]);
  const version = ({ tlsv1_2: 'TLSv1.2', tlsv1_3: 'TLSv1.3' } as const)[rabbit.ssl_version.toLowerCase() as 'tlsv1_2' | 'tlsv1_3'];
  return {
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
    ...(version ? { minVersion: version, maxVersion: version } : {}),
    // ssl.CERT_REQUIRED only with ssl_ca_file (impl_rabbit.py `_fetch_ssl_params`)
    rejectUnauthorized: ca !== undefined,
    ...(rabbit.ssl_enforce_hostname_verification ? {} : { checkServerIdentity: () => undefined }),
  };
}

/** The messaging room's options: `[oslo_messaging_rabbit]` under oslo's own names, and the few of `[DEFAULT]` it needs. */
import { HaulierError } from '../base/errors.js';
import { parseTransportUrl, type BrokerHost } from './transport-url.js';

/**
 * Options of `[oslo_messaging_rabbit]`, named as there. They must match the control plane's, or declarations are refused
 * with 406 (contract A.1). Defaults: `rabbitDefaults`, those of oslo.messaging 18.
 */
export interface RabbitOptions {
  /** Control exchange and topic queues survive a broker restart. */
  readonly amqp_durable_queues: boolean;
  /** Control exchange and topic queues vanish with their last user. */
  readonly amqp_auto_delete: boolean;
  /** Topic queues are quorum queues, and durable. Excludes `rabbit_ha_queues`. */
  readonly rabbit_quorum_queue: boolean;
  /** Reply and fanout queues are quorum queues, and durable (2025.1 and later). */
  readonly rabbit_transient_quorum_queue: boolean;
  /** `x-delivery-limit` of quorum queues; 0: none. */
  readonly rabbit_quorum_delivery_limit: number;
  /** `x-max-in-memory-length` of quorum queues; 0: none. */
  readonly rabbit_quorum_max_memory_length: number;
  /** `x-max-in-memory-bytes` of quorum queues; 0: none. */
  readonly rabbit_quorum_max_memory_bytes: number;
  /** One stream per topic instead of fanout queues. Needs a prefetch count and `rabbit_transient_quorum_queue`. */
  readonly rabbit_stream_fanout: boolean;
  /** Seconds after which unused reply and fanout queues expire (`x-expires`, or `x-max-age` of a stream); 0: never. */
  readonly rabbit_transient_queues_ttl: number;
  /** `x-ha-policy: all` on every queue. */
  readonly rabbit_ha_queues: boolean;
  /** Unacknowledged messages a consumer may hold; 0: no limit. */
  readonly rabbit_qos_prefetch_count: number;
  /** `x-cancel-on-ha-failover` on consumers. */
  readonly enable_cancel_on_failover: boolean;
  /** Seconds of the AMQP heartbeat; 0: none. */
  readonly heartbeat_timeout_threshold: number;
  /** Accepted; amqplib checks twice in a period. */
  readonly heartbeat_rate: number;
  /** Seconds before the second try to connect, and ... */
  readonly rabbit_retry_interval: number;
  /** ... seconds added to it for each further try ... */
  readonly rabbit_retry_backoff: number;
  /** ... up to so many. */
  readonly rabbit_interval_max: number;
  /** Seconds to wait after a connection or consumer was lost, before the first try. */
  readonly kombu_reconnect_delay: number;
  /** Random seconds added to `kombu_reconnect_delay`. */
  readonly kombu_reconnect_splay: number;
  /** Which of several brokers is tried next. */
  readonly kombu_failover_strategy: 'round-robin' | 'shuffle';
  /** Seconds for which a message to a missing queue is tried again. */
  readonly kombu_missing_consumer_retry_timeout: number;
  /** Accepted: Haulier sends uncompressed, which every peer takes, and reads what others compress with gzip. */
  readonly kombu_compression: string;
  /** SASL mechanism. */
  readonly rabbit_login_method: string;
  /** Replies are published `mandatory`, so that a missing reply queue is noticed. */
  readonly direct_mandatory_flag: boolean;
  /** Connect over TLS. */
  readonly ssl: boolean;
  /** `''` for the best of both, or `TLSv1_2`, `TLSv1_3`, `SSLv23`... (as the latter, the best of both). */
  readonly ssl_version: string;
  /** File with the client's key, PEM. */
  readonly ssl_key_file: string;
  /** File with the client's certificate, PEM. */
  readonly ssl_cert_file: string;
  /** File with the trusted authorities, PEM. Without it the broker's certificate is not checked at all, as in oslo. */
  readonly ssl_ca_file: string;
  /** Check the broker's name too (with `ssl_ca_file`). Default true as in 2026.2; older releases had false. */
  readonly ssl_enforce_hostname_verification: boolean;
  /** Accepted; has no effect since OpenSSL 3. */
  readonly ssl_enforce_fips_mode: boolean;
  /** Accepted; names stay random, which every peer takes (contract A.2). */
  readonly use_queue_manager: boolean;
  /** Accepted for `use_queue_manager`. */
  readonly hostname: string;
  /** Accepted for `use_queue_manager`. */
  readonly processname: string;
}

/** oslo.messaging's defaults (impl_rabbit.py `rabbit_opts`, amqp.py `amqp_opts`). */
export const rabbitDefaults: RabbitOptions = {
  amqp_durable_queues: false,
  amqp_auto_delete: false,
  rabbit_quorum_queue: false,
  rabbit_transient_quorum_queue: false,
  rabbit_quorum_delivery_limit: 0,
  rabbit_quorum_max_memory_length: 0,
  rabbit_quorum_max_memory_bytes: 0,
  rabbit_stream_fanout: false,
  rabbit_transient_queues_ttl: 1800,
  rabbit_ha_queues: false,
  rabbit_qos_prefetch_count: 0,
  enable_cancel_on_failover: false,
  heartbeat_timeout_threshold: 60,
  heartbeat_rate: 3,
  rabbit_retry_interval: 1,
  rabbit_retry_backoff: 2,
  rabbit_interval_max: 30,
  kombu_reconnect_delay: 1,
  kombu_reconnect_splay: 0,
  kombu_failover_strategy: 'round-robin',
  kombu_missing_consumer_retry_timeout: 60,
  kombu_compression: '',
  rabbit_login_method: 'AMQPLAIN',
  direct_mandatory_flag: true,
  ssl: false,
  ssl_version: '',
  ssl_key_file: '',
  ssl_cert_file: '',
  ssl_ca_file: '',
  ssl_enforce_hostname_verification: true,
  ssl_enforce_fips_mode: false,
  use_queue_manager: false,
  hostname: '',
  processname: '',
};

/** What `connectMessaging` needs. */
export interface MessagingOptions {
  /** `[DEFAULT] transport_url`. */
  readonly transportUrl: string;
  /** `[DEFAULT] control_exchange`; `nova` if absent, as Nova sets it. */
  readonly controlExchange?: string;
  /** `[DEFAULT] rpc_response_timeout`, seconds; 60 if absent. */
  readonly rpcResponseTimeout?: number;
  /** `[DEFAULT] executor_thread_pool_size`: requests handled at once; 64 if absent. */
  readonly executorThreadPoolSize?: number;
  /** First part of the connections' names, as `haulier`. */
  readonly program?: string;
  /** `[oslo_messaging_rabbit]`; what is absent takes its default, and options of the URL win over both. */
  readonly rabbit?: Partial<RabbitOptions>;
}

/** `MessagingOptions` checked, with every default filled in. */
export interface Settings {
  readonly hosts: readonly BrokerHost[];
  readonly virtualHost: string;
  readonly controlExchange: string;
  /** Milliseconds. */
  readonly callTimeoutMs: number;
  readonly concurrency: number;
  readonly program: string;
  readonly rabbit: RabbitOptions;
}

/**
 * Checks the options and fills in what is missing.
 * @throws CONFIG_INVALID for a bad URL and for combinations that oslo.messaging refuses too
 */
export function resolveSettings(options: MessagingOptions): Settings {
  const url = parseTransportUrl(options.transportUrl);
  const rabbit: RabbitOptions = { ...rabbitDefaults, ...definedOnly(options.rabbit ?? {}), ...fromQuery(url.query) };
  if (rabbit.rabbit_quorum_queue && rabbit.rabbit_ha_queues) throw invalid('rabbit_quorum_queue', 'excludes rabbit_ha_queues');
  if (rabbit.rabbit_stream_fanout && rabbit.rabbit_qos_prefetch_count <= 0) throw invalid('rabbit_stream_fanout', 'needs rabbit_qos_prefetch_count above 0');
  if (rabbit.rabbit_stream_fanout && !rabbit.rabbit_transient_quorum_queue) throw invalid('rabbit_stream_fanout', 'needs rabbit_transient_quorum_queue');
  if (!['round-robin', 'shuffle'].includes(rabbit.kombu_failover_strategy)) throw invalid('kombu_failover_strategy', 'must be round-robin or shuffle');
  if (!['AMQPLAIN', 'PLAIN', 'EXTERNAL'].includes(rabbit.rabbit_login_method)) throw invalid('rabbit_login_method', 'must be AMQPLAIN, PLAIN or EXTERNAL');
  return {
    hosts: url.hosts,
    virtualHost: url.virtualHost,
    controlExchange: options.controlExchange ?? 'nova',
    callTimeoutMs: (options.rpcResponseTimeout ?? 60) * 1000,
    concurrency: options.executorThreadPoolSize ?? 64,
    program: options.program ?? 'haulier',
    rabbit,
  };
}

function definedOnly(options: Partial<RabbitOptions>): Partial<RabbitOptions> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Options of the URL, typed after their defaults; unknown names are ignored as in oslo (`ConfigOptsProxy`). */
function fromQuery(query: Readonly<Record<string, string>>): Partial<RabbitOptions> {
  const typed: Record<string, string | number | boolean> = {};
  for (const [name, text] of Object.entries(query)) {
    if (!Object.hasOwn(rabbitDefaults, name)) continue;
    const kind = typeof rabbitDefaults[name as keyof RabbitOptions];
    if (kind === 'boolean') typed[name] = toBoolean(name, text);
    else if (kind === 'number') typed[name] = toNumber(name, text);
    else typed[name] = text;
  }
  return typed;
}

function toBoolean(name: string, text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off)$/i.test(text)) return false;
  throw invalid(name, 'in the URL is no boolean');
}

function toNumber(name: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw invalid(name, 'in the URL is no number');
  return Number(text);
}

function invalid(option: string, problem: string): HaulierError {
  return new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: 'oslo_messaging_rabbit', option, problem });
}

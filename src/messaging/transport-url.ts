/**
 * `transport_url` as oslo.messaging reads it: several hosts, each with its own credentials, one virtual host, and options
 * after the question mark that override `[oslo_messaging_rabbit]` (oslo_messaging/transport.py `TransportURL.parse`).
 */
import { HaulierError } from '../base/errors.js';

/** One broker of the URL. */
export interface BrokerHost {
  /** Name or address, without the brackets of IPv6. */
  readonly hostname: string;
  /** TCP port; 5672 if the URL names none, with TLS too (impl_rabbit `_transform_transport_url`). */
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

/** A transport URL taken apart. */
export interface TransportUrl {
  /** At least one. */
  readonly hosts: readonly BrokerHost[];
  /** Virtual host; `/` if the URL names none (kombu's rule). */
  readonly virtualHost: string;
  /** Options after `?`, not yet typed; a repeated key is joined with commas. */
  readonly query: Readonly<Record<string, string>>;
}

const defaultPort = 5672;
const guest = { username: 'guest', password: 'guest' };

/**
 * Parses `rabbit://user:pass@h1:5672,u2:p2@h2/vhost?ssl=1`.
 * @throws CONFIG_INVALID if it is no such URL; the message never holds a part of the URL that could be a password
 */
export function parseTransportUrl(url: string): TransportUrl {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(url);
  if (!scheme) throw invalid('no scheme; expected rabbit://user:password@host:port/virtual-host');
  // `kombu` is an old name of the same driver (setup.cfg of oslo.messaging)
  if (!['rabbit', 'kombu'].includes(scheme[1]!.toLowerCase())) throw invalid(`scheme ${scheme[1]} is not supported; Haulier speaks rabbit`);
  const rest = url.slice(scheme[0].length);
  const [beforeFragment = ''] = rest.split('#', 1);
  const questionMark = beforeFragment.indexOf('?');
  const address = questionMark < 0 ? beforeFragment : beforeFragment.slice(0, questionMark);
  const slash = address.indexOf('/');
  const authority = slash < 0 ? address : address.slice(0, slash);
  const hosts = authority.split(',').filter(Boolean).map(parseHost);
  return {
    hosts: hosts.length > 0 ? hosts : [{ hostname: 'localhost', port: defaultPort, ...guest }],
    virtualHost: (slash < 0 ? '' : unquote(address.slice(slash + 1), 'virtual host')) || '/',
    query: questionMark < 0 ? {} : parseQuery(beforeFragment.slice(questionMark + 1)),
  };
}

function parseHost(text: string): BrokerHost {
  const at = text.lastIndexOf('@');
  const credentials = at < 0 ? undefined : text.slice(0, at);
  const { hostname, port } = splitPort(text.slice(at + 1));
  const colon = credentials?.indexOf(':') ?? -1;
  const username = credentials === undefined ? '' : unquote(colon < 0 ? credentials : credentials.slice(0, colon), 'user name');
  const password = colon < 0 ? '' : unquote(credentials!.slice(colon + 1), 'password');
  // py-amqp logs in as guest where the URL has no user
  return { hostname: hostname || 'localhost', port, ...(username || password ? { username, password } : guest) };
}

function splitPort(text: string): { hostname: string; port: number } {
  let hostname = text;
  let port = '';
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    if (end < 0) throw invalid('an IPv6 address lacks its closing bracket');
    hostname = text.slice(1, end);
    port = text.slice(end + 1).replace(/^:/, '');
  } else if (text.includes(':')) {
    const colon = text.indexOf(':');
    hostname = text.slice(0, colon);
    port = text.slice(colon + 1);
  }
  if (port === '') return { hostname, port: defaultPort };
  const number = Number(port);
  if (!/^\d+$/.test(port) || number < 1 || number > 65535) throw invalid(`a port of host ${hostname} is no number from 1 to 65535`);
  return { hostname, port: number };
}

function parseQuery(text: string): Record<string, string> {
  const query = new Map<string, string>();
  for (const [key, value] of new URLSearchParams(text)) {
    const before = query.get(key);
    query.set(key, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries(query);
}

function unquote(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`the ${what} has a malformed percent escape`);
  }
}

function invalid(problem: string): HaulierError {
  return new HaulierError('CONFIG_INVALID', { file: 'nova.conf', section: 'DEFAULT', option: 'transport_url', problem });
}

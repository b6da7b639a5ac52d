/** Which endpoint answers a request (contract A.9, oslo_messaging/rpc/dispatcher.py `dispatch`). */
import type { Endpoint } from './types.js';

/**
 * Whether something that speaks `offered` can take a message of version `wanted`: same major, minor (then revision) not above.
 * A malformed version fits nowhere.
 */
export function versionFits(offered: string, wanted: string): boolean {
  const have = parts(offered);
  const want = parts(wanted);
  if (!have || !want) return false;
  if (have.major !== want.major || want.minor > have.minor) return false;
  return want.minor < have.minor || want.revision <= have.revision;
}

function parts(version: string): { major: number; minor: number; revision: number } | undefined {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?$/.exec(version);
  return match ? { major: Number(match[1]), minor: Number(match[2]), revision: Number(match[3] ?? 0) } : undefined;
}

/** A request that no endpoint takes. Its class and module are those of oslo.messaging, so the sender can tell. */
export class DispatchError extends Error {
  readonly className: 'NoSuchMethod' | 'UnsupportedVersion';
  constructor(className: DispatchError['className'], message: string) {
    super(message);
    this.name = className;
    this.className = className;
  }
  /** Python module of the class. */
  get module(): string {
    return 'oslo_messaging.rpc.dispatcher';
  }
}

/** Characters of a sender's words that are repeated to him. */
const maxShown = 100;

/**
 * The first endpoint with the request's namespace, a fitting version and the method. Names that begin with `_` are refused
 * (`DefaultRPCAccessPolicy`).
 * @throws DispatchError
 */
export function chooseEndpoint(endpoints: readonly Endpoint[], request: { method: string; namespace?: string | undefined; version: string }): Endpoint {
  const { method, namespace, version } = request;
  const [shown, shownVersion] = [method.slice(0, maxShown), version.slice(0, maxShown)];
  const fitting = endpoints.filter((endpoint) => endpoint.namespace === namespace && versionFits(endpoint.version, version));
  if (fitting.length === 0) {
    throw new DispatchError('UnsupportedVersion', `Endpoint does not support RPC version ${shownVersion}. Attempted method: ${shown}`);
  }
  const chosen = method.startsWith('_') ? undefined : fitting.find((endpoint) => endpoint.has(method));
  if (!chosen) throw new DispatchError('NoSuchMethod', `Endpoint does not support RPC method ${shown}`);
  return chosen;
}

/**
 * What an application container runs: what its image's configuration says (OCI image-spec, config.md), in the words of this room. It
 * comes from strangers: from an archive, or from a property of an image.
 */

/** An application. */
export interface ApplicationConfig {
  /** Program and arguments, at least one. */
  readonly args: readonly string[];
  /** `NAME=value` each. */
  readonly env: readonly string[];
  /** `user`, `uid`, `user:group`, `uid:gid`...; empty: root. */
  readonly user: string;
  /** Absolute. */
  readonly cwd: string;
  /** Name or number of the signal that asks it to end. */
  readonly stopSignal: string;
}

/** Where the configuration names none. */
export const defaultStopSignal = 'SIGTERM';

/** Most bytes of a configuration as JSON: it has to fit into a property of an image at Glance (a column of 64 KiB). */
export const maxApplicationBytes = 60_000;

const strings = (value: unknown): value is string[] => Array.isArray(value) && value.every((item) => typeof item === 'string');
const signalPattern = /^(?:\d{1,2}|(?:SIG)?(?:[A-Z]{2,6}[12]?|RTMIN(?:\+\d{1,2})?|RTMAX(?:-\d{1,2})?))$/;

/**
 * Checks it.
 * @throws Error that says in plain words what is wrong
 */
export function parseApplication(value: unknown): ApplicationConfig {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('is no object');
  const { args, env = [], user = '', cwd = '/', stopSignal = defaultStopSignal } = value as Record<string, unknown>;
  if (!strings(args) || args.length === 0 || args[0] === '') throw new Error('names no program');
  if (!strings(env)) throw new Error('has an environment that is no list of words');
  const odd = env.find((entry) => !/^[^=]+=/.test(entry));
  if (odd !== undefined) throw new Error(`has '${odd.slice(0, 60)}' in its environment, which is not NAME=value`);
  if (typeof user !== 'string' || !/^[^\s:]*(?::[^\s:]*)?$/.test(user) || user.length > 256) throw new Error('has a user that is not of the form user:group');
  if (typeof cwd !== 'string' || !cwd.startsWith('/') || cwd.split('/').includes('..')) throw new Error('has a working directory that is not absolute');
  if (typeof stopSignal !== 'string' || !signalPattern.test(stopSignal)) throw new Error('has a stop signal that does not exist');
  const config = { args, env, user, cwd, stopSignal };
  const text = JSON.stringify(config);
  if (text.includes('\\u0000')) throw new Error('has a zero byte in it');
  if (Buffer.byteLength(text) > maxApplicationBytes) throw new Error(`is longer than ${maxApplicationBytes} bytes`);
  return config;
}

/**
 * Programs that are PID 1 by themselves: a whole system, whatever its image's configuration calls it.
 * An image may have an init and not use it (Alpine's has busybox's), so only what it starts counts.
 */
const inits: ReadonlySet<string> = new Set(['init', 'systemd', 'openrc-init', 'runit-init', 's6-svscan', 'tini', 'tini-static', 'dumb-init', 'catatonit', 'docker-init']);

/** True if the application is an init, or brings its own. */
export const isOwnInit = (config: Pick<ApplicationConfig, 'args'>): boolean => inits.has(config.args[0]?.split('/').at(-1) ?? '');

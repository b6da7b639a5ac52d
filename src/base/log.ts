/** Logging through bunyan, with secrets masked before a record is written. */
import bunyan from 'bunyan';
import { prettyLine } from './pretty.js';

/** What the rooms log to: a bunyan logger, narrowed. */
export type Log = Pick<bunyan, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(fields: Record<string, unknown>): Log;
};

const secretKey = /(passw|secret|token|transport_url|_pass$|admin_pass|credential|authorization|encryption_key)/i;
// every part has an end: without, a long text that is no URL takes time by the square of its length
const urlPassword = /([a-z][a-z0-9+.-]{0,30}:\/\/[^:/@\s]{0,256}:)[^@\s]{1,256}@/gi;
const maxDepth = 6;

/** Secrets whose very text is hidden wherever it turns up: of the configuration for good, of requests the last ones. */
const configured = new Set<string>();
const recent = new Set<string>();
const mostRecent = 128;
const shortest = 6;

/**
 * Hides a secret from now on wherever it would be written: in the log, in failures, in faults. What is shorter than six characters is not
 * hidden, as it would be found in words.
 * @param lasting it is one of the configuration; else it is forgotten when many others have come
 */
export function hideSecret(value: unknown, lasting = false): void {
  if (typeof value !== 'string' || value.length < shortest) return;
  const set = lasting ? configured : recent;
  set.delete(value);
  set.add(value);
  const oldest = recent.values().next();
  if (recent.size > mostRecent && !oldest.done) recent.delete(oldest.value);
}

function hideKnown(text: string): string {
  let hidden = text;
  for (const set of [configured, recent]) for (const secret of set) if (hidden.includes(secret)) hidden = hidden.replaceAll(secret, '***');
  return hidden;
}

/** A copy of `value` with everything that looks like a secret replaced by `***`, and what lies too deep to be looked into by `…`. */
export function maskSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return hideKnown(value.replace(urlPassword, '$1***@'));
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Error || value instanceof Date) return value;
  if (depth > maxDepth) return '…';
  if (Array.isArray(value)) return value.map((item) => maskSecrets(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      secretKey.test(key) && item !== null && item !== undefined ? '***' : maskSecrets(item, depth + 1),
    ]),
  );
}

class MaskingStream {
  constructor(private readonly out: NodeJS.WritableStream, private readonly pretty: boolean) {}
  write(record: object): void {
    const masked = maskSecrets(record) as Record<string, unknown>;
    this.out.write(this.pretty ? prettyLine(masked, process.env['NO_COLOR'] === undefined) : JSON.stringify(masked, bunyan.safeCycles()) + '\n');
  }
}

/**
 * Makes the process's logger.
 * @param options.level lowest level written
 * @param options.out where records go, one JSON object a line; standard error by default
 * @param options.pretty lines for people instead, there
 * @param options.also a second place for them, one JSON object a line
 */
export function createLog(options: { name?: string; level?: bunyan.LogLevel; out?: NodeJS.WritableStream; pretty?: boolean; also?: NodeJS.WritableStream } = {}): Log {
  const level = options.level ?? 'info';
  const stream = (out: NodeJS.WritableStream, pretty: boolean): bunyan.Stream => ({ type: 'raw', stream: new MaskingStream(out, pretty), level });
  return bunyan.createLogger({
    name: options.name ?? 'haulier',
    serializers: { err: bunyan.stdSerializers.err },
    streams: [stream(options.out ?? process.stderr, options.pretty ?? false), ...(options.also ? [stream(options.also, false)] : [])],
  });
}

/** A logger that writes nothing. */
export function silentLog(): Log {
  return bunyan.createLogger({ name: 'silent', streams: [] });
}

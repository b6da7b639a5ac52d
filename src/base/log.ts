/** Logging through bunyan, with secrets masked before a record is written. */
import bunyan from 'bunyan';

/** What the rooms log to: a bunyan logger, narrowed. */
export type Log = Pick<bunyan, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(fields: Record<string, unknown>): Log;
};

const secretKey = /(passw|secret|token|transport_url|_pass$|admin_pass|credential|authorization|encryption_key)/i;
const urlPassword = /([a-z][a-z0-9+.-]*:\/\/[^:/@\s]*:)[^@\s]+@/gi;
const maxDepth = 6;

/** A copy of `value` with everything that looks like a secret replaced by `***`. */
export function maskSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return value.replace(urlPassword, '$1***@');
  if (value === null || typeof value !== 'object' || depth > maxDepth) return value;
  if (value instanceof Error || value instanceof Date) return value;
  if (Array.isArray(value)) return value.map((item) => maskSecrets(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      secretKey.test(key) && item !== null && item !== undefined ? '***' : maskSecrets(item, depth + 1),
    ]),
  );
}

class MaskingStream {
  constructor(private readonly out: NodeJS.WritableStream) {}
  write(record: object): void {
    const masked = maskSecrets(record) as Record<string, unknown>;
    this.out.write(JSON.stringify(masked, bunyan.safeCycles()) + '\n');
  }
}

/**
 * Makes the process's logger.
 * @param options.level lowest level written
 * @param options.out where records go, one JSON object a line; standard error by default
 */
export function createLog(options: { name?: string; level?: bunyan.LogLevel; out?: NodeJS.WritableStream } = {}): Log {
  return bunyan.createLogger({
    name: options.name ?? 'haulier',
    level: options.level ?? 'info',
    serializers: { err: bunyan.stdSerializers.err },
    streams: [{ type: 'raw', stream: new MaskingStream(options.out ?? process.stderr), level: options.level ?? 'info' }],
  });
}

/** A logger that writes nothing. */
export function silentLog(): Log {
  return bunyan.createLogger({ name: 'silent', streams: [] });
}

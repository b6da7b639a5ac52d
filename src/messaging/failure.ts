/**
 * What was thrown, as it travels (contract A.5, oslo_messaging/_drivers/common.py). Nova rebuilds only classes of
 * `nova.exception` and `builtins`; everything else reaches the caller as `RemoteError`.
 */
import { HaulierError, messageOf } from '../base/errors.js';
import { maskSecrets } from '../base/log.js';
import { MessageUndeliverable, MessagingTimeout, RemoteFailure, type Failure } from './types.js';
import { DispatchError } from './version.js';

const rebuiltModules = ['nova.exception', 'builtins', 'exceptions'];
const maxTraceLines = 30;

/** Any thrown thing as a failure. */
export function toFailure(error: unknown): Failure {
  if (error instanceof RemoteFailure) return passOn(error);
  const message = masked(messageOf(error));
  const tb = traceOf(error);
  const plain = { message, tb, args: [message], kwargs: {} };
  if (error instanceof HaulierError) {
    const { class: className, module, code } = error.nova;
    // only NovaException takes `code`; a builtin rebuilt with keywords would fail and become a RemoteError
    return { class: className, module, ...plain, kwargs: module === 'nova.exception' ? { code } : {} };
  }
  if (error instanceof DispatchError) return { class: error.className, module: error.module, ...plain };
  if (error instanceof MessagingTimeout || error instanceof MessageUndeliverable) return { class: error.name, module: 'oslo_messaging.exceptions', ...plain };
  return { class: 'Exception', module: 'builtins', ...plain };
}

/**
 * A failure of another service that goes on to our caller. Where Nova could rebuild the class it stays that class; otherwise
 * our caller gets what a Python service in our place would send: the RemoteError that it had caught.
 */
function passOn(error: RemoteFailure): Failure {
  const { failure } = error;
  const module = failure.module.replace(/_Remote$/, '');
  const tb = [...failure.tb, ...traceOf(error)];
  if (rebuiltModules.includes(module)) return { ...failure, class: error.className, module, tb };
  const message = `Remote error: ${failure.class} ${failure.message}\n${failure.tb.join('')}.`;
  return { class: 'RemoteError', module: 'oslo_messaging.rpc.client', message, tb, args: [message], kwargs: {} };
}

/** The failure as the JSON text that a reply holds. */
export function encodeFailure(failure: Failure): string {
  return JSON.stringify({
    class: failure.class,
    module: failure.module,
    message: failure.message,
    tb: failure.tb,
    args: failure.args,
    kwargs: failure.kwargs,
  });
}

/** Reads a failure. It never throws: text that is no failure becomes a `RemoteError` with that text. */
export function decodeFailure(text: string): RemoteFailure {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const data: Record<string, unknown> = value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {};
  const { class: className, module, message, tb, args, kwargs } = data;
  return new RemoteFailure({
    class: typeof className === 'string' ? className : 'RemoteError',
    module: typeof module === 'string' ? module : 'oslo_messaging.rpc.client',
    message: typeof message === 'string' ? message : text,
    tb: Array.isArray(tb) ? tb.map(String) : [],
    args: Array.isArray(args) ? (args as unknown[]) : [],
    kwargs: kwargs !== null && typeof kwargs === 'object' && !Array.isArray(kwargs) ? (kwargs as Record<string, unknown>) : {},
  });
}

/** The stack in the shape of a Python traceback: a list of lines, each with its end. No folder of this host is in it. */
function traceOf(error: unknown): string[] {
  if (!(error instanceof Error) || !error.stack) return [];
  const frames = error.stack.split('\n').filter((line) => /^\s+at /.test(line)).slice(0, maxTraceLines);
  return ['Traceback (most recent call last):\n', ...frames.map((line) => `  ${shortPath(line.trim())}\n`), `${error.name}: ${masked(messageOf(error))}\n`];
}

function shortPath(line: string): string {
  return line.replace(/(?:file:\/\/)?\/[^\s()]+/g, (path) => /(?:^|\/)((?:src|node_modules)\/.*)$/.exec(path)?.[1] ?? path.slice(path.lastIndexOf('/') + 1));
}

function masked(text: string): string {
  return maskSecrets(text) as string;
}

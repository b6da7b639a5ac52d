/**
 * One REST request, with its retries. Who retries what:
 * 1. A connection that could not be made: any method (nothing was sent).
 * 2. A connection that broke before the answer: idempotent requests; the first time at once (a kept connection that the server had
 *    closed), then with back-off. A POST is never sent on a kept connection (transport.ts) and not repeated.
 * 3. A 503: idempotent requests, with back-off, or after its Retry-After.
 * An answer that takes too long is not asked for again: the other side has enough to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { request as undiciRequest, type Dispatcher } from 'undici';
import { HaulierError, messageOf } from '../base/errors.js';
import { hide, restFailed } from './rest-errors.js';
import type { Transport } from './transport.js';

const defaultRetries = 3;
const firstDelayMs = 250;
const maxDelayMs = 5000;

/** Query parameters; an array repeats the parameter. */
export type Query = Readonly<Record<string, string | readonly string[]>>;

/** One request. */
export interface RestRequest {
  /** For errors: `neutron`. */
  readonly service: string;
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'PATCH';
  /** Base address; its path is kept. */
  readonly endpoint: string;
  /** Below the endpoint, with a leading slash; without query. */
  readonly path: string;
  readonly query?: Query;
  readonly headers?: Readonly<Record<string, string>>;
  /** Body, sent as JSON. */
  readonly json?: unknown;
  /** Body as a stream of bytes: can be sent only once, so nothing is retried. Sent as application/octet-stream. */
  readonly stream?: Readable;
  /** Sent as `X-Openstack-Request-Id`. */
  readonly requestId?: string;
  readonly signal?: AbortSignal;
  /** How long the answer may take after the request was sent; default: the section's time-out. */
  readonly answerTimeoutMs?: number;
  /** Whether the request may be sent twice. Default: GET, PUT and DELETE. */
  readonly idempotent?: boolean;
  /** Default 3. */
  readonly retries?: number;
  /** What must not appear in an error although the service may repeat it. */
  readonly secrets?: readonly string[];
}

/** An answer below 300. */
export interface RestResponse {
  readonly status: number;
  /** Parsed if it is JSON, else the text; undefined if empty. */
  readonly body: unknown;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const unconnected = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT']);
const broken = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/** `?a=b&c=d`, or nothing. Commas and colons stay readable: placement's `in:A,B` grows by half otherwise. */
export function queryString(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) => (typeof value === 'string' ? [value] : value).map((item) => [name, item] as const));
  if (pairs.length === 0) return '';
  const encode = (value: string): string => encodeURIComponent(value).replaceAll('%2C', ',').replaceAll('%3A', ':');
  return '?' + pairs.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (code !== undefined) return code;
  // several addresses tried (::1, 127.0.0.1): an AggregateError whose parts carry the codes
  return error instanceof AggregateError && error.errors.length > 0 ? codeOf(error.errors[0]) : '';
}

/** Whether a failed request may be sent again: nothing of it was sent, or sending it twice does no harm. */
function mayRepeat(error: unknown, idempotent: boolean): boolean {
  const code = codeOf(error);
  if (idempotent) return unconnected.has(code) || broken.has(code);
  const call = (error as NodeJS.ErrnoException).syscall; // a made connection can time out too: then it is `read` or `write`
  return unconnected.has(code) && (call === undefined || call === 'connect' || call === 'getaddrinfo');
}

function unreachable(request: RestRequest, error: unknown): HaulierError {
  const code = codeOf(error);
  const message = messageOf(error);
  const reason = message.includes(code) || code === '' ? message : `${message} (${code})`;
  return new HaulierError('REST_UNREACHABLE', { service: request.service, reason: hide(`${request.method} ${request.endpoint}: ${reason}`, request.secrets ?? []) }, { cause: error });
}

function backOffMs(attempt: number): number {
  return Math.min(maxDelayMs, firstDelayMs * 2 ** attempt) * (0.75 + Math.random() / 2);
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

function retryAfterMs(headers: Dispatcher.ResponseData['headers'], attempt: number): number {
  const seconds = Number(headers['retry-after']);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(maxDelayMs, seconds * 1000) : backOffMs(attempt);
}

async function once(transport: Transport, request: RestRequest, idempotent: boolean): Promise<Dispatcher.ResponseData> {
  const url = request.endpoint.replace(/\/+$/, '') + request.path + queryString(request.query);
  const body = request.stream ?? (request.json === undefined ? undefined : JSON.stringify(request.json));
  return undiciRequest(url, {
    dispatcher: idempotent ? transport.kept : transport.fresh,
    reset: !idempotent,
    method: request.method,
    headers: {
      accept: 'application/json',
      'user-agent': 'haulier',
      ...(body === undefined ? {} : { 'content-type': request.stream ? 'application/octet-stream' : 'application/json' }),
      ...(request.requestId === undefined ? {} : { 'x-openstack-request-id': request.requestId }),
      ...request.headers,
    },
    body,
    signal: request.signal,
    ...(request.answerTimeoutMs === undefined ? {} : { headersTimeout: request.answerTimeoutMs }),
  });
}

/** Sends with the retries; whatever the answer's status (a 503 only when the retries are used up). */
async function send(transport: Transport, request: RestRequest): Promise<Dispatcher.ResponseData> {
  const idempotent = request.stream ? false : request.idempotent ?? ['GET', 'PUT', 'DELETE'].includes(request.method);
  const retries = request.stream ? 0 : request.retries ?? defaultRetries;
  let stale = false;
  for (let attempt = 0; ; attempt++) {
    try {
      request.signal?.throwIfAborted();
      const response = await once(transport, request, idempotent);
      if (response.statusCode !== 503 || !idempotent || attempt >= retries) return response;
      await response.body.dump();
      await pause(retryAfterMs(response.headers, attempt), request.signal);
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      if (idempotent && broken.has(codeOf(error)) && !stale) {
        stale = true;
        attempt--; // a stale connection costs no try and no time
        continue;
      }
      if (!mayRepeat(error, idempotent) || attempt >= retries) throw unreachable(request, error);
      await pause(backOffMs(attempt), request.signal);
    }
  }
}

async function readBody(request: RestRequest, response: Dispatcher.ResponseData): Promise<unknown> {
  let text: string;
  try {
    text = await response.body.text();
  } catch (error) {
    if (request.signal?.aborted) throw request.signal.reason;
    throw unreachable(request, error);
  }
  if (text === '') return undefined;
  if (!String(response.headers['content-type'] ?? '').includes('json')) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * Sends a request and hands out the answer as soon as its head is there. The caller reads the body to its end or destroys it.
 * @throws REST_FAILED (`statusOf`, `typeOf`) from 300 on, REST_UNREACHABLE, or the signal's reason
 */
export async function open(transport: Transport, request: RestRequest): Promise<Dispatcher.ResponseData> {
  const response = await send(transport, request);
  if (response.statusCode < 300) return response;
  const body = await readBody(request, response);
  const redirected = response.statusCode < 400 ? 'redirected: the endpoint is not the service\'s own address' : undefined;
  throw restFailed({ service: request.service, method: request.method, path: request.path }, response.statusCode, redirected ?? body, request.secrets ?? []);
}

/** `open`, and the body is read. */
export async function rest(transport: Transport, request: RestRequest): Promise<RestResponse> {
  const response = await open(transport, request);
  return { status: response.statusCode, body: await readBody(request, response), headers: response.headers };
}

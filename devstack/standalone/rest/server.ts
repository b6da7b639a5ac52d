/** A small REST server: routes by method and path, JSON in and out, a token where one is asked for. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../../src/base/errors.js';
import { RemoteFailure } from '../../../src/messaging/types.js';
import type { Log } from '../../../src/base/log.js';

/** One request as a handler gets it. */
export interface RestCall {
  /** Values of the path's `:names`. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Parsed JSON; an empty object if there is none. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly token: string;
  /** The body unread, for routes marked `raw`. */
  readonly stream: IncomingMessage;
}

/** An answer. `body` as JSON, or a stream of bytes. */
export interface RestAnswer {
  readonly status?: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** `GET /v2.0/ports/:id` and what it does. */
export interface Route {
  readonly at: `${'GET' | 'PUT' | 'POST' | 'DELETE'} /${string}`;
  readonly raw?: boolean;
  /** No token needed. */
  readonly open?: boolean;
  readonly run: (call: RestCall) => RestAnswer | Promise<RestAnswer>;
}

/** A refusal with the body that the real service would send. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly body: unknown) {
    super(`${status}`);
  }
}

/** One service. */
export interface RestService {
  readonly name: string;
  readonly port: number;
  readonly routes: readonly Route[];
  /** Headers of every answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

function match(route: Route, method: string, path: string): Record<string, string> | undefined {
  const [verb, pattern = ''] = route.at.split(' ');
  if (verb !== method) return undefined;
  const wanted = pattern.split('/');
  const given = path.replace(/\/+$/, '').split('/');
  if (wanted.length !== given.length && !(pattern === '/' && path === '/')) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const value = decodeURIComponent(given[index] ?? '');
    if (part.startsWith(':')) params[part.slice(1)] = value;
    else if (part !== value) return undefined;
  }
  return params;
}

async function readJson(stream: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) text += String(chunk);
  if (text === '') return {};
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new Refusal(400, { error: { code: 400, title: 'Bad Request', message: 'the body is no JSON' } });
  }
}

async function answerTo(service: RestService, request: IncomingMessage, isValid: (token: string) => boolean): Promise<RestAnswer> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const method = request.method ?? 'GET';
  for (const route of service.routes) {
    const params = match(route, method, url.pathname);
    if (!params) continue;
    const token = String(request.headers['x-auth-token'] ?? '');
    if (!route.open && !isValid(token)) throw new Refusal(401, { error: { code: 401, title: 'Unauthorized', message: 'The request you have made requires authentication.' } });
    return route.run({ params, query: url.searchParams, body: route.raw ? {} : await readJson(request), token, stream: request });
  }
  throw new Refusal(404, { error: { code: 404, title: 'Not Found', message: `${service.name} has no ${method} ${url.pathname}` } });
}

function failed(error: unknown, log: Log): RestAnswer {
  if (error instanceof Refusal) return { status: error.status, body: error.body };
  const status = error instanceof RemoteFailure ? Number(error.failure.kwargs['code'] ?? 500) : 500;
  if (status >= 500) log.error({ err: error }, 'request failed');
  return { status, body: { error: { code: status, title: 'Error', message: messageOf(error) } } };
}

async function send(response: ServerResponse, answer: RestAnswer, headers: Readonly<Record<string, string>>): Promise<void> {
  const { status = 200, body } = answer;
  if (body instanceof Readable) {
    response.writeHead(status, { ...headers, 'content-type': 'application/octet-stream', ...answer.headers });
    await pipeline(body, response);
    return;
  }
  response.writeHead(status, { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...answer.headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

/** Starts a service; resolves when it listens. */
export function startRest(service: RestService, address: string, isValid: (token: string) => boolean, log: Log): Promise<Server> {
  const server = createServer((request, response) => {
    void answerTo(service, request, isValid).catch((error: unknown) => failed(error, log)).then((answer) => {
      log.debug({ service: service.name, method: request.method, url: request.url, status: answer.status ?? 200 }, 'rest');
      return send(response, answer, service.headers ?? {});
    }).catch((error: unknown) => {
      log.warn({ err: error, service: service.name }, 'answer not sent');
      response.destroy();
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(service.port, address, () => resolve(server));
  });
}

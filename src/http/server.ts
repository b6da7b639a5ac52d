/** The HTTP side (Koa): health, readiness with reasons, metrics, what runs here. On loopback unless the operator says otherwise. */
import type { Server } from 'node:http';
import Koa from 'koa';
import { isHaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { OperationView } from '../base/operation.js';
import type { Abilities } from '../container/abilities.js';
import type { Tally } from '../container/checkpoint/tally.js';
import type { ContainerView } from '../container/spec.js';
import type { Verdict } from '../container/verdict/verdict.js';
import { jsonLines } from './control.js';
import { metricsPage, type HaulRows, type ServiceFigures } from './metrics.js';

/** What can be asked. */
export interface HttpSources {
  /** Reasons why the service is not ready; empty when it is. */
  readonly notReady: () => readonly string[];
  readonly containers: () => Promise<readonly ContainerView[]>;
  /** @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, BAD_ARGUMENT */
  readonly verdict: (id: string) => Promise<Verdict>;
  readonly operations: () => readonly OperationView[];
  /** Undefined while the host is probed. */
  readonly abilities: () => Abilities | undefined;
  readonly tally: Pick<Tally, 'rows' | 'frozenTime' | 'images'>;
  readonly figures: () => ServiceFigures;
  readonly images: () => Promise<readonly string[]>;
  readonly hauls: HaulSources;
}

/** The hauls, as plain JSON. */
export interface HaulSources {
  list(): readonly object[];
  /** Each of them, then each again when it changes, until the signal aborts. */
  watch(signal: AbortSignal, instance?: string): AsyncIterable<object>;
  readonly figures: HaulRows;
}

/** A running HTTP server. */
export interface HttpServer {
  /** The port that it listens on. */
  readonly port: number;
  close(): Promise<void>;
}

/** Starts it; a port that is taken is an error in the log, not the service's end. */
export async function startHttp(listen: { readonly host: string; readonly port: number }, sources: HttpSources, log: Log): Promise<HttpServer | undefined> {
  const app = new Koa();
  app.silent = true;
  const routes: Readonly<Record<string, (context: Koa.Context) => Promise<void> | void>> = {
    '/healthz': (context) => { context.body = { status: 'ok' }; },
    '/readyz': (context) => {
      const reasons = sources.notReady();
      context.status = reasons.length === 0 ? 200 : 503;
      context.body = { ready: reasons.length === 0, reasons };
    },
    '/containers': async (context) => { context.body = { containers: await sources.containers() }; },
    '/metrics': async (context) => {
      const list = await sources.containers();
      context.type = 'text/plain; version=0.0.4; charset=utf-8';
      context.body = metricsPage({ ready: sources.notReady().length === 0, states: list.map(({ state }) => state), operations: sources.operations().length, abilities: sources.abilities(), tally: sources.tally, service: sources.figures(), images: (await sources.images()).length, hauls: sources.hauls.figures });
    },
    '/hauls': (context) => { context.body = { hauls: sources.hauls.list() }; },
    '/hauls/watch': (context) => {
      const { instance } = context.query;
      context.type = 'application/x-ndjson';
      context.body = jsonLines(context.res, (signal) => sources.hauls.watch(signal, typeof instance === 'string' ? instance : undefined));
    },
    '/operations': (context) => { context.body = { operations: sources.operations() }; },
  };
  app.use(async (context) => {
    const judged = /^\/containers\/([^/]+)\/verdict$/.exec(context.path);
    const route = judged?.[1] ? (): Promise<void> => verdict(sources, context, judged[1] as string) : routes[context.path];
    if (!route) context.throw(404);
    else if (context.method !== 'GET' && context.method !== 'HEAD') context.throw(405);
    else await route(context);
  });
  const server = await new Promise<Server | undefined>((resolve) => {
    const started = app.listen(listen.port, listen.host);
    started.once('listening', () => resolve(started));
    started.once('error', (error) => {
      log.error({ err: error }, `cannot serve HTTP on ${listen.host}:${listen.port}: ${messageOf(error)}`);
      resolve(undefined);
    });
  });
  if (!server) return undefined;
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : listen.port,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve()); }),
  };
}

async function verdict(sources: HttpSources, context: Koa.Context, id: string): Promise<void> {
  try {
    context.body = await sources.verdict(id);
  } catch (error) {
    if (!isHaulierError(error)) throw error;
    context.status = error.nova.code;
    context.body = { error: error.message };
  }
}

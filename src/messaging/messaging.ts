/** The room's front: connections to one broker (or cluster) with everything that goes over them. */
import type { Log } from '../base/log.js';
import { Timings } from '../base/timings.js';
import { AmqpRpcClient } from './client.js';
import { ObsoleteQueues } from './duplicates.js';
import type { LinkState } from './link.js';
import { notifier, type Notify } from './notify.js';
import { resolveSettings, type MessagingOptions } from './options.js';
import { Publisher } from './publisher.js';
import { Replies } from './replies.js';
import { AmqpRpcServer, type ServeOptions } from './server.js';
import type { RpcClient, RpcServer } from './types.js';

/** Everything that talks to the message bus. */
export interface Messaging {
  readonly client: RpcClient;
  /**
   * Starts a server; resolves when its queues are consumed, however long the broker takes to come.
   * @throws the options' signal's reason; CANCELLED when messaging is closed meanwhile
   */
  serve(options: ServeOptions): Promise<RpcServer>;
  readonly notify: Notify;
  /** How many consume requests for this server, this process too if it serves. Waits for the broker. @throws the signal's reason; Error if the connection breaks meanwhile */
  servers(topic: string, server: string, signal?: AbortSignal): Promise<number>;
  /** Requests that were served, by method; calls that were made, by topic and method. */
  readonly timings: { readonly requests: Timings; readonly calls: Timings };
  /** True while every connection that was asked for is up and not blocked. */
  readonly healthy: boolean;
  /** Each connection: sending, replies (from the first call on), one for each server. */
  connections(): readonly LinkState[];
  /** Closes everything; what waits is rejected with CANCELLED. Stop servers before, or their requests are cut off. */
  close(): Promise<void>;
}

/**
 * Begins to connect and returns at once; a broker that is down is tried again until `close`, with a line in the log each time.
 * @throws CONFIG_INVALID for options that cannot work
 */
export function connectMessaging(options: MessagingOptions, log: Log): Messaging {
  const settings = resolveSettings(options);
  const publisher = new Publisher(settings, log);
  const replies = new Replies(settings, log);
  const servers = new Set<AmqpRpcServer>();
  const timings = { requests: new Timings(), calls: new Timings() };
  const desk = { settings, publisher, obsolete: new ObsoleteQueues(), requests: timings.requests, log };
  const connections = (): LinkState[] => [publisher.state, replies.state, ...[...servers].map((server) => server.state)].filter((state) => state !== undefined);
  return {
    client: new AmqpRpcClient(settings, publisher, replies, timings.calls),
    timings,
    notify: notifier(settings, publisher),
    servers: (topic, server, signal) => publisher.consumers(`${topic}.${server}`, signal),
    connections,
    get healthy() {
      return connections().every(({ state }) => state === 'up');
    },
    async serve(serveOptions) {
      const server = new AmqpRpcServer(desk, serveOptions);
      servers.add(server);
      try {
        await server.start();
      } catch (error) {
        servers.delete(server);
        await server.stop(0);
        throw error;
      }
      return {
        get running() {
          return server.running;
        },
        async stop(graceMs) {
          await server.stop(graceMs);
          servers.delete(server);
        },
      };
    },
    async close() {
      await Promise.all([...servers].map((server) => server.stop(0)));
      servers.clear();
      await Promise.all([replies.close(), publisher.close()]);
    },
  };
}

/**
 * One AMQP connection that comes back by itself.
 *
 *   connecting --> setup --> up --(lost, reset)--> waiting --> connecting ...      close() ends it from everywhere
 *
 * `setup` declares and consumes again after every reconnect, under the same names; `whenUp` gives senders the connection
 * once setup is done and waits while there is none.
 */
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ChannelModel } from 'amqplib';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { BrokerRota, connectArguments, reconnectDelayMs, retryDelayMs } from './brokers.js';
import type { Settings } from './options.js';

/** How a connection is. */
export interface LinkState {
  /** What it is for: `publish`, `replies`, `server compute`... */
  readonly purpose: string;
  readonly state: 'connecting' | 'up' | 'blocked' | 'closed';
  /** `host:port` of the broker it has or last had. */
  readonly broker: string | undefined;
  /** Why it was last lost or could not be made; undefined while up. */
  readonly problem: string | undefined;
}

interface Waiter { readonly resolve: (model: ChannelModel) => void; readonly reject: (reason: unknown) => void }

/** A connection that reconnects until closed. Nothing here throws because a broker is down. */
export class Link {
  readonly #log: Log;
  readonly #rota: BrokerRota;
  readonly #end = new AbortController();
  readonly #waiting = new Set<Waiter>();
  #model: ChannelModel | undefined;
  #up = false;
  #blocked = false;
  #broker: string | undefined;
  #problem: string | undefined;
  #running: Promise<void> | undefined;

  /**
   * @param purpose for log and health
   * @param setup declares and consumes on a fresh connection; if it throws, the connection is dropped and tried again
   */
  constructor(private readonly purpose: string, private readonly settings: Settings, log: Log, private readonly setup: (model: ChannelModel) => Promise<void> = async () => undefined) {
    this.#log = log.child({ amqp: purpose });
    this.#rota = new BrokerRota(settings.hosts, settings.rabbit.kombu_failover_strategy);
  }

  /** Begins connecting, once. */
  start(): void {
    this.#running ??= this.#run();
  }

  get state(): LinkState {
    const state = this.#end.signal.aborted ? 'closed' : !this.#up ? 'connecting' : this.#blocked ? 'blocked' : 'up';
    return { purpose: this.purpose, state, broker: this.#broker, problem: this.#problem };
  }

  /** The broker takes no publishes now (`connection.blocked`: memory or disk alarm). */
  get blocked(): boolean {
    return this.#blocked;
  }

  /**
   * The connection, when it is set up and not blocked.
   * @throws the signal's reason; CANCELLED once closed
   */
  whenUp(signal?: AbortSignal): Promise<ChannelModel> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#end.signal.aborted) return Promise.reject(this.#end.signal.reason as Error);
    if (this.#up && !this.#blocked && this.#model) return Promise.resolve(this.#model);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => waiter.reject(signal?.reason);
      const settle = (): void => { this.#waiting.delete(waiter); signal?.removeEventListener('abort', onAbort); };
      const waiter: Waiter = {
        resolve: (model) => { settle(); resolve(model); },
        reject: (reason) => { settle(); reject(reason as Error); },
      };
      this.#waiting.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Drops the connection and makes a new one. Only acts if `model` is still the current one. */
  reset(model: ChannelModel, reason: Error): void {
    if (model === this.#model) tearDown(model, reason);
  }

  /** Closes for good; who waits is rejected with CANCELLED. */
  async close(): Promise<void> {
    const reason = new HaulierError('CANCELLED', { what: `AMQP connection (${this.purpose})`, reason: 'messaging is closed' });
    if (!this.#end.signal.aborted) this.#end.abort(reason);
    for (const waiter of [...this.#waiting]) waiter.reject(reason);
    const model = this.#model;
    if (model) {
      const timer = setTimeout(() => tearDown(model, reason), 2000); // a broker that does not answer the goodbye
      await model.close().catch(() => undefined); // already gone is as good
      clearTimeout(timer);
    }
    // a handshake that hangs in the dark needs no waiting for: its connection is dropped when it comes
    await Promise.race([this.#running, sleep(1000, undefined, { ref: false })]);
  }

  async #run(): Promise<void> {
    let failedRounds = 0;
    while (!this.#end.signal.aborted) {
      const { host, endsRound } = this.#rota.next();
      this.#broker = `${host.hostname}:${host.port}`;
      let delayMs = 0;
      try {
        const lost = await this.#connection(await connectArguments(host, this.settings));
        failedRounds = 0;
        if (this.#end.signal.aborted) return;
        delayMs = reconnectDelayMs(this.settings.rabbit);
        this.#problem = messageOf(lost);
        this.#log.warn({ broker: this.#broker }, `connection to the broker lost: ${this.#problem}; connecting again in ${delayMs / 1000} s`);
      } catch (error) {
        if (this.#end.signal.aborted) return;
        this.#problem = messageOf(error) || String((error as { code?: unknown }).code); // an AggregateError of both address families has no text
        if (endsRound) delayMs = retryDelayMs(++failedRounds, this.settings.rabbit);
        this.#log.error({ broker: this.#broker }, `cannot use the broker: ${this.#problem}; trying again in ${delayMs / 1000} s`);
      }
      await sleep(delayMs, undefined, { signal: this.#end.signal }).catch(() => undefined);
    }
  }

  /** Connects and sets up; resolves with the reason when that connection has ended. */
  async #connection(args: Parameters<typeof connect>): Promise<Error> {
    const model = await connect(...args);
    const ended = new Promise<Error>((resolve) => {
      let why: Error | undefined;
      model.on('error', (error: Error) => { why ??= error; });
      model.on('close', (error?: Error) => resolve(why ?? error ?? new Error('closed')));
    });
    try {
      if (this.#end.signal.aborted) throw this.#end.signal.reason;
      this.#model = model;
      model.on('blocked', (reason: string) => { this.#blocked = true; this.#log.error(`the broker has blocked this connection: ${reason}`); });
      model.on('unblocked', () => { this.#blocked = false; this.#log.info('the broker has unblocked this connection'); this.#wake(); });
      await this.setup(model);
      this.#up = true;
      this.#problem = undefined;
      this.#log.info({ broker: this.#broker }, 'connected');
      this.#wake();
      return await ended;
    } catch (error) {
      tearDown(model, error instanceof Error ? error : new Error(String(error)));
      await ended;
      throw error;
    } finally {
      this.#up = false;
      this.#blocked = false;
      this.#model = undefined;
    }
  }

  #wake(): void {
    const model = this.#model;
    if (!model || !this.#up || this.#blocked) return;
    for (const waiter of [...this.#waiting]) waiter.resolve(model);
  }
}

/** Ends a connection at once, without the AMQP goodbye that a dead peer would never answer. */
function tearDown(model: ChannelModel, reason: Error): void {
  // amqplib offers only the polite close(); its stream is the one handle on the socket
  const { stream } = model.connection as unknown as { stream: Duplex };
  if (!stream.destroyed) stream.destroy(reason);
}

/**
 * Publishes with confirms over one connection. A publish waits while there is no connection or the broker blocks, and one
 * that was not confirmed when the connection broke is published again: the receiver drops the repeat by its `_unique_id`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChannelModel, ConfirmChannel, Message as AmqpMessage } from 'amqplib';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { amqpCode, consumersOf, declareExchange, declareQueue } from './declare.js';
import { messageProperties } from './envelope.js';
import { Link, type LinkState } from './link.js';
import type { Settings } from './options.js';
import type { ExchangeSpec, QueueSpec } from './topology.js';
import { MessageUndeliverable } from './types.js';

/** One message to send. */
export interface Publication {
  /** Declared before the first use; absent: the default exchange. */
  readonly exchange?: ExchangeSpec;
  readonly routingKey: string;
  readonly body: Buffer;
  /** Milliseconds after which the broker drops it, asked for at each try. */
  readonly expirationMs?: () => number;
  /** Fail with MessageUndeliverable where no queue takes it. */
  readonly mandatory?: boolean;
  /** Declared and bound before the first use (notifications). */
  readonly queue?: QueueSpec;
  readonly signal?: AbortSignal;
}

interface Session {
  readonly model: ChannelModel;
  readonly channel: ConfirmChannel;
  readonly declared: Map<string, Promise<unknown>>;
  readonly unreturned: Set<{ readonly publication: Publication; returned: boolean }>;
  closed: boolean;
  problem: Error | undefined;
}

/** A channel closed by the broker again and again is a refusal, not a hiccup. */
const maxRefusals = 3;

/** The sending connection. */
export class Publisher {
  readonly #link: Link;
  #session: Promise<Session> | undefined;
  #current: Session | undefined;

  constructor(private readonly settings: Settings, private readonly log: Log) {
    this.#link = new Link('publish', settings, log);
    this.#link.start();
  }

  get state(): LinkState {
    return this.#link.state;
  }

  /** How many consume from a queue. @throws the signal's reason; CANCELLED when closed; Error if the connection breaks meanwhile */
  async consumers(queue: string, signal?: AbortSignal): Promise<number> {
    return await consumersOf(await this.#link.whenUp(signal), queue);
  }

  /**
   * Publishes; resolves when the broker has confirmed.
   * @throws MessageUndeliverable; the signal's reason; CANCELLED when closed; Error with AMQP `code` if the broker refuses it
   */
  async publish(publication: Publication): Promise<void> {
    const { signal } = publication;
    for (let refusals = 0; ;) {
      const model = await this.#link.whenUp(signal);
      let session: Session | undefined;
      try {
        session = await this.#sessionOn(model);
        await this.#prepare(session, publication);
        await this.#confirmed(session, publication);
        return;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (error instanceof MessageUndeliverable) throw error;
        const refusal = amqpCode(error) ?? amqpCode(session?.problem);
        // 404: the exchange vanished with its last queue (auto-delete) and is declared again on the next channel
        if (refusal !== undefined && refusal !== 404 && refusal !== 320 && ++refusals >= maxRefusals) throw session?.problem ?? error;
        this.log.debug({ routingKey: publication.routingKey }, `publishing again: ${messageOf(error)}`);
        await sleep(50, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Closes; what waits is rejected with CANCELLED. */
  async close(): Promise<void> {
    // channel frames and connection frames take different ways to the socket: the channel's goodbye comes after its messages
    if (this.#current && !this.#current.closed) await Promise.race([this.#current.channel.close().catch(() => undefined), sleep(1000, undefined, { ref: false })]);
    await this.#link.close();
  }

  async #sessionOn(model: ChannelModel): Promise<Session> {
    if (!this.#current || this.#current.model !== model || this.#current.closed) {
      this.#session ??= this.#open(model).finally(() => { this.#session = undefined; });
      this.#current = await this.#session;
    }
    return this.#current;
  }

  async #open(model: ChannelModel): Promise<Session> {
    const channel = await model.createConfirmChannel();
    const session: Session = { model, channel, declared: new Map(), unreturned: new Set(), closed: false, problem: undefined };
    channel.on('error', (error: Error) => { session.problem = error; });
    channel.on('close', () => { session.closed = true; });
    // RabbitMQ sends the return before the confirm of the same message
    channel.on('return', (message: AmqpMessage) => {
      for (const entry of session.unreturned) {
        if (entry.publication.routingKey === message.fields.routingKey && entry.publication.body.equals(message.content)) entry.returned = true;
      }
    });
    return session;
  }

  async #prepare(session: Session, { exchange, queue }: Publication): Promise<void> {
    const once = (key: string, declare: () => Promise<unknown>): Promise<unknown> => {
      const before = session.declared.get(key);
      if (before) return before;
      const declared = declare();
      session.declared.set(key, declared);
      declared.catch(() => session.declared.delete(key));
      return declared;
    };
    if (queue) await once(`queue ${queue.name}`, () => declareQueue(session.model, queue, this.log));
    else if (exchange) await once(`exchange ${exchange.name}`, () => declareExchange(session.model, exchange, this.log));
  }

  #confirmed(session: Session, publication: Publication): Promise<void> {
    const { exchange, routingKey, body, mandatory = false, expirationMs, signal } = publication;
    return new Promise((resolve, reject) => {
      const entry = { publication, returned: false };
      const onAbort = (): void => settle(signal?.reason as Error);
      // a peer that died without a word: give up on this connection as soon as oslo's socket time-out would
      const patienceMs = (this.settings.rabbit.heartbeat_timeout_threshold || 60) * 1000;
      const impatience = setInterval(() => {
        if (!this.#link.blocked) this.#link.reset(session.model, new Error(`no confirm within ${patienceMs / 1000} s`));
      }, patienceMs);
      const settle = (error: Error | null): void => {
        clearInterval(impatience);
        session.unreturned.delete(entry);
        signal?.removeEventListener('abort', onAbort);
        if (error) reject(error);
        else if (entry.returned) reject(new MessageUndeliverable(exchange?.name ?? '', routingKey));
        else resolve();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (mandatory) session.unreturned.add(entry);
      try {
        session.channel.publish(exchange?.name ?? '', routingKey, body, { ...messageProperties(expirationMs?.()), mandatory }, (error: Error | null) => settle(error));
      } catch (error) {
        settle(error as Error); // the channel closed a moment ago
      }
    });
  }
}

/**
 * Where other hosts bring their containers. Listens only with certificates. A connection without one of the deployment's own never
 * gets past TLS; one without the token of an announced haul is told no more than that it is refused.
 */
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { isHost, readCredentials } from './credentials.js';
import { readQuestion, type Examined, type Question } from './examination.js';
import type { HaulSettings } from './settings.js';
import { newToken, TokenBook } from './token.js';
import { HaulChannel, type ChannelOptions, type Message } from './wire/channel.js';
import { greetClient } from './wire/greeting.js';
import { unpacks } from './wire/packing.js';
import { RateLimit } from './wire/rate.js';

/** A haul that was announced. */
export interface ExpectedHaul {
  readonly instance: string;
  /** Name of the host that will bring it. */
  readonly peer: string;
  /** Milliseconds for which the token is good. */
  readonly ttlMs: number;
  /** Runs the haul. The channel is aborted if it throws, closed when it returns. */
  readonly onHaul: (channel: HaulChannel) => Promise<void>;
}

/** Answers the question what became of a haul; throws to refuse. `isPeer` tells whether it is that host that asks. */
export type InquiryHandler = (channel: HaulChannel, inquiry: { readonly haul: string; readonly secret: string }, isPeer: (host: string) => boolean) => Promise<void>;

/** Time for TLS, greeting and token. */
const introductionMs = 10_000;
const maxConnections = 128;

/** The listener. */
export class HaulServer {
  readonly #book = new TokenBook<ExpectedHaul>();
  readonly #open = new Set<TLSSocket>();
  /** What all connections share, also those that this host opens. */
  readonly rate: RateLimit;
  #server: Server | undefined;
  #onInquiry: InquiryHandler | undefined;
  #onExamination: ((question: Question) => Promise<Examined>) | undefined;

  constructor(private readonly settings: HaulSettings, private readonly log: Log, private readonly channelOptions: ChannelOptions = {}) {
    this.rate = new RateLimit(settings.bandwidthMiB * 1024 * 1024);
  }

  /** Listens. @throws HAUL_OFF without certificates, the system's error if the address is taken */
  async listen(): Promise<void> {
    const credentials = await readCredentials(this.settings);
    const server = createServer({ ...credentials, requestCert: true, rejectUnauthorized: true, handshakeTimeout: introductionMs }, (socket) => {
      this.#welcome(socket).catch((error: unknown) => {
        this.log.warn({ err: error, peer: socket.remoteAddress }, `a connection for a haul failed: ${messageOf(error)}`);
        socket.destroy();
      });
    });
    server.maxConnections = maxConnections;
    server.on('tlsClientError', (error, socket) => this.log.warn({ err: error, peer: socket.remoteAddress }, `refused a connection: ${error.message}`));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: this.settings.address, port: this.settings.port }, resolve);
    });
    server.on('error', (error) => this.log.error({ err: error }, `the haul listener: ${error.message}`));
    this.#server = server;
  }

  /** The port that is listened on (the one of the settings may be 0). */
  get port(): number {
    const address = this.#server?.address();
    return typeof address === 'object' && address !== null ? address.port : this.settings.port;
  }

  /**
   * Announces a haul.
   * @returns the token for the peer, to be handed over a way that only it can read; and how to withdraw it
   * @throws HAUL_OFF if nobody listens
   */
  expectHaul(haul: ExpectedHaul): { readonly token: string; cancel(): void } {
    if (!this.#server) throw new HaulierError('HAUL_OFF', { reason: 'nothing listens for hauls' });
    const token = newToken();
    return { token, cancel: this.#book.add(token, haul, haul.ttlMs) };
  }

  /** Who answers what became of a haul. */
  onInquiry(handler: InquiryHandler): void {
    this.#onInquiry = handler;
  }

  /** Who answers what a container would find here. */
  onExamination(handler: (question: Question) => Promise<Examined>): void {
    this.#onExamination = handler;
  }

  /** Ends the listener and every connection. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#open) socket.destroy();
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #welcome(socket: TLSSocket): Promise<void> {
    this.#open.add(socket);
    socket.on('close', () => this.#open.delete(socket));
    socket.on('error', () => undefined); // the channel tells
    socket.setNoDelay(true);
    const late = setTimeout(() => socket.destroy(new Error('it did not introduce itself in time')), introductionMs);
    let channel: HaulChannel;
    let run: () => Promise<void>;
    try {
      await greetClient(socket);
      channel = new HaulChannel(socket, 'server', { rate: this.rate, ...(this.settings.compression ? { compression: this.settings.compression } : {}), ...this.channelOptions });
      run = this.#answer(channel, socket, await channel.receive(['haul', 'inquiry', 'examine']));
    } finally {
      clearTimeout(late);
    }
    try {
      await run();
      await channel.close();
    } catch (error) {
      channel.abort(error as Error);
      this.log.info({ err: error, peer: socket.remoteAddress }, `a haul's connection ended: ${messageOf(error)}`);
    }
  }

  #answer(channel: HaulChannel, socket: TLSSocket, hello: Message & { readonly type: 'haul' | 'inquiry' | 'examine' }): () => Promise<void> {
    switch (hello.type) {
      case 'haul': return this.#haul(channel, socket, hello);
      case 'inquiry': return this.#inquiry(channel, socket, String(hello['haul']), String(hello['secret']));
      case 'examine': return this.#examination(channel, socket, hello);
    }
  }

  #haul(channel: HaulChannel, socket: TLSSocket, hello: Message): () => Promise<void> {
    const [token, instance] = [String(hello['token']), String(hello['instance'])];
    const expected = this.#book.use(token);
    if (!expected || expected.instance !== instance || !isHost(socket, expected.peer)) {
      this.log.warn({ instance, peer: socket.remoteAddress, known: expected !== undefined }, 'refused a haul: no such token for this instance and this host');
      return () => Promise.reject(new HaulierError('HAUL_REFUSED', { reason: 'no such haul is expected' }));
    }
    return async () => {
      channel.mayPack(hello['unpacks']);
      channel.send({ type: 'welcome', host: this.settings.host, unpacks });
      await expected.onHaul(channel);
    };
  }

  #inquiry(channel: HaulChannel, socket: TLSSocket, haul: string, secret: string): () => Promise<void> {
    return async () => {
      if (!this.#onInquiry) throw new HaulierError('HAUL_REFUSED', { reason: 'nobody answers' });
      await this.#onInquiry(channel, { haul, secret }, (host) => isHost(socket, host));
    };
  }

  #examination(channel: HaulChannel, socket: TLSSocket, hello: Message): () => Promise<void> {
    return async () => {
      if (!isHost(socket, String(hello['host']))) throw new HaulierError('HAUL_REFUSED', { reason: 'the certificate is not that of the host that asks' });
      if (!this.#onExamination) throw new HaulierError('HAUL_REFUSED', { reason: 'nobody answers' });
      channel.send({ type: 'examined', examined: await this.#onExamination(readQuestion(hello['question'])) });
    };
  }
}

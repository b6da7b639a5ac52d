/**
 * One haul's connection: messages both ways, and streams of bytes beside them, each with its own window, so that one that nobody
 * reads holds up no other.
 *
 * It ends in one of three ways: both sides said `bye` (closed), one gave up and said why (HAUL_ABORTED at the other), or it broke
 * (HAUL_LOST): also when nothing was heard for `deadMs`, though a sign of life was asked for every `aliveMs`.
 */
import type { Duplex, Readable, Writable } from 'node:stream';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { frameHeader, FrameReader, readObject, type Frame, type FrameName } from './frame.js';
import { Packer, WireMeter, type Compression } from './packing.js';
import type { RateLimit } from './rate.js';
import { IncomingStream, OutgoingStream, type StreamHead } from './streams.js';

/** A message: its type, and whatever the type has. */
export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

/** How a channel behaves. */
export interface ChannelOptions {
  readonly rate?: RateLimit;
  /** Of what this side sends; none by default. */
  readonly compression?: Compression;
  /** Milliseconds of silence after which a sign of life is asked for, and after which the peer counts as dead. */
  readonly aliveMs?: number;
  readonly deadMs?: number;
}

const aliveMsDefault = 5000;
const deadMsDefault = 20_000;
/** Messages and streams that may wait for somebody to take them. */
const maxWaiting = 64;
const maxStreams = 64;
/** Data stops flowing into the socket's own queue here, so that messages get through. */
const socketBytes = 1024 * 1024;

interface Waiting<T> { resolve(value: T): void; reject(error: Error): void }

/** See above. The greeting is over when it is made. */
export class HaulChannel {
  /** Aborts when the channel ends in whatever way but by `close`; its reason is the error. */
  readonly signal: AbortSignal;
  readonly #abort = new AbortController();
  readonly #reader = new FrameReader();
  readonly #messages: Message[] = [];
  readonly #messageWaiters: Waiting<Message>[] = [];
  readonly #arrived: IncomingStream[] = [];
  readonly #streamWaiters: { readonly name: string; readonly waiting: Waiting<IncomingStream> }[] = [];
  readonly #incoming = new Map<number, IncomingStream>();
  readonly #outgoing = new Map<number, OutgoingStream>();
  readonly #drain = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  readonly #rate: RateLimit | undefined;
  readonly #compression: Compression;
  readonly #wire = new WireMeter();
  #packer: Packer | undefined;
  #nextStream: number;
  #heard = performance.now();
  #asked = false;
  #saidBye = false;
  #heardBye = false;
  #closed: (() => void) | undefined;
  sentBytes = 0;
  receivedBytes = 0;

  /** @param side who opened the connection */
  constructor(private readonly socket: Duplex, private readonly side: 'client' | 'server', options: ChannelOptions = {}) {
    this.signal = this.#abort.signal;
    this.#nextStream = side === 'client' ? 1 : 2;
    this.#rate = options.rate;
    this.#compression = options.compression ?? 'off';
    const aliveMs = options.aliveMs ?? aliveMsDefault;
    const deadMs = options.deadMs ?? deadMsDefault;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('drain', () => this.#onDrain());
    socket.on('error', (error: Error) => this.#fail(new HaulierError('HAUL_LOST', { reason: error.message }, { cause: error })));
    socket.on('end', () => this.#onClose());
    socket.on('close', () => this.#onClose());
    const lookMs = Math.min(aliveMs, deadMs) / 4;
    let looked = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      if (now - looked > 2 * lookMs) this.#heard += now - looked - lookMs; // it was this process that stood still: what they said may wait in the socket
      looked = now;
      const silent = now - this.#heard;
      if (silent >= deadMs) this.#fail(new HaulierError('HAUL_LOST', { reason: `nothing was heard of it for ${Math.round(silent / 1000)} s` }));
      else if (silent >= aliveMs && !this.#asked) {
        this.#asked = true;
        this.#write('ping', 0, Buffer.alloc(8));
      }
    }, lookMs);
    this.#timer.unref();
  }

  /** What the other side says that it can unpack: from now on it may be sent such. */
  mayPack(theirs: unknown): void {
    this.#packer = Packer.for(theirs, this.#compression, () => this.#wire.rate(this.#rate?.bytesPerMs ?? 0));
  }

  /** Sends a message. @throws what ended the channel */
  send(message: Message): void {
    this.signal.throwIfAborted();
    this.#write('message', 0, Buffer.from(JSON.stringify(message)));
  }

  /** The next message. @param types those that may come now @throws HAUL_PROTOCOL at another, what ended the channel, the signal's reason */
  async receive<T extends string>(types: readonly T[], signal?: AbortSignal): Promise<Message & { readonly type: T }> {
    const message = await this.#next(this.#messageWaiters, () => this.#messages.shift(), (waiting) => waiting, signal);
    if (!types.includes(message.type as T)) {
      throw this.abort(new HaulierError('HAUL_PROTOCOL', { reason: `message ${JSON.stringify(message.type.slice(0, 40))} where ${types.join(' or ')} was due` }));
    }
    return message as Message & { readonly type: T };
  }

  /** Opens a stream. End it to say that it is whole; destroy it to give it up. */
  openStream(name: string, head: StreamHead = {}): Writable {
    this.signal.throwIfAborted();
    const id = this.#nextStream;
    this.#nextStream += 2;
    this.#write('open', id, Buffer.from(JSON.stringify({ ...head, name })));
    const stream = new OutgoingStream(id, { write: (frame, stream_, payload) => this.#write(frame, stream_, payload), room: (bytes) => this.#room(bytes), pack: async (pieces) => (this.#packer ? await this.#packer.pack(pieces) : []), ended: () => this.#outgoing.delete(id) }, head.digest === true);
    this.#outgoing.set(id, stream);
    return stream;
  }

  /** The next stream of that name that the other side has opened or will open. Its head is its `head`. */
  async acceptStream(name: string, signal?: AbortSignal): Promise<Readable & { readonly head: Readonly<Record<string, unknown>> }> {
    return await this.#next(this.#streamWaiters, () => {
      const at = this.#arrived.findIndex((stream) => stream.name === name);
      return at < 0 ? undefined : this.#arrived.splice(at, 1)[0];
    }, (waiting) => ({ name, waiting }), signal);
  }

  /** Gives the haul up and tells the other side why. @returns the error */
  abort(error: Error): Error {
    if (!this.signal.aborted && !this.#saidBye) {
      const code = isHaulierError(error) ? error.code : 'HAUL_ABORTED';
      try {
        this.#write('abort', 0, Buffer.from(JSON.stringify({ code, reason: reasonOf(error) })));
      } catch {
        // the connection is gone: they will notice
      }
    }
    this.#fail(error);
    return error;
  }

  /** Says that this side is done and waits until the other is too. Whatever was sent before has arrived then. */
  async close(): Promise<void> {
    if (this.signal.aborted) return;
    if (!this.#saidBye) this.#write('bye', 0, Buffer.alloc(0));
    this.#saidBye = true;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      this.#tryClose();
    });
  }

  #tryClose(): void {
    if (!this.#saidBye || !this.#heardBye) return;
    clearInterval(this.#timer);
    this.socket.end();
    this.#closed?.();
    // the other side closes too; one that does not is not waited for
    setTimeout(() => this.socket.destroy(), 1000).unref();
  }

  #onData(chunk: Buffer): void {
    this.#heard = performance.now();
    this.#asked = false;
    this.receivedBytes += chunk.length;
    if (this.signal.aborted) return;
    try {
      for (const frame of this.#reader.push(chunk)) this.#onFrame(frame);
    } catch (error) {
      this.abort(error as Error);
    }
  }

  #onFrame({ name, stream, payload }: Frame): void {
    switch (name) {
      case 'message': {
        const message = readObject(payload, 'a message');
        if (typeof message['type'] !== 'string') throw new HaulierError('HAUL_PROTOCOL', { reason: 'a message without a type' });
        return this.#give(message as Message);
      }
      case 'open': return this.#onOpen(stream, readObject(payload, 'the head of a stream'));
      case 'data': return this.#incoming.get(stream)?.onData(payload);
      case 'packed': return this.#incoming.get(stream)?.onPacked(payload);
      case 'end': return this.#incoming.get(stream)?.onEnd(payload);
      case 'window': return void (payload.length === 4 && this.#outgoing.get(stream)?.onWindow(payload.readUInt32BE(0)));
      case 'reset': {
        const { reason } = readObject(payload, 'a reset');
        const error = new HaulierError('HAUL_ABORTED', { reason: String(reason) });
        this.#incoming.get(stream)?.destroy(error);
        return void this.#outgoing.get(stream)?.destroy(error);
      }
      case 'ping': return this.#write('pong', 0, payload);
      case 'pong': return;
      case 'abort': {
        const { code, reason } = readObject(payload, 'an abort');
        return this.#fail(new HaulierError(code === 'HAUL_REFUSED' ? 'HAUL_REFUSED' : 'HAUL_ABORTED', { reason: String(reason) }));
      }
      case 'bye':
        this.#heardBye = true;
        for (const { reject } of this.#messageWaiters.splice(0)) reject(over());
        for (const { waiting } of this.#streamWaiters.splice(0)) waiting.reject(over());
        return this.#tryClose();
    }
  }

  #give(message: Message): void {
    const waiter = this.#messageWaiters.shift();
    if (waiter) waiter.resolve(message);
    else if (this.#messages.push(message) > maxWaiting) throw new HaulierError('HAUL_PROTOCOL', { reason: 'too many messages at once' });
  }

  #onOpen(id: number, head: Readonly<Record<string, unknown>>): void {
    if (id % 2 !== (this.side === 'client' ? 0 : 1) || this.#incoming.has(id)) throw new HaulierError('HAUL_PROTOCOL', { reason: `stream ${id} cannot be opened` });
    if (this.#incoming.size >= maxStreams) throw new HaulierError('HAUL_PROTOCOL', { reason: 'too many streams at once' });
    const stream = new IncomingStream(id, head, { write: (frame, stream_, payload) => this.#write(frame, stream_, payload), ended: () => this.#incoming.delete(id) });
    this.#incoming.set(id, stream);
    const at = this.#streamWaiters.findIndex(({ name }) => name === stream.name);
    const waiter = at < 0 ? undefined : this.#streamWaiters.splice(at, 1)[0];
    if (waiter) waiter.waiting.resolve(stream);
    else this.#arrived.push(stream);
  }

  /** Writes a frame at once: messages, windows and signs of life do not wait behind data for longer than the socket's own queue. */
  #write(name: FrameName, stream: number, payload: Buffer): void {
    if (this.signal.aborted || this.socket.destroyed) return;
    this.sentBytes += payload.length;
    this.socket.cork();
    this.socket.write(frameHeader(name, stream, payload.length));
    if (payload.length > 0) this.socket.write(payload);
    this.socket.uncork();
  }

  /** Waits until data may be written. */
  async #room(bytes: number): Promise<void> {
    await this.#rate?.take(bytes, this.signal);
    while (this.socket.writableLength >= socketBytes) {
      const [waiting, since] = [this.socket.writableLength, performance.now()];
      await new Promise<void>((resolve) => this.#drain.add(resolve));
      this.signal.throwIfAborted();
      this.#wire.drained(waiting, performance.now() - since);
    }
    this.#wire.sent(bytes);
  }

  #onDrain(): void {
    for (const go of this.#drain) go();
    this.#drain.clear();
  }

  #next<T, W>(waiters: W[], take: () => T | undefined, entry: (waiting: Waiting<T>) => W, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const found = take();
      if (found !== undefined) return resolve(found);
      if (this.signal.aborted) return reject(this.signal.reason as Error);
      if (signal?.aborted) return reject(signal.reason as Error);
      if (this.#heardBye) return reject(over());
      const mine = entry({ resolve: (value) => leave(() => resolve(value)), reject: (error) => leave(() => reject(error)) });
      const leave = (act: () => void): void => {
        this.signal.removeEventListener('abort', onEnd);
        signal?.removeEventListener('abort', onAbort);
        if (waiters.includes(mine)) waiters.splice(waiters.indexOf(mine), 1);
        act();
      };
      const onEnd = (): void => leave(() => reject(this.signal.reason as Error));
      const onAbort = (): void => leave(() => reject(signal?.reason as Error));
      this.signal.addEventListener('abort', onEnd, { once: true });
      signal?.addEventListener('abort', onAbort, { once: true });
      waiters.push(mine);
    });
  }

  #onClose(): void {
    if (this.#saidBye && this.#heardBye) return;
    this.#fail(new HaulierError('HAUL_LOST', { reason: 'the connection was closed' }));
  }

  #fail(error: Error): void {
    if (this.signal.aborted) return;
    clearInterval(this.#timer);
    this.#abort.abort(error);
    for (const stream of [...this.#incoming.values(), ...this.#outgoing.values()]) stream.destroy(error);
    this.#onDrain();
    this.#closed?.();
    this.socket.end(() => this.socket.destroy()); // what was written, an abort, still goes out
    setTimeout(() => this.socket.destroy(), 1000).unref();
  }
}

/** A haul error's reason without the words round it: the other side puts its own. */
function reasonOf(error: Error): string {
  const reason = isHaulierError(error) && error.code.startsWith('HAUL_') ? error.details['reason'] : undefined;
  return String(reason ?? messageOf(error)).slice(0, 1000);
}

const over = (): HaulierError => new HaulierError('HAUL_LOST', { reason: 'the other side was done, but more was due' });


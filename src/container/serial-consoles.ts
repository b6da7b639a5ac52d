/**
 * Serial consoles for nova-serialproxy: a TCP port of this host for each container whose console was asked for. The proxy connects there
 * raw, without a word of who it is; so a port takes one connection for each time that the proxy had it validated
 * (`validate_console_port`, which it does with each user's token), and hangs up on all others.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { readJson, writeJsonAtomic } from '../base/atomic.js';
import { HaulierError, messageOf } from '../base/errors.js';
import { KeyedLock } from '../base/lock.js';
import type { Log } from '../base/log.js';
import { restMs, type ConsoleLine } from './console-line.js';
import type { InstanceStore } from './state.js';

/** Where the ports are. */
export interface SerialPorts {
  /** Address of this host that the proxy connects to. */
  readonly address: string;
  /** First port, and the one after the last (nova/console/serial.py `acquire_port`). */
  readonly first: number;
  readonly end: number;
}

/** What the rooms above may do with them. */
export type SerialDoor = Pick<SerialConsoles, 'address' | 'port' | 'admit'>;

interface Listener {
  readonly server: Server;
  readonly port: number;
  readonly sessions: Set<Socket>;
  /** Steady-clock milliseconds at which each connection that was allowed, and has not come, is forgotten. */
  admitted: number[];
  /** Steady-clock milliseconds before which no more refusals are logged. */
  quietUntil: number;
}

/** A proxy connects at once after it has asked. */
const admissionMs = 10_000;
const maxAdmitted = 64;
/** Whoever reaches the port could fill the log. */
const quietMs = 60_000;
const keepAliveMs = 60_000;

/** The listeners of one host. */
export class SerialConsoles {
  readonly #listeners = new Map<string, Listener>();
  readonly #lock = new KeyedLock();

  constructor(private readonly ports: SerialPorts, private readonly store: InstanceStore, private readonly openLine: (id: string) => Promise<ConsoleLine>, private readonly log: Log) {}

  get address(): string {
    return this.ports.address;
  }

  /** The container's port, the same as long as it can be. @throws SERIAL_PORTS_EXHAUSTED */
  async port(id: string): Promise<number> {
    return await this.#lock.hold('ports', async () => {
      for (const other of this.#listeners.keys()) if (!(await this.store.exists(other))) this.close(other);
      const there = this.#listeners.get(id);
      if (there) return there.port;
      // after a restart of the service the tokens that were given out name the old port
      const note = join(this.store.paths(id).run, 'serial-port.json');
      const before = Number((await readJson(note).catch(() => undefined)) ?? NaN);
      const taken = new Set([...this.#listeners.values()].map(({ port }) => port));
      for (const port of this.#candidates(before)) {
        const server = taken.has(port) ? undefined : await this.#listen(id, port);
        if (!server) continue;
        this.#listeners.set(id, { server, port, sessions: new Set(), admitted: [], quietUntil: 0 });
        await writeJsonAtomic(note, port);
        return port;
      }
      throw new HaulierError('SERIAL_PORTS_EXHAUSTED', { address: this.ports.address });
    });
  }

  /** The next connection to the container's port is the proxy's, with a token that Nova has checked. */
  admit(id: string): void {
    const listener = this.#listeners.get(id);
    if (!listener) return;
    listener.admitted = [...listener.admitted, performance.now() + admissionMs].slice(-maxAdmitted);
  }

  /** Ends the container's sessions and gives its port back. */
  close(id: string): void {
    const listener = this.#listeners.get(id);
    this.#listeners.delete(id);
    listener?.server.close();
    for (const socket of listener?.sessions ?? []) socket.destroy();
  }

  /** Ends all. */
  closeAll(): void {
    for (const id of [...this.#listeners.keys()]) this.close(id);
  }

  *#candidates(before: number): Generator<number> {
    const { first, end } = this.ports;
    if (before >= first && before < end) yield before;
    for (let port = first; port < end; port++) if (port !== before) yield port;
  }

  /** @returns undefined if the port is taken */
  async #listen(id: string, port: number): Promise<Server | undefined> {
    const server = createServer((socket) => void this.#serve(id, socket));
    return await new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(undefined);
        else reject(new HaulierError('SERIAL_PORTS_EXHAUSTED', { address: `${this.ports.address}: ${messageOf(error)}` }, { cause: error }));
      });
      server.listen({ host: this.ports.address, port }, () => resolve(server));
    });
  }

  async #serve(id: string, socket: Socket): Promise<void> {
    socket.on('error', () => undefined); // 'close' follows
    const listener = this.#listeners.get(id);
    const now = performance.now();
    const admitted = (listener?.admitted ?? []).filter((until) => until > now);
    if (!listener || admitted.length === 0) {
      if (listener && listener.quietUntil <= now) {
        listener.quietUntil = now + quietMs;
        this.log.warn({ instance: id, from: socket.remoteAddress }, 'a connection to a serial console without a token that was validated: refused, as are others of the next minute');
      }
      socket.destroy();
      return;
    }
    listener.admitted = admitted.slice(1);
    listener.sessions.add(socket);
    socket.once('close', () => listener.sessions.delete(socket));
    socket.setKeepAlive(true, keepAliveMs); // a proxy that is gone without a word
    try {
      const line = await this.openLine(id);
      socket.once('close', () => line.end());
      if (socket.destroyed) return line.end();
      this.log.info({ instance: id, from: socket.remoteAddress }, 'serial console opened');
      socket.pipe(line.input);
      line.output.pipe(socket);
      await line.ended;
      socket.end();
      socket.setTimeout(restMs, () => socket.destroy()); // a proxy that does not read
      this.log.info({ instance: id }, 'serial console closed');
    } catch (error) {
      this.log.warn({ err: error, instance: id }, `no serial console: ${messageOf(error)}`);
      socket.destroy();
    }
  }
}

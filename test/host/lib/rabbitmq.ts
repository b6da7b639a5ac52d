/**
 * A private RabbitMQ for one test file: its own node name, cookie, data folder, epmd and ports, loopback only. It can be
 * stopped, killed and started again with the same data, and leaves nothing behind even when the test dies.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { mkdtemp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { run } from '../../../src/base/run.js';

const binaries = '/usr/lib/rabbitmq/bin'; // the scripts in /usr/sbin insist on the rabbitmq user and its home
const startTimeoutMs = 90_000;

/** Why no broker can be started here, or undefined if one can. Tests skip loudly with it. */
export function rabbitmqMissing(): string | undefined {
  return existsSync(join(binaries, 'rabbitmq-server')) ? undefined : `no ${binaries}/rabbitmq-server; run this inside devstack/cloud exec`;
}

/** Options of a broker. */
export interface BrokerOptions {
  /** PEM files; the broker then listens with TLS too. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Further lines of rabbitmq.conf. */
  readonly config?: readonly string[];
}

/** A running broker. User `guest`, password `guest`. */
export class Broker {
  #server: ChildProcess | undefined;
  #epmd: ChildProcess | undefined;
  readonly #cleanup = (): void => this.#dispose();

  private constructor(readonly folder: string, readonly port: number, readonly tlsPort: number, private readonly environment: NodeJS.ProcessEnv) {
    process.once('exit', this.#cleanup);
  }

  /** Starts a broker and waits until it takes connections. */
  static async start(options: BrokerOptions = {}): Promise<Broker> {
    const folder = await mkdtemp(join(tmpdir(), 'rabbitmq-'));
    const [port, tlsPort, distributionPort, epmdPort] = (await freePorts(4)) as [number, number, number, number];
    const tls = options.tls;
    await writeFile(join(folder, 'rabbitmq.conf'), [
      `listeners.tcp.1 = 127.0.0.1:${port}`,
      ...(tls ? [`listeners.ssl.1 = 127.0.0.1:${tlsPort}`, `ssl_options.cacertfile = ${tls.ca}`, `ssl_options.certfile = ${tls.cert}`, `ssl_options.keyfile = ${tls.key}`, 'ssl_options.verify = verify_none'] : []),
      'log.console = true',
      'log.file = false',
      // oslo.messaging's default queues are a deprecated kind (contract A.1)
      'deprecated_features.permit.transient_nonexcl_queues = true',
      'disk_free_limit.absolute = 1MB',
      ...(options.config ?? []),
      '',
    ].join('\n'));
    await writeFile(join(folder, 'plugins'), '[].\n');
    await mkdir(join(folder, 'data'));
    const loopback = '-kernel inet_dist_use_interface {127,0,0,1}';
    const broker = new Broker(folder, port, tlsPort, {
      PATH: process.env['PATH'],
      LANG: 'C.UTF-8',
      HOME: folder, // the cookie lies here
      RABBITMQ_NODENAME: `test${randomBytes(3).toString('hex')}@localhost`,
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      RABBITMQ_MNESIA_BASE: join(folder, 'data'),
      RABBITMQ_LOG_BASE: folder,
      RABBITMQ_DIST_PORT: String(distributionPort),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${loopback} +sbwt none`,
      RABBITMQ_CTL_ERL_ARGS: loopback,
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_EPMD_PORT: String(epmdPort),
    });
    try {
      await broker.restart();
    } catch (error) {
      broker.#dispose();
      throw error;
    }
    return broker;
  }

  /** `transport_url` for plain TCP. */
  get url(): string {
    return `rabbit://guest:guest@127.0.0.1:${this.port}/`;
  }

  /** What the broker said so far. */
  async log(): Promise<string> {
    return readFile(join(this.folder, 'server.log'), 'utf8');
  }

  /** Starts the stopped broker again with the same data, and waits until it takes connections. */
  async restart(): Promise<void> {
    this.#epmd ??= spawn('epmd', ['-address', '127.0.0.1', '-port', String(this.environment['ERL_EPMD_PORT'])], { env: this.environment, stdio: 'ignore', detached: true });
    const out = openSync(join(this.folder, 'server.log'), 'a');
    // a group of its own, so that the whole of it can be ended; and it dies with us whatever happens
    const server = spawn('setpriv', ['--pdeathsig', 'KILL', join(binaries, 'rabbitmq-server')], { env: this.environment, stdio: ['ignore', out, out], detached: true });
    closeSync(out);
    this.#server = server;
    for (const until = Date.now() + startTimeoutMs; ;) {
      if (server.exitCode !== null || server.signalCode !== null) throw new Error(`rabbitmq-server ended at its start:\n${(await this.log()).slice(-3000)}`);
      try {
        await (await connect({ hostname: '127.0.0.1', port: this.port })).close();
        return;
      } catch (error) {
        if (Date.now() > until) throw new Error(`rabbitmq-server not ready in ${startTimeoutMs / 1000} s:\n${(await this.log()).slice(-3000)}`, { cause: error });
        await sleep(100);
      }
    }
  }

  /** Stops the broker: in good order (connections are closed with 320), or with kill -9. */
  async stop(how: 'orderly' | 'kill' = 'orderly'): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    const ended = new Promise((resolve) => server.once('exit', resolve));
    signalGroup(server, how === 'kill' ? 'SIGKILL' : 'SIGTERM');
    const timer = setTimeout(() => signalGroup(server, 'SIGKILL'), 30_000);
    await ended;
    clearTimeout(timer);
  }

  /** Freezes the broker: its sockets stay open and silent, as those of a host that lost its network. */
  freeze(): void {
    if (this.#server) signalGroup(this.#server, 'SIGSTOP');
  }

  /** Ends `freeze`. */
  thaw(): void {
    if (this.#server) signalGroup(this.#server, 'SIGCONT');
  }

  /** `rabbitmqctl` on this broker; returns its standard output. */
  async ctl(...args: string[]): Promise<string> {
    return (await run(join(binaries, 'rabbitmqctl'), ['-q', '-n', this.environment['RABBITMQ_NODENAME']!, ...args], { env: this.environment })).stdout;
  }

  /** Ends everything and removes its files. */
  async close(): Promise<void> {
    await this.stop('kill');
    this.#dispose();
  }

  #dispose(): void {
    process.off('exit', this.#cleanup);
    if (this.#server) signalGroup(this.#server, 'SIGKILL');
    if (this.#epmd) signalGroup(this.#epmd, 'SIGKILL');
    this.#server = this.#epmd = undefined;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid) process.kill(-child.pid, signal);
  } catch {
    // it is gone already
  }
}

/** Ports of the loopback address that are free now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  })));
  return Promise.all(servers.map((server) => new Promise<number>((resolve) => {
    const address = server.address();
    server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
  })));
}

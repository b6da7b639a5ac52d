/**
 * The real program, in processes of its own, between a real RabbitMQ and the control plane of the standalone mode: for what only shows from
 * outside: clocks that are set, a second one of the same name, its log.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '../../../devstack/standalone/client.js';
import { packageRoot } from '../../../src/base/package-root.js';
import { run } from '../../../src/base/run.js';
import { busyboxImage, cgroupParent, hostProblem, until } from '../container/harness.js';
import { Broker, freePorts, rabbitmqMissing } from '../lib/rabbitmq.js';

/** Why there can be no such world here. */
export const worldProblem = hostProblem() ?? rabbitmqMissing();

/** Planted where it must not come out of. */
export const planted = (name: string): string => `PLANTED-${name}-3f9a`;

const dist = join(packageRoot, 'dist');
const program = join(dist, 'src/main.js');
const bridge = 'br-solo';

/** What a server looks like to its user. */
export interface Server { readonly id: string; readonly status: string; readonly [key: string]: unknown }

interface ServiceOptions {
  /** Name of the service; and of its folders, which two of one name do not share. */
  readonly host: string;
  readonly folder?: string;
  /** Lines of `[DEFAULT]`, and of other sections after those. */
  readonly more?: readonly string[];
  readonly sections?: readonly string[];
  /** On a terminal of its own. */
  readonly terminal?: boolean;
  /** Paths in the place of the usual ones. */
  readonly paths?: Partial<Paths>;
}

interface Paths { readonly state: string; readonly instances: string; readonly run: string }

/** A program that runs. */
export class Service {
  #said = '';
  /** Its exit code, when it has ended. */
  readonly ended: Promise<number | null>;
  code: number | null | undefined;

  constructor(readonly child: ChildProcess, readonly paths: Paths, readonly config: string, readonly http: number, readonly clock: string) {
    for (const out of [child.stdout, child.stderr]) out?.on('data', (chunk: Buffer) => { this.#said += chunk.toString(); });
    this.ended = new Promise((resolve) => child.once('close', (code) => resolve(this.code = code)));
  }

  /** What came on its terminal, or standard error. */
  get said(): string {
    return this.#said;
  }

  async page(path: string): Promise<{ status: number; text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.http}${path}`);
    return { status: answer.status, text: await answer.text() };
  }

  async ready(): Promise<void> {
    await until(`the service is ready: ${this.#said.slice(-1500)}`, async () => {
      if (this.code !== undefined) throw new Error(`it ended with ${this.code}: ${this.#said.slice(-3000)}`);
      return (await this.page('/readyz').catch(() => undefined))?.status === 200;
    }, 120_000);
  }

  /** Its wall clock is wrong by so much from now on, milliseconds. */
  async setClock(ms: number): Promise<void> {
    await writeFile(this.clock, String(ms));
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  async stop(name: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.code === undefined) this.child.kill(name);
    return await this.ended;
  }
}

/** See above. */
export class ServiceWorld {
  readonly #services: Service[] = [];
  #control: ChildProcess | undefined;

  private constructor(readonly folder: string, readonly broker: Broker, readonly transportUrl: string, readonly client: Client, private readonly parent: string) {}

  static async make(): Promise<ServiceWorld> {
    const folder = await mkdtemp('/var/lib/nova/service-');
    await chmod(folder, 0o755); // the guests' ids are others
    const broker = await Broker.start();
    const client = new Client({ address: '127.0.0.1', username: 'placement', password: planted('placement') });
    const world = new ServiceWorld(folder, broker, `rabbit://nova:${planted('rabbit')}@127.0.0.1:${broker.port}/`, client, await cgroupParent());
    try {
      await broker.ctl('add_user', 'nova', planted('rabbit'));
      await broker.ctl('set_permissions', '-p', '/', 'nova', '.*', '.*', '.*');
      await world.#startControl();
    } catch (error) {
      await world.end();
      throw error;
    }
    return world;
  }

  async #startControl(): Promise<void> {
    const { config } = await this.#configure({ host: 'control' });
    const out: string[] = [];
    const child = spawn(process.execPath, [join(dist, 'devstack/standalone/main.js'), '--config-file', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#control = child;
    child.stderr?.on('data', (chunk: Buffer) => out.push(chunk.toString()));
    await until('the control plane answers', async () => {
      if (child.exitCode !== null) throw new Error(`the control plane ended: ${out.join('').slice(-2000)}`);
      return await this.client.logIn().then(() => this.client.call('nova', 'GET', '/v2.1/os-services')).catch(() => undefined);
    });
  }

  async #configure({ host, folder = host, more = [], sections = [], paths: change = {} }: ServiceOptions): Promise<{ config: string; paths: Paths; http: number; clock: string }> {
    const own = join(this.folder, folder);
    const paths = { state: join(own, 'state'), instances: join(own, 'instances'), run: join(own, 'run'), ...change };
    for (const path of Object.values(paths)) await mkdir(path, { recursive: true, mode: 0o755 });
    const [http = 0] = await freePorts(1);
    const login = (name: string): string => `auth_type = password\nauth_url = http://127.0.0.1:5000/v3\nusername = ${name}\npassword = ${planted(name)}\nproject_name = service\nuser_domain_name = Default\nproject_domain_name = Default\nregion_name = RegionOne\n`;
    const config = join(own, 'nova.conf');
    await writeFile(config, [
      '[DEFAULT]', `host = ${host}`, 'my_ip = 127.0.0.1', `state_path = ${paths.state}`, `instances_path = ${paths.instances}`, `transport_url = ${this.transportUrl}`, 'report_interval = 1', 'periodic_fuzzy_delay = 0', 'shutdown_timeout = 5', ...more,
      '[service_user]', 'send_service_user_token = true', login('service'), '[placement]', login('placement'), '[neutron]', login('neutron'), '[glance]', 'region_name = RegionOne',
      '[haulier]', `run_path = ${paths.run}`, `cgroup_parent = ${this.parent}`, `http_listen = 127.0.0.1:${http}`, ...sections, '',
    ].join('\n'));
    return { config, paths, http, clock: join(own, 'clock') };
  }

  /** Begins a service; `ready` tells when it is. */
  async service(options: ServiceOptions): Promise<Service> {
    const { config, paths, http, clock } = await this.#configure(options);
    const command = [process.execPath, '--import', join(dist, 'test/host/service/shifted-clock.js'), program, '--config-file', config];
    const env = { ...process.env, HAULIER_TEST_CLOCK: clock, NO_COLOR: '1' };
    const child = options.terminal ? spawn('script', ['-qefc', command.join(' '), '/dev/null'], { env, stdio: ['ignore', 'pipe', 'pipe'] }) : spawn(command[0]!, command.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const service = new Service(child, paths, config, http, clock);
    this.#services.push(service);
    return service;
  }

  /** A command of the program, beside a service. */
  async command(service: Service, ...words: string[]): Promise<string> {
    return (await run(process.execPath, ['--import', join(dist, 'test/host/service/shifted-clock.js'), program, '--config-file', service.config, ...words], { env: { ...process.env, HAULIER_TEST_CLOCK: service.clock } })).stdout;
  }

  /** Asks for a server. @returns its id */
  async create(name: string, more: Record<string, unknown> = {}): Promise<string> {
    const { open } = await busyboxImage();
    const stream = await open(new AbortController().signal) as unknown as { path: string; destroy(): void };
    stream.destroy();
    const imageRef = await this.client.image(stream.path);
    return ((await this.client.call('nova', 'POST', '/v2.1/servers', { server: { name, imageRef, flavorRef: 'nano', ...more } }))['server'] as Server).id;
  }

  async server(id: string): Promise<Server | undefined> {
    return ((await this.client.call('nova', 'GET', '/v2.1/servers'))['servers'] as Server[]).find((one) => one.id === id);
  }

  /** Waits until nothing is done with it any more. @returns its status; `gone` */
  async settled(id: string): Promise<string> {
    return await until(`server ${id} settles`, async () => {
      const server = await this.server(id);
      if (!server) return 'gone';
      return server['OS-EXT-STS:task_state'] === null && !['BUILD', 'DELETED'].includes(server.status) ? `${server.status}${server['fault'] ? ` ${JSON.stringify(server['fault'])}` : ''}` : undefined;
    }, 120_000);
  }

  /** An action of the API, until it is done. @returns the status then */
  async act(id: string, action: string): Promise<string> {
    await this.client.call('nova', 'POST', `/v2.1/servers/${id}/action`, { [action]: null });
    return await this.settled(id);
  }

  async delete(id: string): Promise<string> {
    await this.client.call('nova', 'DELETE', `/v2.1/servers/${id}`);
    return await this.settled(id);
  }

  /** Ends all that runs here, and takes it away. */
  async end(): Promise<void> {
    for (const service of this.#services) if (service.code === undefined) await service.stop('SIGKILL');
    for (const { paths } of this.#services) await cleanUp(paths);
    this.#control?.kill('SIGKILL');
    await this.broker.close();
    await run('ip', ['link', 'delete', 'dev', bridge]).catch(() => undefined);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Containers that a failed test left. */
async function cleanUp(paths: Paths): Promise<void> {
  const root = ['--root', join(paths.run, 'runc')];
  const list = await run('runc', [...root, 'list', '-q']).then(({ stdout }) => stdout.split('\n').filter(Boolean), () => []);
  for (const id of list) await run('runc', [...root, 'delete', '--force', id]).catch(() => undefined);
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${paths.instances}/`));
  for (const path of mounts.reverse()) await run('umount', ['-l', path]).catch(() => undefined);
}

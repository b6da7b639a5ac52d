/** Servers of the built-in control plane (devstack/standalone), as a user makes them: POST, and looks until they are ACTIVE. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig } from '../../../src/base/config/load.js';
import { readArguments } from '../../../src/base/config/arguments.js';
import { run } from '../../../src/base/run.js';
import { Client } from '../../../devstack/standalone/client.js';
import { minimalTree } from './minimal-tree.js';

const pollMs = 20;
const limitMs = 300_000;

interface Server { readonly id: string; readonly status: string; readonly fault?: { readonly message: string } }

/** The servers of the benchmark. */
export class StandaloneServers {
  readonly #ids: string[] = [];
  #made = 0;

  private constructor(private readonly client: Client, private readonly image: string) {}

  /** Logs in and uploads the image. */
  static async prepare(): Promise<StandaloneServers> {
    const { sources, overrides } = readArguments(['--config-file', '/etc/nova/nova.conf']);
    const { config } = await loadConfig({ sources, overrides });
    const client = new Client({ address: '127.0.0.1', username: config.placement.username ?? '', password: config.placement.password ?? '' });
    await client.logIn();
    const folder = await mkdtemp(join(tmpdir(), 'density-'));
    try {
      await minimalTree(join(folder, 'tree'));
      await run('tar', ['-C', join(folder, 'tree'), '--owner=0', '--group=0', '--numeric-owner', '-czf', join(folder, 'minimal.tar.gz'), '.']);
      return new StandaloneServers(client, await client.image(join(folder, 'minimal.tar.gz')));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Boots one, without a port. @returns milliseconds from the POST to ACTIVE */
  async boot(): Promise<number> {
    const began = performance.now();
    const { server } = await this.client.call('nova', 'POST', '/v2.1/servers', { server: { name: `density-${++this.#made}`, imageRef: this.image, flavorRef: 'nano', networks: 'none' } }) as unknown as { server: Server };
    this.#ids.push(server.id);
    for (;;) {
      const now = await this.#look(server.id);
      if (now?.status === 'ACTIVE') return performance.now() - began;
      if (now?.status === 'ERROR' || now === undefined || performance.now() - began > limitMs) throw new Error(`${server.id} is ${now?.status ?? 'gone'}: ${now?.fault?.message ?? 'no fault'}`);
      await sleep(pollMs);
    }
  }

  /** Deletes the oldest. @returns milliseconds until it is gone; undefined when there is none any more */
  async remove(): Promise<number | undefined> {
    const id = this.#ids.shift();
    if (id === undefined) return undefined;
    const began = performance.now();
    await this.client.call('nova', 'DELETE', `/v2.1/servers/${id}`);
    for (let now = await this.#look(id); now; now = await this.#look(id)) {
      if (now.status === 'ERROR' || performance.now() - began > limitMs) throw new Error(`${id} is ${now.status} and not gone: ${now.fault?.message ?? 'no fault'}`);
      await sleep(pollMs);
    }
    return performance.now() - began;
  }

  /** How many are ACTIVE. */
  async alive(): Promise<number> {
    const { servers } = await this.client.call('nova', 'GET', '/v2.1/servers') as unknown as { servers: Server[] };
    return servers.filter(({ status }) => status === 'ACTIVE').length;
  }

  async #look(id: string): Promise<Server | undefined> {
    try {
      return ((await this.client.call('nova', 'GET', `/v2.1/servers/${id}`)) as unknown as { server: Server }).server;
    } catch (error) {
      if (error instanceof Error && error.message.includes('404')) return undefined;
      throw error;
    }
  }
}

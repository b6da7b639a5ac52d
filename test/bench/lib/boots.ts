/** Boots servers and takes the time: one, or many in one POST. */
import { setTimeout as sleep } from 'node:timers/promises';
import { NovaApi, type Login } from './nova-api.js';

/** Names of everything that the benchmark makes begin like this. */
const prefix = 'bench-';
const network = 'bench-net';
/** One server's state is asked for this often, in milliseconds; of many the list, which costs the API more. */
const pollMs = 50;
const pollManyMs = 500;
const limitMs = 300_000;

/** One server: seconds from POST to ACTIVE, from DELETE until it is gone. */
export interface OneBoot {
  readonly server: string;
  readonly active: number;
  readonly gone: number;
}

/** Many in one POST: seconds until the POST's answer, until the first and until all are ACTIVE, and from the DELETEs until all are gone. */
export interface ManyBoots {
  readonly count: number;
  readonly post: number;
  readonly first: number;
  readonly all: number;
  readonly gone: number;
}

/** The servers of the benchmark, in a network of their own. */
export class Boots {
  readonly #api: NovaApi;
  readonly #image: string;
  readonly #flavor: string;
  readonly #network: string;
  #number = 0;

  private constructor(api: NovaApi, image: string, flavor: string, networkId: string) {
    this.#api = api;
    this.#image = image;
    this.#flavor = flavor;
    this.#network = networkId;
  }

  /** Logs in, finds image and flavor, makes the network. */
  static async prepare(login: Login, imageName: string, flavorName: string): Promise<Boots> {
    const api = await NovaApi.login(login);
    const image = await api.find('image', 'images', '/v2/images', imageName);
    const flavor = await api.find('compute', 'flavors', '/flavors', flavorName);
    if (!image || !flavor) throw new Error(`the cloud has no image ${imageName} or no flavor ${flavorName}`);
    let id = await api.find('network', 'networks', '/v2.0/networks', network);
    if (!id) {
      id = ((await api.call('network', 'POST', '/v2.0/networks', { network: { name: network } }))['network'] as { id: string }).id;
      await api.call('network', 'POST', '/v2.0/subnets', { subnet: { name: network, network_id: id, ip_version: 4, cidr: '10.73.0.0/24', enable_dhcp: false } });
    }
    return new Boots(api, image, flavor, id);
  }

  /** Boots one server on `host` and deletes it. @throws Error if it does not become ACTIVE or does not go */
  async one(host: string): Promise<OneBoot> {
    const began = performance.now();
    const server = await this.#post(host, 1);
    for (;;) {
      const row = await this.#api.server(server);
      if (row?.status === 'ACTIVE') break;
      if (row?.status === 'ERROR' || performance.now() - began > limitMs) throw new Error(`server ${server} is ${row?.status ?? 'gone'}: ${row?.fault?.message ?? ''}`);
      await sleep(pollMs);
    }
    const active = since(began);
    const deleting = performance.now();
    await this.#api.call('compute', 'DELETE', `/servers/${server}`);
    while ((await this.#api.server(server)) !== undefined) {
      if (performance.now() - deleting > limitMs) throw new Error(`server ${server} is not gone`);
      await sleep(pollMs);
    }
    return { server, active, gone: since(deleting) };
  }

  /** Boots `count` servers on `host` by one POST and deletes them, one DELETE each. */
  async many(host: string, count: number): Promise<ManyBoots> {
    const began = performance.now();
    await this.#post(host, count);
    const post = since(began);
    let first = NaN;
    for (;;) {
      const rows = await this.#api.servers(prefix);
      const active = rows.filter((row) => row.status === 'ACTIVE').length;
      if (active > 0 && Number.isNaN(first)) first = since(began);
      if (active === count) break;
      const failed = rows.filter((row) => row.status === 'ERROR');
      if (failed[0]) throw new Error(`${failed.length} of ${count} servers are in ERROR, as ${failed[0].id}: ${failed[0].fault?.message ?? ''}`);
      if (performance.now() - began > limitMs) throw new Error(`${active} of ${count} servers are ACTIVE after ${limitMs / 1000} s`);
      await sleep(pollManyMs);
    }
    const all = since(began);
    return { count, post, first, all, gone: await this.clear() };
  }

  /** Deletes every server of the benchmark. @returns seconds until they were gone */
  async clear(): Promise<number> {
    const began = performance.now();
    for (const row of await this.#api.servers(prefix)) await this.#api.call('compute', 'DELETE', `/servers/${row.id}`, undefined, [204, 404]);
    while ((await this.#api.servers(prefix)).length > 0) {
      if (performance.now() - began > limitMs) throw new Error('the servers are not gone');
      await sleep(pollManyMs);
    }
    return since(began);
  }

  /** Boots `count` servers that stay. */
  async keep(host: string, count: number): Promise<void> {
    await this.#post(host, count);
    const began = performance.now();
    while ((await this.#api.servers(prefix)).filter((row) => row.status === 'ACTIVE').length < count) {
      if (performance.now() - began > limitMs) throw new Error(`not all of ${count} servers are ACTIVE`);
      await sleep(pollManyMs);
    }
  }

  /** Removes the network. */
  async end(): Promise<void> {
    await this.clear();
    await this.#api.call('network', 'DELETE', `/v2.0/networks/${this.#network}`);
  }

  async #post(host: string, count: number): Promise<string> {
    const { server } = await this.#api.call('compute', 'POST', '/servers', {
      server: { name: `${prefix}${++this.#number}`, imageRef: this.#image, flavorRef: this.#flavor, networks: [{ uuid: this.#network }], host, min_count: count, max_count: count },
    });
    return (server as { id: string }).id;
  }
}

function since(began: number): number {
  return (performance.now() - began) / 1000;
}

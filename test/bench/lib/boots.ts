/** Boots servers and takes the time: one, or many in one POST. */
import { setTimeout as sleep } from 'node:timers/promises';
import { NovaApi, type Login } from './nova-api.js';

/** Names of everything that the benchmark makes begin like this. */
const prefix = 'bench-';
const network = 'bench-net';
/**
 * The API is asked this often, in milliseconds: one server, many, and whether one has failed. `GET /servers/ID` would be the plain way, but
 * each makes nova-api ask neutron for ports and security groups, and every 50 ms of that slows what is measured.
 */
const pollMs = 50;
const pollManyMs = 250;
const pollFailedMs = 2000;
const limitMs = 900_000;

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
    const { all } = await this.#untilActive(1, began, pollMs);
    return { server, active: all, gone: await this.#delete([server], pollMs) };
  }

  /** Boots `count` servers on `host` by one POST and deletes them, one DELETE each. */
  async many(host: string, count: number): Promise<ManyBoots> {
    const began = performance.now();
    await this.#post(host, count);
    const post = since(began);
    const { first, all } = await this.#untilActive(count, began, pollManyMs);
    return { count, post, first, all, gone: await this.clear() };
  }

  /** Deletes every server of the benchmark. @returns seconds until they were gone */
  async clear(): Promise<number> {
    return this.#delete((await this.#api.servers(prefix)).map((row) => row.id), pollManyMs);
  }

  /** Boots `count` servers that stay. */
  async keep(host: string, count: number): Promise<void> {
    const began = performance.now();
    await this.#post(host, count);
    await this.#untilActive(count, began, pollManyMs);
  }

  /** Removes the network. */
  async end(): Promise<void> {
    await this.clear();
    await this.#api.call('network', 'DELETE', `/v2.0/networks/${this.#network}`);
  }

  /** Polls until `count` servers are ACTIVE. @returns seconds since `began` to the first and to the last */
  async #untilActive(count: number, began: number, everyMs: number): Promise<{ readonly first: number; readonly all: number }> {
    let first = NaN;
    let looked = performance.now();
    for (;;) {
      const active = await this.#api.count(prefix, 'ACTIVE');
      if (active > 0 && Number.isNaN(first)) first = since(began);
      if (active >= count) return { first, all: since(began) };
      if (performance.now() - looked > pollFailedMs) {
        looked = performance.now();
        if ((await this.#api.count(prefix, 'ERROR')) > 0) await this.#complain();
        if (performance.now() - began > limitMs) throw new Error(`${active} of ${count} servers are ACTIVE after ${limitMs / 1000} s`);
      }
      await sleep(everyMs);
    }
  }

  async #complain(): Promise<never> {
    const failed = (await this.#api.servers(prefix)).filter((row) => row.status === 'ERROR');
    throw new Error(`${failed.length} servers are in ERROR, as ${failed[0]?.id}: ${failed[0]?.fault?.message ?? 'no fault'}`);
  }

  /** @returns seconds from the first DELETE until all are gone */
  async #delete(servers: readonly string[], everyMs: number): Promise<number> {
    const began = performance.now();
    for (const id of servers) await this.#api.call('compute', 'DELETE', `/servers/${id}`, undefined, [204, 404]);
    while ((await this.#api.count(prefix, undefined)) > 0) {
      if (performance.now() - began > limitMs) throw new Error('the servers are not gone');
      await sleep(everyMs);
    }
    return since(began);
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

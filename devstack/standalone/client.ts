/** A client of the built-in control plane's REST services. */
import { createReadStream } from 'node:fs';
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { request, type Dispatcher } from 'undici';
import { readRefusal } from '../../src/openstack/rest-errors.js';
import { ports } from './rest/keystone.js';

type Json = Record<string, unknown>;
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Where and as whom. */
export interface ClientOptions { readonly address: string; readonly username: string; readonly password: string }

/** One session. */
export class Client {
  #token = '';

  constructor(private readonly options: ClientOptions) {}

  async logIn(): Promise<void> {
    const { username: name, password } = this.options;
    const answer = await this.#send('keystone', 'POST', '/v3/auth/tokens', { auth: { identity: { methods: ['password'], password: { user: { name, password, domain: { id: 'default' } } } } } });
    this.#token = String(answer.headers['x-subject-token']);
    await answer.body.dump();
  }

  /** @throws Error with the service's words */
  async call(service: keyof typeof ports, method: Method, path: string, json?: Json): Promise<Json> {
    const text = await (await this.#send(service, method, path, json)).body.text();
    return text === '' ? {} : JSON.parse(text) as Json;
  }

  /** The image of a file's bytes: found by their hash, else uploaded. */
  async image(file: string): Promise<string> {
    const hash = createHash('sha512');
    await pipeline(createReadStream(file), hash);
    const { images } = await this.call('glance', 'GET', `/v2/images?os_hash_value=${hash.digest('hex')}&status=active`) as { images: { id: string }[] };
    if (images[0]) return images[0].id;
    const { id } = await this.call('glance', 'POST', '/v2/images', { name: basename(file), disk_format: 'raw', container_format: 'bare' });
    const answer = await this.#send('glance', 'PUT', `/v2/images/${String(id)}/file`, createReadStream(file));
    await answer.body.dump();
    return String(id);
  }

  async #send(service: keyof typeof ports, method: Method, path: string, body?: Json | NodeJS.ReadableStream): Promise<Dispatcher.ResponseData> {
    const bytes = body !== undefined && 'pipe' in body;
    const answer = await request(`http://${this.options.address}:${ports[service]}${path}`, {
      method,
      headers: { 'x-auth-token': this.#token, ...(body === undefined ? {} : { 'content-type': bytes ? 'application/octet-stream' : 'application/json' }) },
      body: body === undefined ? null : bytes ? body as unknown as Buffer : JSON.stringify(body),
      headersTimeout: 300_000,
    });
    if (answer.statusCode < 300) return answer;
    const text = await answer.body.text();
    let refusal: unknown = text;
    try { refusal = JSON.parse(text); } catch { /* plain text */ }
    throw new Error(`${service} answers ${answer.statusCode}: ${readRefusal(refusal).reason}`);
  }
}

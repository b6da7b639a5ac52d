/** Glance's REST API (contract G.1). */
import { Readable } from 'node:stream';
import { HaulierError, messageOf } from '../base/errors.js';
import { statusOf } from './rest-errors.js';
import type { Session } from './session.js';
import type { Glance, GlanceImage, RequestScope } from './types.js';

/** Attributes that glance itself defines (its image schema, `is_base`); all others are properties. */
const baseAttributes = new Set([
  'id', 'name', 'status', 'visibility', 'protected', 'os_hidden', 'checksum', 'os_hash_algo', 'os_hash_value', 'owner', 'size', 'virtual_size',
  'container_format', 'disk_format', 'created_at', 'updated_at', 'tags', 'direct_url', 'min_ram', 'min_disk', 'self', 'file', 'stores', 'schema', 'locations',
]);

type Fields = Readonly<Record<string, unknown>>;

const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const numberOr = <T>(value: unknown, otherwise: T): number | T => (typeof value === 'number' ? value : otherwise);

/** Glance's flat record, with the properties apart. */
export function toImage(row: Fields): GlanceImage {
  return {
    id: String(row['id']),
    name: textOrNull(row['name']),
    status: String(row['status']),
    size: numberOr(row['size'], null),
    min_disk: numberOr(row['min_disk'], 0),
    min_ram: numberOr(row['min_ram'], 0),
    disk_format: textOrNull(row['disk_format']),
    container_format: textOrNull(row['container_format']),
    checksum: textOrNull(row['checksum']),
    os_hash_algo: textOrNull(row['os_hash_algo']),
    os_hash_value: textOrNull(row['os_hash_value']),
    properties: Object.fromEntries(Object.entries(row).filter(([name]) => !baseAttributes.has(name))),
  };
}

/** 410: the image was deleted while its bytes came in. */
const missing = new Set([404, 410]);
/** A store behind glance may take its time with the last bytes. */
const uploadAnswerMs = 600_000;
const pageSize = '100';
const patchType = 'application/openstack-images-v2.1-json-patch';

async function orNotFound<T>(call: Promise<T>, image: string): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (missing.has(statusOf(error) ?? 0)) throw new HaulierError('IMAGE_NOT_FOUND', { image }, { cause: error });
    throw error;
  }
}

/** The body as it comes; a connection that breaks in the middle is REST_UNREACHABLE, not an end. */
async function* chunks(body: AsyncIterable<Buffer>, image: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  try {
    yield* body;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new HaulierError('REST_UNREACHABLE', { service: 'glance', reason: `the download of image ${image} broke off: ${messageOf(error)}` }, { cause: error });
  }
}

/** The bytes as they come, counted. The request's own error would say only that it was cut off, so what `bytes` itself failed with is told apart. */
async function* counted(bytes: Readable, sent: ((bytes: number) => void) | undefined, failed: (error: unknown) => void): AsyncGenerator<Buffer> {
  let total = 0;
  let reading = true;
  try {
    for await (const chunk of bytes) {
      reading = false;
      yield chunk as Buffer;
      reading = true;
      sent?.(total += (chunk as Buffer).length);
    }
  } catch (error) {
    if (reading) failed(error);
    throw error;
  }
}

/** The REST client. The endpoint is the section's override, else the user's catalog's. */
export class GlanceClient implements Glance {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async image(scope: RequestScope, id: string): Promise<GlanceImage> {
    const answer = await orNotFound(this.#session.request(scope, { method: 'GET', path: `/v2/images/${encodeURIComponent(id)}` }), id);
    return toImage(answer.body as Fields);
  }

  async deleteImage(scope: RequestScope, id: string): Promise<void> {
    try {
      await this.#session.request(scope, { method: 'DELETE', path: `/v2/images/${encodeURIComponent(id)}` });
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
    }
  }

  async images(scope: RequestScope, filters: Readonly<Record<string, string>>): Promise<readonly GlanceImage[]> {
    const found: GlanceImage[] = [];
    for (let marker: string | undefined; ;) {
      const query = { ...filters, sort_key: 'created_at', sort_dir: 'desc', limit: pageSize, ...(marker === undefined ? {} : { marker }) };
      const { images, next } = (await this.#session.request(scope, { method: 'GET', path: '/v2/images', query })).body as { images: Fields[]; next?: string };
      found.push(...images.map(toImage));
      marker = found.at(-1)?.id;
      if (next === undefined || images.length === 0) return found;
    }
  }

  async updateImage(scope: RequestScope, id: string, values: Readonly<Record<string, string | number>>): Promise<void> {
    // RFC 6902: `add` replaces what is there; a property's name may hold `/` and `~`
    const json = Object.entries(values).map(([name, value]) => ({ op: 'add', path: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, value }));
    const call = { method: 'PATCH', path: `/v2/images/${encodeURIComponent(id)}`, json, headers: { 'content-type': patchType }, idempotent: true } as const;
    await orNotFound(this.#session.request(scope, call), id);
  }

  async upload(scope: RequestScope, id: string, bytes: Readable, sent?: (bytes: number) => void): Promise<void> {
    let failure: unknown;
    const stream = Readable.from(counted(bytes, sent, (error) => { failure = error; }), { objectMode: false });
    try {
      const call = { method: 'PUT', path: `/v2/images/${encodeURIComponent(id)}/file`, stream, answerTimeoutMs: uploadAnswerMs } as const;
      await orNotFound(this.#session.request(scope, call), id);
    } catch (error) {
      throw failure ?? error;
    } finally {
      stream.destroy();
      bytes.destroy();
    }
  }

  async download(scope: RequestScope, id: string): Promise<Readable> {
    const call = { method: 'GET', path: `/v2/images/${encodeURIComponent(id)}/file`, headers: { accept: 'application/octet-stream' } } as const;
    const response = await orNotFound(this.#session.open(scope, call), id);
    if (response.statusCode === 204 || response.headers['content-length'] === '0') {
      await response.body.dump();
      throw new HaulierError('IMAGE_UNACCEPTABLE', { image: id, reason: 'it has no data' });
    }
    const { body } = response;
    const stream = Readable.from(chunks(body, id, scope.signal), { objectMode: false });
    // a stream that is given up before its first read never runs the generator
    stream.once('close', () => body.on('error', () => undefined).destroy());
    return stream;
  }
}

/** Glance's part: images are files in a folder, known by the hash of their bytes; what the hash says is what is served. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { projectId } from './keystone.js';
import { Refusal, type Route } from './server.js';

/** An image's record. */
export type Image = Record<string, unknown> & { readonly id: string };

/** The images of a folder; they stay when the control plane ends. */
export class Images {
  readonly #records = new Map<string, Image>();

  constructor(private readonly folder: string) {}

  async load(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    for (const name of await readdir(this.folder)) {
      if (name.endsWith('.json')) {
        const image = JSON.parse(await readFile(join(this.folder, name), 'utf8')) as Image;
        this.#records.set(image.id, image);
      } else if (name.endsWith('.part')) await rm(join(this.folder, name));
    }
  }
  all(): Image[] {
    return [...this.#records.values()];
  }
  /** @throws Refusal 404 */
  get(id: string): Image {
    const image = this.#records.get(id);
    if (!image) throw new Refusal(404, { message: `No image found with ID ${id}` });
    return image;
  }
  file(id: string): string {
    return join(this.folder, `${this.get(id).id}.data`);
  }

  create(name: string): Image {
    const time = new Date().toISOString().replace(/\.\d+/, '');
    const image: Image = {
      id: randomUUID(), name, status: 'queued', visibility: 'public', protected: false, os_hidden: false, owner: projectId, disk_format: 'raw', container_format: 'bare',
      min_ram: 0, min_disk: 0, size: null, virtual_size: null, checksum: null, os_hash_algo: null, os_hash_value: null, created_at: time, updated_at: time, tags: [],
    };
    this.#records.set(image.id, image);
    return image;
  }

  /** Takes an image's bytes. */
  async upload(id: string, bytes: NodeJS.ReadableStream): Promise<void> {
    const image = this.get(id);
    if (image['status'] !== 'queued') throw new Refusal(409, { message: `image ${id} has its data` });
    const part = join(this.folder, `${id}.part`);
    const [sha512, md5] = [createHash('sha512'), createHash('md5')];
    let size = 0;
    await pipeline(bytes, async function* hashed(source: AsyncIterable<Buffer | string>) {
      for await (const chunk of source) {
        size += chunk.length;
        sha512.update(chunk);
        md5.update(chunk);
        yield chunk;
      }
    }, createWriteStream(part));
    await rename(part, this.file(id));
    Object.assign(image, { status: 'active', size, checksum: md5.digest('hex'), os_hash_algo: 'sha512', os_hash_value: sha512.digest('hex'), updated_at: new Date().toISOString().replace(/\.\d+/, '') });
    await writeFile(join(this.folder, `${id}.json`), JSON.stringify(image));
  }

  async delete(id: string): Promise<void> {
    const file = this.file(id);
    this.#records.delete(id);
    await rm(join(this.folder, `${id}.json`), { force: true });
    await rm(file, { force: true });
  }
}

/** The routes over `images`. */
export function glanceRoutes(images: Images): Route[] {
  return [
    {
      at: 'GET /v2/images',
      run: ({ query }) => {
        const wanted = ['name', 'os_hash_value', 'status'].flatMap((name) => { const value = query.get(name); return value === null ? [] : [[name, value] as const]; });
        return { body: { images: images.all().filter((image) => wanted.every(([name, value]) => image[name] === value)) } };
      },
    },
    { at: 'POST /v2/images', run: ({ body }) => ({ status: 201, body: images.create(String(body['name'] ?? '')) }) },
    { at: 'GET /v2/images/:id', run: ({ params }) => ({ body: images.get(params['id'] ?? '') }) },
    {
      at: 'PUT /v2/images/:id/file', raw: true,
      run: async ({ params, stream }) => {
        await images.upload(params['id'] ?? '', stream);
        return { status: 204 };
      },
    },
    {
      at: 'GET /v2/images/:id/file',
      run: ({ params }) => {
        const image = images.get(params['id'] ?? '');
        if (image['status'] !== 'active') return { status: 204 };
        return { body: createReadStream(images.file(image.id)), headers: { 'content-length': String(image['size']) } };
      },
    },
    {
      at: 'DELETE /v2/images/:id',
      run: async ({ params }) => {
        await images.delete(params['id'] ?? '');
        return { status: 204 };
      },
    },
  ];
}

/** The files of an archive of container images, unpacked and hostile: opened by name without leaving the folder, checked by digest. */
import { createHash } from 'node:crypto';
import { lstat, readlink, type FileHandle } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { openInside } from '../../guest-tree.js';
import { unacceptable } from '../image-error.js';
import { splitDigest } from './fields.js';

/** Most bytes of a manifest, an index or a configuration: 4 MiB is what registries take. */
export const maxJsonBytes = 4 * 1024 * 1024;
/** Deeper than any real one; a parser's own limit could be a crash. */
const maxDepth = 64;

/** One unpacked archive. */
export class Parts {
  /** @param folder absolute */
  constructor(private readonly image: string, private readonly folder: string) {}

  /** True if there is something of this name at the top. */
  async has(name: string): Promise<boolean> {
    return await lstat(join(this.folder, name)).then(() => true, () => false);
  }

  /** @throws IMAGE_UNACCEPTABLE for what is no plain file in the archive */
  async open(path: string): Promise<FileHandle> {
    const names = path.split('/');
    if (names.some((name) => name === '' || name === '.' || name === '..') || path.includes('\0') || path.length > 1024) throw unacceptable(this.image, `it names a part ${JSON.stringify(path.slice(0, 100))}, which is no path in its archive`);
    try {
      return await openInside(this.folder, await this.#sameLayer(names));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      throw unacceptable(this.image, `its part ${path} ${code === 'ENOENT' ? 'is missing' : 'is no plain file in its archive'}`, error);
    }
  }

  /** `docker save` before 25 writes a layer that it has written already as a link to it, `ID/layer.tar -> ../OTHER/layer.tar`. */
  async #sameLayer(names: readonly string[]): Promise<readonly string[]> {
    if (names.length !== 2) return names;
    const target = await readlink(join(this.folder, ...names)).catch(() => undefined);
    const led = target === undefined ? undefined : posix.join(names[0] ?? '', target);
    return led !== undefined && /^[0-9a-f]{64}\/layer\.tar$/.test(led) ? led.split('/') : names;
  }

  /**
   * A small JSON file.
   * @param expected what it must be
   * @throws IMAGE_UNACCEPTABLE
   */
  async json(path: string, expected: { readonly digest?: string; readonly size?: number } = {}): Promise<unknown> {
    const file = await this.open(path);
    try {
      const { size } = await file.stat();
      if (size > maxJsonBytes) throw unacceptable(this.image, `its part ${path} has ${size} bytes; at most ${maxJsonBytes} are read`);
      if (expected.size !== undefined && size !== expected.size) throw unacceptable(this.image, `its part ${path} has ${size} bytes, not ${expected.size}`);
      const bytes = await file.readFile();
      if (expected.digest !== undefined) {
        const { algorithm, value } = splitDigest(expected.digest);
        const found = createHash(algorithm).update(bytes).digest('hex');
        if (found !== value) throw unacceptable(this.image, `its part ${path} has the ${algorithm} digest ${found}, not ${value}`);
      }
      return this.#parse(path, bytes);
    } finally {
      await file.close();
    }
  }

  #parse(path: string, bytes: Buffer): unknown {
    let depth = 0;
    let text = false;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      if (text && byte === 0x5c) at++;
      else if (byte === 0x22) text = !text;
      else if (!text && (byte === 0x7b || byte === 0x5b) && ++depth > maxDepth) throw unacceptable(this.image, `its part ${path} is nested more than ${maxDepth} deep`);
      else if (!text && (byte === 0x7d || byte === 0x5d)) depth--;
    }
    try {
      return JSON.parse(bytes.toString('utf8')) as unknown;
    } catch (error) {
      throw unacceptable(this.image, `its part ${path} is no JSON`, error);
    }
  }
}

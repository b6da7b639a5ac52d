/**
 * The images of this host, unpacked once each: `<instancesPath>/_base/<image id>-<checksum>/{rootfs/,image.json}`.
 *
 * Trees are stored as the image has them, with ids 0..65535 and set-uid bits, so `_base` is closed to everyone but root (0700): a
 * set-uid file of a hostile image must never be within reach of the host's own users. Containers see the trees through idmapped
 * mounts only. Links of the instances are the use count (image-links.ts).
 *
 * Several hosts may share the folder. What this one knows of it is only as good as its last look, so an entry is looked for on the disk before
 * it is made or used; an entry that is whole is never replaced; temporary folders carry their host's name; and the removal of an unused
 * entry counts its links once more when the entry has been moved aside, while who makes a link looks for the entry once more afterwards.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, lstat, mkdir, readdir, rename, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Ages } from '../../base/ages.js';
import { readJson, syncDirectory } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import { KeyedLock } from '../../base/lock.js';
import type { Log } from '../../base/log.js';
import type { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import type { ImageSource } from '../spec.js';
import { asDiskFull } from '../../base/disk-full.js';
import { unacceptable } from './image-error.js';
import { countTies, tie, tiedTo, untie } from './image-links.js';
import { cacheKey, readRecord, writeRecord, type ImageRecord } from './image-record.js';
import { SharedWork } from './shared-work.js';
import { checkpointFolder, manifestFile, type MemoryOpener } from '../memory-image/unpack.js';
import { checkFiles } from '../checkpoint/images.js';
import { parseManifest } from '../memory-image/manifest.js';
import type { ImageMemory } from '../storage-port.js';
import { removeTree } from './remove-tree.js';
import { unpackAny } from './unpack-any.js';
import { applyWhiteouts } from './whiteouts.js';

/** How the cache is set up. */
export interface ImageStoreOptions {
  readonly instancesPath: string;
  /** Name of this host, where instancesPath may be shared. */
  readonly host?: string | undefined;
  /** Most bytes an image may unpack to. */
  readonly maxBytes: number;
  /** Most entries an image may have; 2 million by default. */
  readonly maxEntries?: number;
  /** Longest time that download and unpacking of an image may take, seconds; a day by default. */
  readonly maxSeconds?: number;
  /** For snapshots with memory. */
  readonly memory: MemoryOpener;
  readonly log: Log;
}

/** Fault points of an image's way into the cache, in order; `image.memory` only of a snapshot with memory. */
export const imageFaultPoints = ['image.download', 'image.memory', 'image.unpacked', 'image.renamed'] as const;

const temporaryPrefix = '.tmp-';

/** The image cache. Call `start` once before anything else. */
export class ImageStore {
  readonly path: string;
  readonly #options: ImageStoreOptions;
  readonly #images = new Map<string, ImageRecord>();
  readonly #downloads = new SharedWork<void>();
  readonly #lock = new KeyedLock();
  readonly #ages = new Ages();

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.path = join(options.instancesPath, '_base');
  }

  /** Makes the cache's folder, throws away what a crash left in it, and reads what it has. Idempotent. */
  async start(): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    await chmod(this.path, 0o700);
    this.#images.clear();
    for (const name of await readdir(this.path)) {
      const folder = join(this.path, name);
      if (name.startsWith(temporaryPrefix)) {
        if (this.#isAnothers(name)) continue;
        this.#options.log.warn({ folder }, 'removing what an interrupted download left');
        await removeTree(folder);
        continue;
      }
      const record = await readRecord(folder, name);
      if (!record) continue;
      this.#images.set(name, record);
      await this.#age(name);
    }
  }

  /**
   * Makes sure that the image is here, unpacked and verified. Concurrent callers share one download; one that aborts leaves the
   * others' running.
   * @returns true if it was here already
   * @throws IMAGE_UNACCEPTABLE, DISK_FULL, the source's error, or the operation's abort reason; nothing is left behind
   */
  async ensure(source: ImageSource, operation: Operation): Promise<boolean> {
    const key = cacheKey(source);
    if (key === undefined) throw unacceptable(source.id, 'its id or checksum is not of a usable form');
    operation.step('image');
    // under the lock: it may be about to age out
    const here = await this.#lock.hold(key, async () => {
      const found = await this.#look(key);
      if (found) await this.#touch(key);
      return found !== undefined;
    });
    if (here) return true;
    await this.#downloads.join(key, operation.signal, (share) => { operation.progress = share; }, async (signal, progress) => {
      if (await this.#look(key)) return;
      const began = performance.now();
      const record = await this.#download(source, key, signal, progress);
      this.#options.log.info({ image: source.id, ms: Math.round(performance.now() - began), bytes: record.unpackedBytes, entries: record.entries }, 'image unpacked');
    });
    operation.progress = undefined;
    return false;
  }

  /** The entry as it is on the disk: another host may have made it, or taken it away. */
  async #look(key: string): Promise<ImageRecord | undefined> {
    const record = await readRecord(join(this.path, key), key);
    if (record) this.#images.set(key, record);
    else this.#images.delete(key);
    return record;
  }

  get #temporaryPrefix(): string {
    return this.#options.host === undefined ? temporaryPrefix : `${temporaryPrefix}${this.#options.host}@`;
  }

  #isAnothers(temporary: string): boolean {
    return this.#options.host !== undefined && temporary.includes('@') && !temporary.startsWith(this.#temporaryPrefix);
  }

  async #download(source: ImageSource, key: string, signal: AbortSignal, progress: (share: number) => void): Promise<ImageRecord> {
    const temporary = join(this.path, `${this.#temporaryPrefix}${key}-${randomBytes(4).toString('hex')}`);
    const rootfs = join(temporary, 'rootfs');
    const maxSeconds = this.#options.maxSeconds ?? 86_400;
    const late = AbortSignal.timeout(maxSeconds * 1000);
    if (!source.checksum) this.#options.log.warn({ image: source.id }, 'image has no checksum: its bytes cannot be verified');
    try {
      await mkdir(temporary, { mode: 0o700 });
      await mkdir(rootfs, { mode: 0o755 });
      faultPoint('image.download');
      const limits = { maxBytes: this.#options.maxBytes, maxEntries: this.#options.maxEntries ?? 2_000_000 };
      const unpacked = await unpackAny(source, temporary, this.#options.memory, limits, AbortSignal.any([signal, late]), (bytes) => { if (source.size) progress(Math.min(1, bytes / source.size)); });
      if (source.layer && unpacked.memory) throw unacceptable(source.id, 'a template cannot be a snapshot with memory');
      // the archive's own `./` entry may have said anything; an overlay shows the upper folder's attributes for `/` anyway
      await chown(rootfs, 0, 0);
      await chmod(rootfs, 0o755);
      if (source.layer) await applyWhiteouts(source.id, rootfs, signal);
      else await mkdir(join(rootfs, 'dev')).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'EEXIST') throw error; });
      await writeRecord(temporary, source, key, unpacked);
      faultPoint('image.unpacked');
      await run('sync', ['-f', temporary], { timeoutMs: 600_000, signal });
      const folder = join(this.path, key);
      signal.throwIfAborted();
      const taken = await rename(temporary, folder).then(() => false, (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST') return true;
        throw error;
      });
      if (taken) {
        const other = await this.#look(key); // another host was faster
        await removeTree(other ? temporary : folder); // an entry without a good record is none
        if (other) return other;
        await rename(temporary, folder);
      }
      await syncDirectory(this.path);
      faultPoint('image.renamed');
      const record = await readRecord(folder, key);
      if (!record) throw new HaulierError('STATE_DAMAGED', { path: folder, reason: 'image.json is gone' });
      this.#images.set(key, record);
      await this.#age(key);
      return record;
    } catch (error) {
      await removeTree(temporary).catch((problem: unknown) => this.#options.log.error({ err: problem }, `cannot remove ${temporary}`));
      if (late.aborted && !signal.aborted) throw unacceptable(source.id, `its download and unpacking took more than ${maxSeconds} s`);
      throw asDiskFull(error, this.path);
    }
  }

  /** Ids of the images that are here. */
  list(): readonly string[] {
    return [...new Set([...this.#images.values()].map((record) => record.id))];
  }

  /** All that is known of the images that are here. */
  records(): readonly ImageRecord[] {
    return [...this.#images.values()];
  }

  /**
   * The image's newest entry, as a whole tree or as a template's layer.
   * @throws IMAGE_NOT_FOUND if it is not in the cache
   */
  record(imageId: string, layer = false): ImageRecord {
    const found = [...this.#images.values()].filter((record) => record.id === imageId && (record.layer ?? false) === layer).sort((a, b) => (a.unpackedAt < b.unpackedAt ? 1 : -1))[0];
    if (!found) throw new HaulierError('IMAGE_NOT_FOUND', { image: imageId });
    return found;
  }

  /** The record of a tree that `attached` gave. @throws IMAGE_NOT_FOUND */
  recordOf(tree: string): ImageRecord {
    const key = basename(dirname(tree));
    const record = this.#images.get(key);
    if (!record) throw new HaulierError('IMAGE_NOT_FOUND', { image: key });
    return record;
  }

  /** Path of the image's tree. @throws IMAGE_NOT_FOUND */
  rootfs(imageId: string, layer = false): string {
    return join(this.path, this.record(imageId, layer).key, 'rootfs');
  }

  /** Ties an instance to the image and the templates: from now on their trees stay. Idempotent. @throws IMAGE_NOT_FOUND */
  async attach(imageId: string, instanceDir: string, templates: readonly string[] = []): Promise<void> {
    await this.detach(instanceDir);
    for (const [place, id] of [imageId, ...templates].entries()) await this.#tie(instanceDir, place, id);
  }

  async #tie(instanceDir: string, place: number, imageId: string): Promise<void> {
    const layer = place > 0;
    const { key } = this.record(imageId, layer);
    await this.#lock.hold(key, async () => {
      await tie(instanceDir, place, this.rootfs(imageId, layer)); // looked up again, now that nobody can take it away
      if (!(await this.#look(key))) throw new HaulierError('IMAGE_NOT_FOUND', { image: imageId }); // another host has taken it away just now
    });
  }

  /** Unties it. Idempotent. */
  async detach(instanceDir: string): Promise<void> {
    await untie(instanceDir);
  }

  /** The trees that the instance was made from: the image's, then each template's over it. @throws IMAGE_NOT_FOUND if it was not, or one is gone */
  async attached(instanceDir: string): Promise<readonly [string, ...string[]]> {
    const tree = async (key: string | undefined): Promise<string> => {
      if (key === undefined || !(this.#images.has(key) || (await this.#look(key)))) throw new HaulierError('IMAGE_NOT_FOUND', { image: key ?? `of ${basename(instanceDir)}` });
      return join(this.path, key, 'rootfs');
    };
    const [base, ...templates] = await tiedTo(instanceDir);
    return [await tree(base), ...await Promise.all(templates.map(tree))];
  }

  /**
   * The memory of the image that an instance was made from.
   * @returns criu's files and what they are; undefined if it is an ordinary image
   * @throws IMAGE_NOT_FOUND, MEMORY_IMAGE_REFUSED if the manifest is damaged
   */
  async memory(instanceDir: string): Promise<ImageMemory | undefined> {
    const [tree] = await this.attached(instanceDir);
    return await this.#memoryOf(this.recordOf(tree));
  }

  /**
   * Whether an instance could be made from the image's newest entry and these templates: they are here, and whole.
   * @returns their trees, the image's first, and the image's memory, if it has one
   * @throws IMAGE_NOT_FOUND, STATE_DAMAGED if somebody took files away, MEMORY_IMAGE_REFUSED if the manifest is damaged
   */
  async check(imageId: string, templates: readonly string[]): Promise<{ readonly trees: readonly string[]; readonly memory: ImageMemory | undefined }> {
    const trees = [this.rootfs(imageId), ...templates.map((id) => this.rootfs(id, true))];
    for (const tree of trees) {
      if (!(await lstat(tree).then((found) => found.isDirectory(), () => false))) throw new HaulierError('STATE_DAMAGED', { path: tree, reason: 'the tree of this image is gone' });
    }
    const memory = await this.#memoryOf(this.record(imageId));
    if (memory) await checkFiles(memory, memory.manifest.checkpoint);
    return { trees, memory };
  }

  async #memoryOf(record: ImageRecord): Promise<ImageMemory | undefined> {
    if (record.memory !== true) return undefined;
    const folder = join(this.path, record.key);
    return { images: join(folder, checkpointFolder), manifest: parseManifest(await readJson(join(folder, manifestFile)), record.id) };
  }

  /** How many instances of this host were made from each cache entry, by key; counted from their links. */
  async uses(): Promise<ReadonlyMap<string, number>> {
    return await countTies(this.#options.instancesPath);
  }

  /**
   * Removes the images and templates that no instance has and that nobody asked for within the last `idleMs` milliseconds. The time
   * counts from the last call that found it in use, as Nova's (nova/virt/libvirt/imagecache.py).
   * @returns their ids
   */
  async removeUnused(idleMs: number): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const record of this.records()) {
      await this.#lock.hold(record.key, async () => {
        const folder = join(this.path, record.key);
        if (!(await this.#look(record.key))) return;
        if (((await this.uses()).get(record.key) ?? 0) > 0) return await this.#touch(record.key);
        if ((await this.#age(record.key)) < idleMs) return;
        this.#images.delete(record.key);
        const doomed = join(this.path, `${this.#temporaryPrefix}${record.key}-${randomBytes(4).toString('hex')}`);
        await rename(folder, doomed);
        if (((await this.uses()).get(record.key) ?? 0) > 0) return await rename(doomed, folder); // another host wants it after all
        await removeTree(doomed);
        this.#ages.forget(record.key);
        removed.push(record.id);
      });
    }
    return removed;
  }

  /** Notes that it is in use: the time is kept on the disk, for the next life of the service. */
  async #touch(key: string): Promise<void> {
    const now = new Date();
    await utimes(join(this.path, key), now, now);
    this.#ages.forget(key);
    await this.#age(key);
  }

  /** Milliseconds since it was last in use. */
  async #age(key: string): Promise<number> {
    return this.#ages.of(key, (await lstat(join(this.path, key))).mtimeMs);
  }
}

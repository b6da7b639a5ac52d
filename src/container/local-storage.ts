/** The storage half of this room as the life of a container uses it: image cache, loop disks with overlays, id ranges. */
import { mkdir, readFile, statfs } from 'node:fs/promises';
import { readJson } from '../base/atomic.js';
import { HaulierError, messageOf } from '../base/errors.js';
import { KeyedLock } from '../base/lock.js';
import type { Log } from '../base/log.js';
import type { Operation } from '../base/operation.js';
import { readHostFacts } from './checkpoint/facts.js';
import type { ContainerHostOptions } from './container-host.js';
import { readHostResources } from './host-resources.js';
import { ImageStore } from './image/image-store.js';
import { keptFolder } from './kept-folder.js';
import type { OciConfig } from './oci/config.js';
import { archiveTree, type Archive } from './snapshot/archive.js';
import { copyRootFs, removeCopy, type Still } from './snapshot/disk-copy.js';
import type { HostResources, ImageSource } from './spec.js';
import type { InstanceStore } from './state.js';
import type { CachedLayer, ContainerStorage, ImageMemory } from './storage-port.js';
import { lowestFreeRange } from './storage/id-ranges.js';
import { RootFs } from './storage/root-fs.js';

/** Storage under `instances_path`. */
export class LocalStorage implements ContainerStorage {
  readonly #store: InstanceStore;
  readonly #options: ContainerHostOptions;
  readonly #images: ImageStore;
  readonly #rootFs: RootFs;
  readonly #ranges = new Map<string, number>();
  readonly #lock = new KeyedLock();
  /** How to end each snapshot that is being read. */
  readonly #snapshots = new Map<string, () => Promise<void>>();
  readonly #log: Log;

  constructor(options: ContainerHostOptions, store: InstanceStore, log: Log) {
    this.#options = options;
    this.#store = store;
    this.#log = log;
    this.#images = new ImageStore({ instancesPath: options.instancesPath, host: options.host, maxBytes: options.imageMaxBytes, maxEntries: options.imageMaxEntries, maxSeconds: options.imageTimeoutSeconds, log, memory: { snapshotKey: options.snapshotKey, facts: () => readHostFacts(options) } });
    this.#rootFs = new RootFs({ images: this.#images, defaultRootGiB: options.defaultRootGiB, log });
  }

  async start(): Promise<void> {
    await mkdir(this.#options.instancesPath, { recursive: true, mode: 0o755 });
    await this.#images.start();
    for (const id of await this.#store.ids()) {
      const base = await this.#rangeOnDisk(id);
      if (base !== undefined) this.#ranges.set(id, base);
      await removeCopy(this.#store.paths(id).folder, this.#log).catch((error: unknown) => this.#log.error({ err: error, instance: id }, `cannot remove what an interrupted snapshot of ${id} left: ${messageOf(error)}`));
    }
  }

  ensureImage(source: ImageSource, operation: Operation): Promise<boolean> {
    return this.#images.ensure(source, operation);
  }

  async images(): Promise<readonly string[]> {
    return this.#images.list();
  }

  removeUnusedImages(idleMs: number): Promise<readonly string[]> {
    return this.#images.removeUnused(idleMs);
  }

  async allocateIds(id: string): Promise<number> {
    return await this.#lock.hold('ranges', async () => {
      const base = this.#ranges.get(id) ?? lowestFreeRange({ base: this.#options.subidBase, ranges: this.#options.subidRanges }, this.#ranges.values());
      this.#ranges.set(id, base);
      return base;
    });
  }

  async releaseIds(id: string): Promise<void> {
    this.#ranges.delete(id);
  }

  check(imageId: string, templates: readonly string[]): ReturnType<ContainerStorage['check']> {
    return this.#images.check(imageId, templates);
  }

  async prepare(id: string, disk: { readonly imageId: string; readonly templates: readonly string[]; readonly rootGiB: number }, operation: Operation): Promise<void> {
    await this.prepareIn(this.#store.paths(id).folder, disk, operation);
  }

  async prepareIn(folder: string, disk: { readonly imageId: string; readonly templates: readonly string[]; readonly rootGiB: number }, operation: Operation): Promise<void> {
    await this.#rootFs.prepare(folder, disk.imageId, disk.rootGiB, operation, disk.templates);
  }

  async layers(id: string): Promise<readonly [CachedLayer, ...CachedLayer[]]> {
    const [base, ...templates] = await this.#images.attached(this.#store.paths(id).folder);
    const known = (tree: string): CachedLayer => ({ tree, record: this.#images.recordOf(tree) });
    return [known(base), ...templates.map(known)];
  }

  mountAhead(id: string, idBase: number): Promise<void> {
    return this.#rootFs.mountAhead(this.#store.paths(id).folder, idBase);
  }

  async mount(id: string, idBase: number): Promise<string> {
    if ((await this.#store.readSpec(id))?.rescue) await this.#rootFs.mount(this.#keptFolder(id), idBase);
    return await this.#rootFs.mount(this.#store.paths(id).folder, idBase);
  }

  async unmount(id: string): Promise<void> {
    await this.#rootFs.unmount(this.#store.paths(id).folder);
    await this.#rootFs.unmount(this.#keptFolder(id)); // of one that was rescued
  }

  #keptFolder(id: string): string {
    return keptFolder({ store: this.#store }, id);
  }

  unmountTree(id: string): Promise<void> {
    return this.#rootFs.unmountTree(this.#store.paths(id).folder);
  }

  flush(id: string): Promise<void> {
    return this.#rootFs.flush(this.#store.paths(id).folder);
  }

  async snapshot(id: string, still: Still, operation: Operation): Promise<Archive & { readonly expectedBytes: number }> {
    const { folder } = this.#store.paths(id);
    if (this.#snapshots.has(id)) throw new HaulierError('INSTANCE_BUSY', { instance: id, operation: 'another snapshot' });
    this.#snapshots.set(id, async () => undefined);
    try {
      return await this.#snapshot(id, folder, still, operation);
    } catch (error) {
      this.#snapshots.delete(id);
      throw error;
    }
  }

  async #snapshot(id: string, folder: string, still: Still, operation: Operation): Promise<Archive & { readonly expectedBytes: number }> {
    const trees = await this.#images.attached(folder);
    const copy = await copyRootFs(folder, trees, still, this.#log, operation.signal);
    const { bsize, blocks, bfree } = await statfs(copy.layer);
    const expectedBytes = trees.reduce((sum, tree) => sum + this.#images.recordOf(tree).storedBytes, 0) + bsize * (blocks - bfree); // as if nothing was replaced, and packed as the image was
    const archive = archiveTree(copy.rootfs);
    let ended: Promise<void> | undefined;
    const end = (): Promise<void> => (ended ??= archive.end().then(() => removeCopy(folder, this.#log)).finally(() => this.#snapshots.delete(id)));
    this.#snapshots.set(id, end);
    return { ...archive, end, expectedBytes };
  }

  memory(id: string): Promise<ImageMemory | undefined> {
    return this.#images.memory(this.#store.paths(id).folder);
  }

  async withCopy<T>(id: string, still: Still, operation: Operation, work: (tree: string) => Promise<T>): Promise<T> {
    const { folder } = this.#store.paths(id);
    if (this.#snapshots.has(id)) throw new HaulierError('INSTANCE_BUSY', { instance: id, operation: 'another snapshot' });
    this.#snapshots.set(id, async () => undefined);
    try {
      const copy = await copyRootFs(folder, await this.#images.attached(folder), still, this.#log, operation.signal);
      return await work(copy.rootfs);
    } finally {
      await removeCopy(folder, this.#log).finally(() => this.#snapshots.delete(id));
    }
  }

  async endSnapshot(id: string): Promise<void> {
    await this.#snapshots.get(id)?.();
  }

  async remove(id: string): Promise<void> {
    if (await this.#store.exists(id)) await this.#rootFs.remove(this.#store.paths(id).folder);
  }

  resources(): Promise<HostResources> {
    return readHostResources(this.#options.instancesPath);
  }

  /** The range that an instance has; where its state is damaged, from its last bundle, or from its PID 1, so that nobody else gets it. */
  async #rangeOnDisk(id: string): Promise<number | undefined> {
    const state = await this.#store.readState(id).catch(() => undefined);
    if (state) return state.idBase;
    const config = (await readJson(this.#store.paths(id).config).catch(() => undefined)) as OciConfig | undefined;
    const base: unknown = config?.linux?.uidMappings?.[0]?.hostID;
    if (Number.isInteger(base)) return base as number;
    const running = await this.#store.running(id).catch(() => undefined);
    const map = running && /^\s*0\s+(\d+)/.exec(await readFile(`/proc/${running.pid}/uid_map`, 'utf8').catch(() => ''));
    return map?.[1] === undefined ? undefined : Number(map[1]);
  }
}

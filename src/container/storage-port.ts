/** What the life of a container needs from the storage half of this room: an image, a range of ids, a mounted tree. */
import type { Operation } from '../base/operation.js';
import type { ImageRecord } from './image/image-record.js';
import type { Archive } from './snapshot/archive.js';
import type { MemoryManifest } from './memory-image/manifest.js';
import type { Still } from './snapshot/disk-copy.js';
import type { HostResources, ImageSource } from './spec.js';

/** Memory of an image in the cache. */
export interface ImageMemory {
  /** Folder of criu's files. */
  readonly images: string;
  readonly manifest: MemoryManifest;
}

/** A tree of the cache. */
export interface CachedLayer {
  readonly tree: string;
  readonly record: ImageRecord;
}

/** Images and root file systems of one host. Every method is idempotent. */
export interface ContainerStorage {
  /** Makes what it needs on the host; called once at the service's start. */
  start(): Promise<void>;
  /** @returns true if the image was in the cache already */
  ensureImage(source: ImageSource, operation: Operation): Promise<boolean>;
  images(): Promise<readonly string[]>;
  /** Removes images that nobody has had for so long. @returns their ids */
  removeUnusedImages(idleMs: number): Promise<readonly string[]>;
  /** A range of host ids for this instance, the same one if it has one. @returns its first id */
  allocateIds(id: string): Promise<number>;
  releaseIds(id: string): Promise<void>;
  /**
   * Whether an instance could be made from these images: they are in the cache, and whole.
   * @returns their trees, the image's first, and the memory that comes with the image, if any does
   * @throws IMAGE_NOT_FOUND, STATE_DAMAGED, MEMORY_IMAGE_REFUSED
   */
  check(imageId: string, templates: readonly string[]): Promise<{ readonly trees: readonly string[]; readonly memory: ImageMemory | undefined }>;
  /** Makes the disk of an instance in its directory. */
  prepare(id: string, disk: { readonly imageId: string; readonly templates: readonly string[]; readonly rootGiB: number }, operation: Operation): Promise<void>;
  /** As `prepare`, in a folder that will become the instance's: for one that comes from another host. */
  prepareIn(folder: string, disk: { readonly imageId: string; readonly templates: readonly string[]; readonly rootGiB: number }, operation: Operation): Promise<void>;
  /** The trees that an instance was made from: the image's, then each template's over it. @throws IMAGE_NOT_FOUND */
  layers(id: string): Promise<readonly [CachedLayer, ...CachedLayer[]]>;
  /** Mounts what of it can be mounted while its own files are still being written; `mount` does the rest. */
  mountAhead(id: string, idBase: number): Promise<void>;
  /** Mounts it. @returns the folder of the tree, owned by the range's ids */
  mount(id: string, idBase: number): Promise<string>;
  /** Takes back what `mount` did after `mountAhead`: its own files may be written to again. */
  unmountTree(id: string): Promise<void>;
  unmount(id: string): Promise<void>;
  /** Writes out what its tree holds in memory, so that an unmount is quick. */
  flush(id: string): Promise<void>;
  /**
   * The whole tree as it is at one moment, as an archive; its `end` must be called.
   * @throws INSTANCE_BUSY if there is one already
   * @param still runs the given work while nobody writes to the tree
   */
  snapshot(id: string, still: Still, operation: Operation): Promise<Archive & { readonly expectedBytes: number }>;
  /** The memory that came with the image of an instance, if any did; the instance's disk must be there. @throws IMAGE_NOT_FOUND, MEMORY_IMAGE_REFUSED */
  memory(id: string): Promise<ImageMemory | undefined>;
  /** Works on a copy of the whole tree as it is at one moment, read-only, with the guest's own ids. @throws as `snapshot` */
  withCopy<T>(id: string, still: Still, operation: Operation, work: (tree: string) => Promise<T>): Promise<T>;
  /** Ends the snapshot that is being read, if any, and takes it away. */
  endSnapshot(id: string): Promise<void>;
  /** Removes the disk, also a half-made one. */
  remove(id: string): Promise<void>;
  resources(): Promise<HostResources>;
}

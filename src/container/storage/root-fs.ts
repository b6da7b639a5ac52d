/**
 * A container's root file system. In its instance folder:
 *
 *     base -> ../_base/<image>/rootfs   which tree it was made from (see ImageStore)
 *     template-1 -> ...                 and which templates lie over it, if any
 *     disk                              ext4 image of the flavor's size: layer/upper and layer/work
 *     lower/                            the tree, read-only, idmapped to the container's range
 *     lower-1/ ...                      each template's layer, likewise
 *     layer/                            the disk, loop-mounted, idmapped to the container's range
 *     rootfs/                           overlay of them all: what the runtime gets
 *
 * Tree and disk hold ids 0..65535; only the idmapped mounts shift them, so instances share a tree and a disk can move to another
 * range. Host root's own files on a disk (overlay's whiteouts and work folders) have the id 65536 there.
 */
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Log } from '../../base/log.js';
import type { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import { together } from '../../base/together.js';
import type { ImageStore } from '../image/image-store.js';
import { baseIdmap, makeDisk, mountDisk, upperFolder, workFolder } from './disk.js';
import { listMounts, mountsUnder, unmountAll, unmountEach, type Mount } from './mounts.js';

/** Fault points of a root file system's making and mounting, in order. */
export const rootFsFaultPoints = ['rootfs.prepared', 'rootfs.layers-mounted', 'rootfs.mounted'] as const;

/** Paths of one instance's root file system. */
export interface RootFsPaths {
  readonly disk: string;
  readonly lower: string;
  readonly layer: string;
  /** The overlay's upper folder, visible while the disk is mounted. */
  readonly upper: string;
  readonly work: string;
  /** The runtime's root path. */
  readonly rootfs: string;
}

/** Where the parts lie for the instance folder `instanceDir` (absolute). */
export function rootFsPaths(instanceDir: string): RootFsPaths {
  const layer = join(instanceDir, 'layer');
  return { disk: join(instanceDir, 'disk'), lower: join(instanceDir, 'lower'), layer, upper: join(layer, upperFolder), work: join(layer, workFolder), rootfs: join(instanceDir, 'rootfs') };
}

/** Mount points of the image's tree and of `layers - 1` templates over it, the lowest first. */
function lowersOf(paths: RootFsPaths, layers: number): string[] {
  return Array.from({ length: layers }, (_, index) => (index === 0 ? paths.lower : `${paths.lower}-${index}`));
}

/**
 * Mount options for the lower layers, given from the lowest; overlayfs wants the uppermost first. Several are given one by one (Linux
 * 6.5): mount(8) hands each option over whole, and the kernel takes at most 255 characters of one.
 */
export function lowerOptions(trees: readonly string[]): string {
  return trees.length === 1 ? `lowerdir=${trees[0]}` : trees.toReversed().map((tree) => `lowerdir+=${tree}`).join(',');
}

const flushTimeoutMs = 600_000;

/** What is mounted of an instance. `part`: some of it, as after a failure. */
export type RootFsState = 'mounted' | 'part' | 'unmounted';

/** Makes, mounts and removes root file systems. Never two calls at once for one instance; different ones side by side. */
export class RootFs {
  readonly #images: ImageStore;
  readonly #defaultRootGiB: number;
  readonly #log: Log;

  constructor(options: { readonly images: ImageStore; readonly defaultRootGiB: number; readonly log: Log }) {
    this.#images = options.images;
    this.#defaultRootGiB = options.defaultRootGiB;
    this.#log = options.log;
  }

  /**
   * Makes the disk and the folders in `instanceDir` (must exist; absolute path) and ties the instance to the image, which must be in
   * the cache. Mounts nothing. The operation's rollback removes all of it.
   * @param rootGiB size of the disk in GiB; 0: the operator's default
   * @param templates images of the layers over the tree, in the cache too
   * @throws IMAGE_NOT_FOUND, DISK_FULL, STATE_DAMAGED if there is a disk already (it is never overwritten)
   */
  async prepare(instanceDir: string, imageId: string, rootGiB: number, operation: Operation, templates: readonly string[] = []): Promise<void> {
    operation.step('rootfs.prepare');
    const paths = rootFsPaths(instanceDir);
    if (/[,:\\]/.test(instanceDir)) throw new HaulierError('BAD_ARGUMENT', { method: 'prepare', argument: 'instanceDir', problem: `overlayfs cannot take a path with , : or \\: ${instanceDir}` });
    if (await exists(paths.disk)) throw new HaulierError('STATE_DAMAGED', { path: paths.disk, reason: 'a root disk is there already' });
    operation.undo('root file system', () => this.remove(instanceDir));
    await this.#images.attach(imageId, instanceDir, templates);
    for (const folder of [...lowersOf(paths, templates.length + 1), paths.layer, paths.rootfs]) await mkdir(folder, { recursive: true, mode: 0o755 });
    await makeDisk(paths.disk, rootGiB > 0 ? rootGiB : this.#defaultRootGiB, operation.signal);
    faultPoint('rootfs.prepared');
  }

  /**
   * Mounts only the disk, for what must be written into `upper` before the overlay exists (a hauled container's files). Idempotent.
   * @returns the paths
   */
  async mountLayer(instanceDir: string, idBase: number, operation: Operation): Promise<RootFsPaths> {
    const paths = rootFsPaths(instanceDir);
    if (find(await listMounts(), paths.layer)) return paths;
    operation.undo('disk mount', () => unmountAll(paths.layer, this.#log));
    await mountDisk(paths.disk, paths.layer, idBase, operation.signal);
    return paths;
  }

  /** Mounts the trees and the disk, but not the overlay: its upper folder may still be written to. Idempotent. @throws IMAGE_NOT_FOUND, COMMAND_FAILED */
  async mountAhead(instanceDir: string, idBase: number, signal?: AbortSignal): Promise<void> {
    const paths = rootFsPaths(instanceDir);
    const before = await listMounts();
    const trees = await this.#images.attached(instanceDir);
    await together(
      ...lowersOf(paths, trees.length).map(async (lower, index) => (find(before, lower) ? undefined : await run('mount', ['--bind', '-o', `ro,nodev,X-mount.idmap=${baseIdmap(idBase)}`, '--', trees[index] ?? '', lower], { signal }))),
      find(before, paths.layer) ? Promise.resolve() : mountDisk(paths.disk, paths.layer, idBase, signal),
    );
  }

  /**
   * Mounts what is not mounted yet; idempotent, and so also what a service does after its own or its host's restart. The operation's
   * rollback unmounts what this call has mounted; without an operation, this call does it itself when it fails.
   * @param idBase first host id of the container's range
   * @returns path of the root file system
   * @throws IMAGE_NOT_FOUND if the tree is gone, COMMAND_FAILED, RUNTIME_FAILED if overlayfs came up crippled
   */
  async mount(instanceDir: string, idBase: number, operation?: Operation): Promise<string> {
    operation?.step('rootfs.mount');
    const paths = rootFsPaths(instanceDir);
    const before = await listMounts();
    const lowers = await this.#lowers(instanceDir);
    if (isWhole(before, paths, lowers)) return paths.rootfs;
    const undo = async (): Promise<void> => {
      for (const path of [paths.rootfs, ...await this.#lowers(instanceDir), paths.layer]) if (!find(before, path)) await unmountAll(path, this.#log);
    };
    operation?.undo('root file system mounts', undo);
    try {
      const signal = operation?.signal;
      await this.mountAhead(instanceDir, idBase, signal);
      faultPoint('rootfs.layers-mounted');
      // xino: without it folders are numbered 1, 2, 3... as on a tmpfs, and criu, which tells inotify's targets apart by their number, takes /run/systemd for "/"
      await run('mount', ['-t', 'overlay', '-o', `nodev,index=on,nfs_export=on,xino=on,${lowerOptions(lowers)},upperdir=${paths.upper},workdir=${paths.work}`, '--', 'overlay', paths.rootfs], { signal });
      // overlayfs says what it could not do in the kernel log only
      if (!isWhole(await listMounts(), paths, lowers)) throw new HaulierError('RUNTIME_FAILED', { action: 'mount the root file system', reason: 'overlayfs refused index, nfs_export or writing (see dmesg)' });
      faultPoint('rootfs.mounted');
      return paths.rootfs;
    } catch (error) {
      if (!operation) await undo();
      throw error;
    }
  }

  /** Unmounts the overlay alone: its upper folder may be written to again. Idempotent. */
  async unmountTree(instanceDir: string): Promise<void> {
    await unmountAll(rootFsPaths(instanceDir).rootfs, this.#log);
  }

  /** What is mounted of it now. */
  async state(instanceDir: string): Promise<RootFsState> {
    const mounts = await listMounts();
    const paths = rootFsPaths(instanceDir);
    const lowers = await this.#lowers(instanceDir);
    if (isWhole(mounts, paths, lowers)) return 'mounted';
    return [paths.rootfs, ...lowers, paths.layer].some((path) => find(mounts, path)) ? 'part' : 'unmounted';
  }

  /** Unmounts all of it, also what is only partly there; idempotent. Busy mounts: see `unmountAll`. */
  async unmount(instanceDir: string): Promise<void> {
    const paths = rootFsPaths(instanceDir);
    const own = [paths.rootfs, ...await this.#lowers(instanceDir), paths.layer];
    const mounts = await mountsUnder(instanceDir);
    // also whatever somebody mounted inside, deepest first
    await unmountEach(mounts.map(({ path }) => path).filter((path) => own.some((point) => path === point || path.startsWith(`${point}/`))), this.#log);
  }

  /** Puts on the host's disk what is still in memory of the instance's own: its unmount has little left to do then. Nothing if it is not mounted. */
  async flush(instanceDir: string): Promise<void> {
    const { layer } = rootFsPaths(instanceDir);
    if (find(await listMounts(), layer)) await run('sync', ['--file-system', layer], { timeoutMs: flushTimeoutMs });
  }

  /** Unmounts and removes all of it, the guest's data too; leaves the instance folder and what is not of this class. Idempotent. */
  async remove(instanceDir: string): Promise<void> {
    await this.unmount(instanceDir);
    const paths = rootFsPaths(instanceDir);
    await rm(paths.disk, { force: true });
    await rm(`${paths.disk}.tmp`, { force: true });
    await rm(`${paths.disk}.seed`, { recursive: true, force: true });
    // rmdir, never a recursive removal: what is not an empty folder is not ours to throw away, it goes with the instance folder
    for (const folder of [paths.rootfs, ...await this.#lowers(instanceDir), paths.layer]) {
      await rmdir(folder).catch((error: NodeJS.ErrnoException) => { if (!['ENOENT', 'ENOTEMPTY', 'ENOTDIR'].includes(error.code ?? '')) throw error; });
    }
    await this.#images.detach(instanceDir);
  }

  /** Mount points of the lower layers that there are, the lowest first. */
  async #lowers(instanceDir: string): Promise<string[]> {
    const paths = rootFsPaths(instanceDir);
    const names = await readdir(instanceDir).catch(() => []);
    return lowersOf(paths, names.filter((name) => /^lower-\d+$/.test(name)).length + 1);
  }
}

function find(mounts: readonly Mount[], path: string): Mount | undefined {
  return mounts.findLast((mount) => mount.path === path);
}

/** True if all are mounted and the overlay can do what a later checkpoint needs. */
function isWhole(mounts: readonly Mount[], paths: RootFsPaths, lowers: readonly string[]): boolean {
  const overlay = find(mounts, paths.rootfs);
  return overlay?.type === 'overlay' && overlay.superOptions.has('nfs_export=on') && overlay.superOptions.has('index=on') && overlay.superOptions.has('rw')
    && lowers.every((lower) => find(mounts, lower)?.options.has('idmapped')) && (find(mounts, paths.layer)?.options.has('idmapped') ?? false);
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(() => true, () => false);
}

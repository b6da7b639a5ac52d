/**
 * The part of this room's door through which containers change their size or their host: a stopped container is set aside as
 * `<uuid>_resize` until its move is confirmed or reverted, as Nova's libvirt driver does; what lies in `<uuid>` is the one that runs. One that is rescued
 * is set aside likewise: a container made with `rescue` in its spec has its root file system.
 */
import type { Operation } from '../base/operation.js';
import type { ContainerSpec, LimitSpec } from './spec.js';

/** Moves of stopped containers. Idempotent where nothing else is said; never two calls at once for one container. */
export interface ContainerMoves {
  /** Size of its root disk in bytes. @throws INSTANCE_NOT_FOUND */
  diskBytes(id: string): Promise<number>;
  /**
   * Sets a stopped container aside and makes another of it, with a copy of its disk, grown to the new limits. What an earlier move
   * left aside is thrown away. On failure nothing has changed.
   * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE if it is not stopped, DISK_SHRINK, DISK_FULL
   */
  resize(id: string, limits: LimitSpec, operation: Operation): Promise<void>;
  /** Sets a stopped container aside; none of that id is left. @throws INSTANCE_NOT_FOUND, INSTANCE_STATE if it is not stopped */
  keep(id: string, operation: Operation): Promise<void>;
  /** Throws away the container of that id and brings back, stopped, the one that was set aside. @returns false if none was; then nothing is touched */
  restore(id: string, operation: Operation): Promise<boolean>;
  /** Throws away what was set aside. */
  drop(id: string): Promise<void>;
  /** Ids of the containers that are set aside. */
  kept(): Promise<readonly string[]>;
  /** Spec of the one that is set aside. */
  keptSpec(id: string): Promise<ContainerSpec | undefined>;
  /**
   * Makes a container that came to this host's instances_path from elsewhere one of this host: ids of this host, the given spec, the
   * disk grown to it, stopped. What ran of it at another host is that host's matter.
   * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE if it runs here, DISK_SHRINK, DISK_FULL
   */
  adopt(spec: ContainerSpec, operation: Operation): Promise<void>;
  /** Takes away what this host has of a container, processes, ports and mounts, and leaves its files: they are another host's now. */
  abandon(id: string, operation: Operation): Promise<void>;
  /** Puts a mark into the container's directory, to find out who shares it. @returns its path; undefined if there is no such directory */
  mark(id: string): Promise<string | undefined>;
  /** Whether a mark is seen here. A path that is no mark of a container is not looked at. */
  sees(mark: string): Promise<boolean>;
  unmark(mark: string): Promise<void>;
}

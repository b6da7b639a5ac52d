/** The door of this room: one host's containers. `compute/` uses only this and `spec.ts`. */
import type { Operation } from '../base/operation.js';
import type { ConsoleLine } from './console-line.js';
import type { SerialDoor, SerialPorts } from './serial-consoles.js';
import type { ContainerMoves } from './container-moves.js';
import type { Abilities } from './abilities.js';
import type { BootData } from './boot-data/boot-data.js';
import type { DiskSnapshot } from './snapshot/snapshot.js';
import type { ContainerSpec, ContainerState, ContainerStats, ContainerView, HostResources, ImagesFound, ImageSource, VifSpec } from './spec.js';
import type { Captured } from './template/capture.js';
import type { Verdict } from './verdict/verdict.js';

/** What PID 1 waits for: work that is under way, or that is begun when the container is made and all else is done. */
export type Readiness = Promise<unknown> | (() => Promise<unknown>);

/** A container's state changed by itself: PID 1 ended. */
export interface ContainerExit {
  readonly id: string;
  readonly state: ContainerState;
  readonly exitCode: number;
  /** The guest asked for a reboot (PID 1 ended by SIGHUP through reboot(2) in its PID namespace). */
  readonly rebootRequested: boolean;
}

/** How a container is stopped, milliseconds. */
export interface StopTiming {
  /** How long PID 1 may take to shut down; 0 kills at once. */
  readonly timeoutMs: number;
  /** It is asked again so often. */
  readonly retryMs: number;
  /** Also where the disk is too full to put it on record: it is to stay stopped. */
  readonly evenUnrecorded?: boolean;
}

/** One host's containers. All methods may be called side by side for different containers; never for the same one. */
export interface ContainerHost {
  /** Probes the host, remounts and re-watches what is there. Idempotent; never disturbs a running container. */
  start(): Promise<void>;
  /** Stops watching. Containers run on. */
  stop(): Promise<void>;

  /** What criu and the kernel can do here; probed at the first call, which takes about a second, and remembered. */
  abilities(): Promise<Abilities>;

  /** Makes sure the image is in the cache, unpacked and verified; concurrent callers share one download. @returns true if it was cached already */
  ensureImage(source: ImageSource, operation: Operation): Promise<boolean>;
  /** Images in the cache. */
  images(): Promise<readonly string[]>;
  /** Removes the images and templates that no container of this host has had for `idleMs`. @returns their ids */
  removeUnusedImages(idleMs: number): Promise<readonly string[]>;

  /** Plugs one port's host side early, before the container exists; idempotent. Undo with `unplug`. */
  plug(instance: string, vif: VifSpec, operation: Operation): Promise<void>;
  /** Puts the ports of a running container back to their bridges and switches, where somebody took them away. Idempotent. */
  replug(id: string): Promise<void>;
  /** Takes a port's host side away, whatever is left of it; idempotent. */
  unplug(instance: string, vif: VifSpec): Promise<void>;

  /**
   * Tells the neighbours of a running container's addresses (gratuitous ARP, unsolicited NA). Done by `startContainer` and `resume`;
   * for whoever learns later that a port is wired. Never throws.
   */
  announce(id: string): Promise<void>;

  /**
   * Whether `create` would take this spec now; its images must be in the cache. Before something is ended that the new container
   * replaces.
   * @throws what `create` throws of spec and images
   */
  check(spec: ContainerSpec): Promise<ImagesFound>;
  /** Makes the container (directory, root file system, bundle) without starting it. Undone by the operation's rollback. */
  create(spec: ContainerSpec, operation: Operation): Promise<void>;
  /** Gives a container that was made and never started what its system is to know. @throws INSTANCE_NOT_FOUND, DISK_FULL */
  giveBootData(id: string, data: BootData, operation: Operation): Promise<void>;
  /** Whether cloud-init is in the tree of a container. @throws INSTANCE_NOT_FOUND */
  hasCloudInit(id: string): Promise<boolean>;
  /** Sets the password of an account of a running guest. @throws INSTANCE_NOT_RUNNING, PASSWORD_FAILED */
  setPassword(id: string, account: string, password: string): Promise<void>;
  /**
   * Gives running containers the files of the lxcfs that runs now, in the place of one's that has ended. To be called every now and then; `start` does it too.
   * @param inTurn does the work for one container when nothing else changes it, or not at all
   */
  renewFigures(inTurn: (id: string, work: () => Promise<void>) => Promise<void>): Promise<void>;
  /** Mounts its root file system ahead of its start, which else does it. @throws INSTANCE_NOT_FOUND */
  mount(id: string, operation: Operation): Promise<void>;
  /**
   * Plugs its ports, creates and starts it; one that was made from a snapshot with memory resumes from it, the first time. On failure nothing of it runs and its ports are unplugged.
   * @param ready awaited between the runtime's create and start: PID 1 runs only when it resolves (the port is wired)
   */
  startContainer(id: string, operation: Operation, ready?: Readiness): Promise<void>;
  /** Asks PID 1 to shut down, repeats every `retryMs`, kills after `timeoutMs`; 0 kills at once. Unplugs its ports. Idempotent. */
  stopContainer(id: string, timing: StopTiming, operation: Operation): Promise<void>;
  pause(id: string, operation: Operation): Promise<void>;
  unpause(id: string, operation: Operation): Promise<void>;
  /**
   * Its root file system as a compressed tarball, as it is now; it goes on meanwhile, frozen only for a moment. Running, paused,
   * suspended or stopped. The caller ends the snapshot; one a container at a time.
   * @param memoryFor with its memory, sealed, for the image of this id, and no other one; what does not run has none
   * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, DISK_FULL, SNAPSHOT_KEY, MEMORY_SNAPSHOT_FAILED
   */
  snapshot(id: string, operation: Operation, memoryFor?: string): Promise<DiskSnapshot>;
  /** Before anything is done for a snapshot with memory. @throws SNAPSHOT_KEY if this host could not seal it */
  requireSnapshotKey(): Promise<void>;
  /**
   * Freezes it to disk: its memory is free, nothing of it runs, its ports are unplugged; survives restarts of service and host.
   * A suspended container can be resumed, stopped (its memory is lost), destroyed; not started. A paused one is taken too; a resume lets it run.
   * @param wantedBy `host`: frozen with all others, by `haulier host freeze`
   * @throws SUSPEND_FAILED, DISK_FULL: it runs on, or stays paused, as before; INSTANCE_STATE
   */
  suspend(id: string, operation: Operation, wantedBy?: 'user' | 'host'): Promise<void>;
  /**
   * Plugs its ports and restores it. On failure it stays suspended, its images are kept.
   * @param ready awaited before the restore: the ports are wired
   */
  resume(id: string, operation: Operation, ready?: Readiness): Promise<void>;
  /**
   * Core files of all its processes, where the operator keeps them; it goes on, frozen only while criu reads it. Running or paused.
   * @returns the folder
   * @throws INSTANCE_NOT_RUNNING, CRASH_DUMP_UNSUPPORTED, CRASH_DUMP_FAILED, DISK_FULL
   */
  crashDump(id: string, operation: Operation): Promise<string>;
  /** Notes what its tree is now, for `captureTemplate`. @returns how many paths it has */
  markTemplate(id: string, operation: Operation): Promise<number>;
  /** Writes what has changed in it since the mark into `file` (absolute), a template's layer. @param keep beginnings of paths that are not left out */
  captureTemplate(id: string, file: string, keep: readonly string[], operation: Operation): Promise<Captured>;
  /**
   * Runs the guest's freeze hook, flushes its file system and freezes it, until `unquiesce`, and for at most `quiesceSeconds`.
   * @param frozen false: without freezing it
   * @throws INSTANCE_STATE, QUIESCE_FAILED: it goes on
   */
  quiesce(id: string, frozen: boolean, operation: Operation): Promise<void>;
  /** True from a `quiesce` to its `unquiesce`. */
  isQuiesced(id: string): Promise<boolean>;
  /** Lets a quiesced guest go on. Idempotent. */
  unquiesce(id: string): Promise<void>;
  /** Whether it could be suspended now, and what is in the way; it is not disturbed. @throws INSTANCE_NOT_FOUND, INSTANCE_STATE if it does not run */
  verdict(id: string): Promise<Verdict>;
  /**
   * Kills it and removes every trace: mounts, directory, cgroups, ports, id range. Idempotent, also for what never was whole.
   * @param ports that may be plugged for it although it never had them
   */
  destroy(id: string, operation: Operation, ports?: readonly VifSpec[]): Promise<void>;

  /** Sizes and hosts of stopped containers. */
  readonly moves: ContainerMoves;
  /** Replaces the spec's network interfaces (taken at the next start). A port keeps the name that it has inside. */
  updateVifs(id: string, vifs: readonly VifSpec[]): Promise<void>;
  /**
   * As `updateVifs`, and at once in a container that runs: new ports are plugged and configured in it, those that are gone are taken out. Idempotent.
   * @throws INSTANCE_NOT_FOUND, VIF_PLUG_FAILED
   */
  changeVifs(id: string, vifs: readonly VifSpec[], operation: Operation): Promise<void>;
  spec(id: string): Promise<ContainerSpec | undefined>;
  view(id: string): Promise<ContainerView>;
  list(): Promise<readonly ContainerView[]>;
  stats(id: string): Promise<ContainerStats>;
  /** The console's text, the last `lines` of it if given. @throws CONSOLE_UNAVAILABLE */
  consoleLog(id: string, lines: number | undefined): Promise<string>;
  /** A session on its console. @throws INSTANCE_STATE if it does not run */
  openConsole(id: string): Promise<ConsoleLine>;
  /** Serial consoles by TCP; undefined where the operator offers none. */
  readonly serial: SerialDoor | undefined;
  /** Called when a container ends by itself. */
  onExit(listener: (exit: ContainerExit) => void): void;

  resources(): Promise<HostResources>;
}

/** How this room is set up; `main.ts` fills it from the option table. */
export interface ContainerHostOptions {
  /** Name of this host, where instancesPath may be shared with others. */
  readonly host?: string;
  readonly instancesPath: string;
  /** Runtime state (runc --root, pid files, attach sockets): a tmpfs folder, `/run/haulier`. */
  readonly runPath: string;
  readonly runc: string;
  readonly conmon: string;
  readonly criu: string;
  readonly ovsVsctl: string;
  /** ovs-vsctl --db; undefined: its own default. */
  readonly ovsdbConnection: string | undefined;
  /** cgroup folder under which containers' cgroups are made, as `/haulier`. */
  readonly cgroupParent: string;
  /** First host uid/gid of the private ranges, and how many ranges of 65536 there are. */
  readonly subidBase: number;
  readonly subidRanges: number;
  readonly defaultRootGiB: number;
  readonly imageMaxBytes: number;
  readonly imageMaxEntries: number;
  readonly imageTimeoutSeconds: number;
  readonly consoleLogBytes: number;
  readonly networkMtu: number;
  /** Where lxcfs is mounted, if it runs; undefined: containers see the host's figures. */
  readonly lxcfs: string | undefined;
  /** Where serial consoles are offered; undefined: nowhere. */
  readonly serial?: SerialPorts | undefined;
  /** Whether a resume may let the processes run before all their memory is read. */
  readonly lazyResume: 'auto' | 'never';
  readonly crashDumps: CrashDumpOptions;
  /** Longest time that a guest stays quiesced. */
  readonly quiesceSeconds: number;
  /** File of the deployment's snapshot keys; undefined: no snapshots with memory. */
  readonly snapshotKey: string | undefined;
}

/** Where crash dumps are kept, and how many. */
export interface CrashDumpOptions {
  /** undefined: none are made. */
  readonly path: string | undefined;
  /** Dumps kept of each container. */
  readonly keep: number;
  /** Disk that all dumps of this host may take together, bytes; the oldest go first. */
  readonly maxBytes: number;
}

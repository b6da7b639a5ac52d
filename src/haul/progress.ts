/** What a haul tells while it runs and when it is over, and what may be asked of it meanwhile. */

/** How the memory gets over. `docs/haul.md` says when which is chosen. */
export type MemoryMode = 'stop-and-copy' | 'pre-copy' | 'post-copy';

/** `restart`: the memory does not; the container is stopped here and started there. */
export type HaulMode = MemoryMode | 'restart';

/** How a container is stopped that criu would refuse: how long it may take to shut down (0: it is killed), and how often it is asked. */
export interface RestartTiming { readonly timeoutMs: number; readonly retryMs: number }

/**
 * Where a haul is. `paging`: it runs at the destination, and pages still come from the source (post-copy only).
 * After `restoring` it can no longer be aborted. `asking`: it stands frozen here, and the other host does not say what became of it.
 */
export type HaulStage = 'connecting' | 'preparing' | 'copying' | 'pre-dumping' | 'frozen' | 'restoring' | 'paging' | 'asking' | 'settling';

/** Bytes. `total` may grow while the container runs. */
export interface Amount { readonly total: number; readonly processed: number; readonly remaining: number }

/** One look at a haul. */
export interface HaulProgress {
  readonly stage: HaulStage;
  readonly mode: HaulMode;
  /** Of the stage's rounds, from 1; 0 where the stage has none. */
  readonly round: number;
  readonly memory: Amount;
  readonly disk: Amount;
  /** Until it runs at the destination, by the rate so far; undefined as long as nobody can know. */
  readonly expectedMs?: number;
}

/** What may be asked of a haul. An abort is the operation's. */
export interface HaulOptions {
  /** Otherwise by the operator's policy and what both hosts can do. */
  readonly mode?: MemoryMode;
  /** Permits the mode `restart` for a running container that criu would refuse: `frozen` is then said of one that has been stopped. */
  readonly restart?: RestartTiming;
  /** Called at every change of stage or round, and now and then between. Must not throw. */
  readonly onProgress?: (progress: HaulProgress) => void;
  /**
   * Called once, when the container has just been frozen for the last time and its ports are closed: the switch of its ports can begin.
   * Not waited for. If the haul fails after it, the container goes on at the source.
   */
  readonly onFrozen?: () => void;
  /** Aborted when somebody wants it over with: no more rounds, freeze now (or post-copy where both hosts can). */
  readonly force?: AbortSignal;
}

/** One round: of the file system while it runs, or of the memory. */
export interface HaulRound { readonly what: 'disk' | 'memory'; readonly round: number; readonly bytes: number; readonly ms: number }

/** A haul that is over, and committed. */
export interface HaulResult {
  readonly mode: HaulMode;
  /** Why this mode, in words. */
  readonly reason: string;
  /** From the freeze at the source to the word that it runs at the destination; milliseconds. */
  readonly frozenMs: number;
  readonly totalMs: number;
  readonly rounds: readonly HaulRound[];
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

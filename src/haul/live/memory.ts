/**
 * The ways in which memory gets over, behind one small interface at each end. `LiveSource` and `LiveDestination` know no more of them
 * than this; both ends learn of each other's abilities before anything is frozen (`memory` in the messages `begin` and `prepared`).
 */
import type { PageSource } from '../../container/checkpoint/page-daemon.js';
import type { CheckpointMeta, CheckpointPaths } from '../../container/checkpoint/images.js';
import type { HostFacts } from '../../container/checkpoint/facts.js';
import type { GuestGroups } from '../../container/checkpoint/cgroup-groups.js';
import { memoryBytes } from '../../container/checkpoint/criu-dump.js';
import { shortestWatchdog, watchdogProblem } from '../../container/checkpoint/watchdog.js';
import type { Log } from '../../base/log.js';
import type { Operation } from '../../base/operation.js';
import type { HostParts } from '../../container/parts.js';
import { HaulierError } from '../../base/errors.js';
import type { MemoryMode } from '../progress.js';
import type { HaulChannel } from '../wire/channel.js';
import type { HaulTracker } from './tracker.js';
import { readMemoryAbilities } from '../memory/abilities.js';
import { chooseMode, readAbilities, type HaulPolicy, type MemoryAbilities } from '../memory/mode.js';
import { headerBytesOf, type HeaderBytes } from '../memory/page-protocol.js';
import { PostCopyReceiver, PostCopySender } from '../memory/post-copy.js';
import { PreCopyReceiver, PreCopySender } from '../memory/pre-copy.js';
import { StopAndCopyReceiver, StopAndCopySender } from './memory-stop.js';

/** What one haul's memory is moved with, at either end. */
export interface MemoryContext {
  readonly parts: HostParts;
  readonly instance: string;
  readonly channel: HaulChannel;
  readonly operation: Operation;
  readonly policy: HaulPolicy;
  /** Empty folders when it begins. */
  readonly paths: CheckpointPaths;
}

/** More of it at the source. */
export interface SourceMemoryContext extends MemoryContext {
  readonly facts: HostFacts;
  readonly tracker: HaulTracker;
  /** The other side takes files that still grow. */
  readonly takesGrowing: boolean;
  /** Both sides speak the same page protocol, so pages may go ahead of the questions for them. */
  readonly earlyPages: HeaderBytes | undefined;
  /** Aborted when no more rounds are wanted. */
  readonly force: AbortSignal | undefined;
}

/** What is known of the container as it stands frozen. */
export interface FrozenState {
  readonly groups: Promise<GuestGroups>;
  readonly startedAt: string | undefined;
  /** As `criuDump` wants it. @throws if what has gone over of it is its past now */
  readonly frozenAnew: (ran: boolean) => Promise<void>;
}

/** The source's end of one mode. */
export interface MemorySender {
  readonly mode: MemoryMode;
  /** Why this mode, in words. */
  readonly reason: string;
  /** While the container runs: whatever goes ahead. Returns when it is time to freeze; soon after `force` was aborted. @param between called between two rounds, with the number of the next */
  rounds(between: (round: number) => Promise<void>): Promise<void>;
  /** The container still runs, and is frozen next: starts what can be started before. */
  prepare(): Promise<void>;
  /** It stands frozen, its ports closed. Dumps it and sends all that the restore needs. @returns the record of the dump, which the destination gets after it */
  dump(frozen: FrozenState): Promise<CheckpointMeta>;
  /** It runs at the destination: sends what is still owed. The frozen copy is killed after this. */
  finish(): Promise<void>;
  /** Ends whatever of it still runs on this host, also in the middle of the others. Idempotent, never throws. */
  end(): Promise<void>;
}

/** When the first images have come (`MemoryReceiver.begun`). */
export class Begun {
  readonly promise: Promise<void>;
  come: () => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => { [this.come, this.#fail] = [resolve, reject]; });
    this.promise.catch(() => undefined); // the receiving tells as well
  }

  /** They come in `work`. */
  async within(work: Promise<void>): Promise<void> {
    await work.catch((error: Error) => {
      this.#fail(error);
      throw error;
    });
  }
}

/** The destination's end. */
export interface MemoryReceiver {
  /** Takes in what comes, to the source's end of `dump`. Begun as soon as the destination is prepared. Whether it is whole says the dump's record, which comes after it. */
  receive(): Promise<void>;
  /** When the runtime can be started, which waits for the rest then. Rejects if that never comes; undefined where it must be started when all is there. */
  readonly begun: Promise<void> | undefined;
  /** Where the memory is that is not in the images, if it comes later. */
  readonly elsewhere: PageSource | undefined;
  /** It runs here: takes in what is still owed. */
  finish(): Promise<void>;
  end(): Promise<void>;
}

/** This host's abilities, for the other one. */
export async function memoryAbilities(parts: Pick<HostParts, 'options'>, policy: HaulPolicy): Promise<MemoryAbilities> {
  return await readMemoryAbilities(parts.options, policy);
}

/** Post-copy's images: all but the memory. */
const otherImagesBytes = 64 * 1024 * 1024;

/**
 * Where the images of a haul lie: in memory, but for those of pre-copy, which may come to many times the memory.
 * @param bytes the container's memory; undefined if it is not known
 * @param more of it will be needed beside the images
 */
export function memoryFolder(mode: unknown, bytes: unknown, more: number, log: Log): { readonly bytes: number; readonly log: Log } | undefined {
  if (mode === 'pre-copy' || typeof bytes !== 'number') return undefined;
  return { bytes: (mode === 'post-copy' ? 0 : bytes) + otherImagesBytes + more, log };
}

/** Chooses the mode. @param wanted the caller's wish @param theirs what the destination says of itself */
export async function senderFor(about: Omit<SourceMemoryContext, 'earlyPages'>, wanted: MemoryMode | undefined, theirs: unknown): Promise<MemorySender> {
  const destination = readAbilities(theirs);
  const size = headerBytesOf(about.facts.criu);
  const context: SourceMemoryContext = { ...about, earlyPages: destination.pageHeader === size ? size : undefined };
  const ours = await memoryAbilities(context.parts, context.policy);
  const servesPages = ours.servesPages ?? watchdogProblem(shortestWatchdog(context.parts, context.instance)) ?? null;
  const plan = chooseMode(context.policy, wanted, { ...ours, servesPages }, destination, await memoryBytes(context.parts, context.instance));
  switch (plan.mode) {
    case 'stop-and-copy': return new StopAndCopySender(context, plan.reason);
    case 'pre-copy': return new PreCopySender(context, plan);
    case 'post-copy': return new PostCopySender(context, plan.reason);
  }
}

/** The end that fits to the source's choice. @param mode as the source's message `memory` names it @throws HAUL_PROTOCOL if it is none, or not one that this host permits */
export async function receiverFor(context: MemoryContext, mode: unknown): Promise<MemoryReceiver> {
  const { takesPages } = await memoryAbilities(context.parts, context.policy);
  if (mode === 'stop-and-copy') return new StopAndCopyReceiver(context);
  if (mode === 'pre-copy') return new PreCopyReceiver(context, takesPages === null);
  if (mode === 'post-copy' && takesPages === null) return new PostCopyReceiver(context);
  throw new HaulierError('HAUL_PROTOCOL', { reason: `memory by ${JSON.stringify(mode)}, which this host does not do: ${takesPages}` });
}

/**
 * How the memory of a running container comes to another host, by the operator's policy and what both hosts can do.
 *
 * Post-copy runs the container at the destination before its memory is there. A source, a service or a network that fails in those
 * seconds ends it, as a machine with broken memory would: that is the operator's to permit, on both hosts.
 */
import type { MemoryMode } from '../progress.js';

/** `[haulier] haul_mode`, and what may be used where the mode is left open or a haul is forced. */
export interface HaulPolicy {
  readonly mode: 'auto' | MemoryMode;
  /** `auto`: memory of so many MiB is worth copying ahead; each round of that stops the container for a moment. */
  readonly preCopyFromMiB?: number;
  readonly permitPostCopy: boolean;
}

/** What a host can do, as plain JSON: for each of them why not, or null. The destination says its own in `prepared`. */
export interface MemoryAbilities {
  /** Needed at the source for pre-copy. */
  readonly tracksDirty: string | null;
  /** Needed at the source for post-copy. */
  readonly servesPages: string | null;
  /** Needed at the destination for post-copy. */
  readonly takesPages: string | null;
  /** Bytes of a header of its criu's page protocol; undefined: it does not say. */
  readonly pageHeader?: number | undefined;
}

/** What was chosen. */
export interface MemoryPlan {
  readonly mode: MemoryMode;
  /** In words. */
  readonly reason: string;
  /** A haul that is forced while it copies ahead may end as post-copy. */
  readonly mayTurn: boolean;
}

/** True if this host's operator permits post-copy. */
export const permitsPostCopy = ({ mode, permitPostCopy }: HaulPolicy): boolean => mode === 'post-copy' || permitPostCopy;

/** Below this a stop-and-copy freeze is hardly longer than the stops of the rounds that would shorten it. */
const usualPreCopyFromMiB = 256;

/**
 * Chooses. What is left open becomes post-copy where it is permitted, pre-copy where the kernel can and the memory is large enough, else stop-and-copy.
 * @param asked instead of the policy's mode; a mode that cannot be had becomes stop-and-copy, which always can
 * @param memoryBytes what would be copied
 */
export function chooseMode(policy: HaulPolicy, asked: MemoryMode | undefined, source: MemoryAbilities, destination: MemoryAbilities, memoryBytes: number): MemoryPlan {
  const wanted = asked ?? policy.mode;
  const noPreCopy = source.tracksDirty === null ? undefined : `no pre-copy: ${source.tracksDirty}`;
  const noPostCopy = whyNoPostCopy(policy, source, destination);
  const asWanted = asked ? 'asked for' : `haul_mode = ${policy.mode}`;
  if (wanted === 'stop-and-copy') return { mode: wanted, reason: asWanted, mayTurn: false };
  if (wanted === 'post-copy' && noPostCopy === undefined) return { mode: wanted, reason: asWanted, mayTurn: false };
  if (wanted === 'pre-copy') return noPreCopy === undefined ? { mode: 'pre-copy', reason: asWanted, mayTurn: noPostCopy === undefined } : { mode: 'stop-and-copy', reason: noPreCopy, mayTurn: false };
  if (noPostCopy === undefined) return { mode: 'post-copy', reason: 'post-copy is permitted', mayTurn: false };
  if (wanted === 'post-copy') return { mode: 'stop-and-copy', reason: noPostCopy, mayTurn: false };
  const notWorth = noPreCopy ?? whyNotWorth(policy, memoryBytes);
  if (notWorth === undefined) return { mode: 'pre-copy', reason: 'the kernel tracks dirty memory', mayTurn: false };
  return { mode: 'stop-and-copy', reason: `${notWorth}; ${noPostCopy}`, mayTurn: false };
}

function whyNotWorth({ preCopyFromMiB = usualPreCopyFromMiB }: HaulPolicy, memoryBytes: number): string | undefined {
  const mib = Math.round(memoryBytes / 1024 ** 2);
  return memoryBytes < preCopyFromMiB * 1024 ** 2 ? `no pre-copy: its memory is only ${mib} MiB (haul_pre_copy_from)` : undefined;
}

function whyNoPostCopy(policy: HaulPolicy, source: MemoryAbilities, destination: MemoryAbilities): string | undefined {
  if (!permitsPostCopy(policy)) return 'no post-copy: it is not permitted here (haul_permit_post_copy)';
  if (source.servesPages !== null) return `no post-copy: at the source, ${source.servesPages}`;
  if (destination.takesPages !== null) return `no post-copy: at the destination, ${destination.takesPages}`;
  if (source.pageHeader !== undefined && destination.pageHeader !== undefined && source.pageHeader !== destination.pageHeader) return 'no post-copy: the criu of one side is 4.2 or newer, that of the other is older';
  return undefined;
}

/** Reads what the other host says of itself. Whatever it does not say, it cannot. */
export function readAbilities(said: unknown): MemoryAbilities {
  const value = (typeof said === 'object' && said !== null ? said : {}) as Partial<Record<keyof MemoryAbilities, unknown>>;
  const read = (name: keyof MemoryAbilities): string | null => (value[name] === null ? null : String(value[name] ?? 'it does not say that it can').slice(0, 200));
  return { tracksDirty: read('tracksDirty'), servesPages: read('servesPages'), takesPages: read('takesPages'), ...(typeof value.pageHeader === 'number' ? { pageHeader: value.pageHeader } : {}) };
}

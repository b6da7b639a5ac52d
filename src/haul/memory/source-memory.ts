/** The memory of a container that leaves: copied ahead, dumped, sent, and, after a post-copy dump, given out page by page. */
import type { Duplex } from 'node:stream';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { criuDump } from '../../container/checkpoint/criu-dump.js';
import { imageFiles, type CheckpointPaths } from '../../container/checkpoint/images.js';
import { criuLazyDump } from '../../container/checkpoint/lazy-dump.js';
import type { HostParts } from '../../container/parts.js';
import { sendImages } from '../live/memory-images.js';
import type { HaulMode, HaulRound } from '../progress.js';
import type { HaulChannel } from '../wire/channel.js';
import { endAhead, parentOptions, preDump, sendAhead } from './ahead.js';
import type { MemoryPlan } from './mode.js';
import { relayPages } from './relay.js';
import { whyStop } from './stop-rule.js';

const pageBytes = 4096;

/** See above; in the order of its methods. */
export class SourceMemory {
  readonly rounds: HaulRound[] = [];
  #mode: HaulMode;
  #reason: string;
  #parents = 0;
  #pages: Duplex | undefined;
  #served: Promise<void> | undefined;

  constructor(private readonly parts: HostParts, private readonly instance: string, private readonly paths: CheckpointPaths, private readonly channel: HaulChannel, private readonly plan: MemoryPlan, private readonly operation: Operation) {
    this.#mode = plan.mode;
    this.#reason = plan.reason;
  }

  get mode(): HaulMode {
    return this.#mode;
  }

  /** Why this mode, and what ended the rounds, in words. */
  get reason(): string {
    return this.#reason;
  }

  /** Copies what it can while the container runs. @param force aborted when it shall end @param onRound after each */
  async copyAhead(force: AbortSignal | undefined, onRound: (round: HaulRound) => void): Promise<void> {
    const { parts, instance, paths, channel, operation } = this;
    const { signal, log } = operation;
    const pages: number[] = [];
    let why = this.#mode === 'pre-copy' ? undefined : '';
    while (why === undefined && !force?.aborted) {
      const round = pages.length + 1;
      const began = performance.now();
      try {
        pages.push(await preDump(parts, instance, paths, round, signal));
      } catch (error) {
        if (!isHaulierError(error, 'RUNTIME_FAILED', 'SUSPEND_FAILED')) throw error;
        // what this round has looked at counts as clean now, so that the rounds before are of no use any more
        log.warn({ err: error, round }, `memory cannot be copied ahead: ${error.message}`);
        this.#mode = 'stop-and-copy';
        this.#reason += `; all at once, because round ${round} failed: ${String(error.details['reason'])}`;
        return endAhead(channel, 0);
      }
      const bytes = await sendAhead(channel, paths, round, signal);
      this.#parents = round;
      const stats: HaulRound = { what: 'memory', round, bytes, ms: Math.round(performance.now() - began) };
      this.rounds.push(stats);
      log.info({ ...stats, pages: pages.at(-1) }, 'memory copied ahead');
      onRound(stats);
      why = whyStop(pages);
    }
    endAhead(channel, this.#parents);
    if (this.#mode === 'pre-copy') this.#reason += `; ${why ?? 'it was forced'}`;
    if (this.#mode === 'pre-copy' && force?.aborted && this.plan.mayTurn) {
      this.#mode = 'post-copy';
      this.#reason += ', with post-copy';
    }
  }

  /** Of a container that stands frozen. @throws SUSPEND_FAILED, the signal's reason */
  async dump(): Promise<void> {
    const { parts, instance, paths, operation: { signal } } = this;
    const more = parentOptions(this.#parents);
    if (this.#mode !== 'post-copy') return await criuDump(parts, instance, paths, signal, more);
    const { pages, served } = await criuLazyDump(parts, instance, paths, signal, more);
    this.#pages = pages;
    this.#served = served;
  }

  /** Sends what was dumped; from then on the destination may ask for pages. @returns bytes */
  async send(): Promise<number> {
    const files = await imageFiles(this.paths);
    await sendImages(this.channel, this.paths.images, files, this.operation.signal);
    const pages = this.#pages;
    if (pages) void relayPages(this.channel, 'source', pages).catch(() => undefined).finally(() => pages.destroy());
    return Object.values(files).reduce((sum, size) => sum + size, 0);
  }

  /** True if the destination needs this host until `served`. */
  get paging(): boolean {
    return this.#served !== undefined;
  }

  /** Waits until the destination has all pages. @throws HAUL_LOST if it will never have them */
  async served(): Promise<void> {
    await this.#served?.catch((error: unknown) => {
      throw new HaulierError('HAUL_LOST', { reason: 'it has not asked for all of the memory' }, { cause: error });
    });
  }

  /** Gives nothing out any more. */
  end(): void {
    this.#pages?.destroy();
  }
}

/** Bytes of memory that a container has, for its pages. */
export const bytesOf = (pages: number): number => pages * pageBytes;

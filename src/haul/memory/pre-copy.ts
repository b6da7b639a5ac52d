/**
 * Pre-copy: memory goes ahead in rounds while the container runs, and only the last difference while it stands frozen (P.Haul).
 * One message's worth a round: a stream `round` says its number, then come its images; number 0 says that the final ones follow.
 */
import { mkdir } from 'node:fs/promises';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { imageFiles, type CheckpointMeta } from '../../container/checkpoint/images.js';
import type { PageSource } from '../../container/checkpoint/page-daemon.js';
import type { FrozenState, MemoryContext, MemoryReceiver, MemorySender, SourceMemoryContext } from '../live/memory.js';
import { receiveImages, sendImages } from '../live/memory-images.js';
import { StopAndCopyReceiver, StopAndCopySender } from '../live/memory-stop.js';
import { haulStep } from '../live/steps.js';
import type { MemoryMode } from '../progress.js';
import { aheadFolder, emptyAhead, joinAhead, parentOptions, preDump } from './ahead.js';
import type { MemoryPlan } from './mode.js';
import { PostCopyReceiver, PostCopySender } from './post-copy.js';
import { maxMemoryRounds, whyStop } from './stop-rule.js';

const streamName = 'round';

/** See above. */
export class PreCopySender implements MemorySender {
  #final: MemorySender | undefined;
  mode: MemoryMode = 'pre-copy';
  reason: string;

  constructor(private readonly context: SourceMemoryContext, private readonly plan: MemoryPlan) {
    this.reason = plan.reason;
  }

  async rounds(between: (round: number) => Promise<void>): Promise<void> {
    const { tracker, force } = this.context;
    tracker.stage('pre-dumping');
    const pages: number[] = [];
    let why: string | undefined;
    while (why === undefined && !force?.aborted) {
      const round = pages.length + 1;
      if (round > 1) await between(round);
      haulStep(this.context.operation, 'haul.source.ahead');
      try {
        pages.push(await this.#round(round));
      } catch (error) {
        if (!isHaulierError(error, 'SUSPEND_FAILED')) throw error;
        // what this round has looked at counts as clean now: the rounds before are of no use any more
        await emptyAhead(this.context.paths, round);
        this.context.operation.log.warn({ err: error, round }, `memory cannot be copied ahead: ${error.message}`);
        return this.#end(0, false, `round ${round} of copying ahead failed (${String(error.details['reason'])})`);
      }
      why = whyStop(pages);
    }
    const turns = why === undefined && this.plan.mayTurn;
    this.#end(pages.length, turns, why ?? `forced after ${pages.length} rounds`);
  }

  async prepare(): Promise<void> {
    await this.#there.prepare();
  }

  async dump(frozen: FrozenState): Promise<CheckpointMeta> {
    return await this.#there.dump(frozen);
  }

  async finish(): Promise<void> {
    await this.#there.finish();
  }

  async end(): Promise<void> {
    await this.#final?.end();
  }

  /** @returns pages that criu wrote */
  async #round(round: number): Promise<number> {
    const { parts, instance, paths, operation: { signal, log }, channel, tracker } = this.context;
    const account = tracker.begin('memory', round, 0);
    const pages = await preDump(parts, instance, paths, round, signal);
    const images = aheadFolder(paths, round);
    const files = await imageFiles({ images });
    const bytes = Object.values(files).reduce((sum, size) => sum + size, 0);
    account.expect(bytes);
    channel.openStream(streamName, { name: streamName, round }).end();
    await sendImages(channel, images, files, signal, (sent) => account.at(sent));
    account.end(bytes);
    await emptyAhead(paths, round);
    log.info({ round, pages, bytes }, 'memory copied ahead');
    return pages;
  }

  /** The rounds are over. @param rounds those that count @param lazy the rest comes when it runs there */
  #end(rounds: number, lazy: boolean, why: string): void {
    const { context, plan } = this;
    this.mode = lazy ? 'post-copy' : rounds > 0 ? 'pre-copy' : 'stop-and-copy';
    this.reason = `${plan.reason}; ${why}`;
    const more = parentOptions(rounds);
    this.#final = lazy ? new PostCopySender(context, this.reason, more) : new StopAndCopySender(context, this.reason, more);
    context.channel.openStream(streamName, { name: streamName, round: 0, rounds, lazy }).end();
    Object.assign(context.tracker, { mode: this.mode, reason: this.reason });
  }

  get #there(): MemorySender {
    if (!this.#final) throw new HaulierError('HAUL_PROTOCOL', { reason: 'a final dump before the rounds are over' });
    return this.#final;
  }
}

/** The other end. */
export class PreCopyReceiver implements MemoryReceiver {
  readonly begun = undefined; // the source may turn to post-copy, which the runtime must know
  #final: MemoryReceiver | undefined;

  constructor(private readonly context: MemoryContext, private readonly mayBeLazy: boolean) {}

  async receive(): Promise<void> {
    const { channel, operation: { signal }, paths } = this.context;
    for (let count = 0; count <= maxMemoryRounds; count++) {
      const stream = await channel.acceptStream(streamName, signal);
      stream.resume();
      const { round, rounds, lazy } = stream.head;
      if (round === 0) {
        if (lazy === true && !this.mayBeLazy) throw new HaulierError('HAUL_PROTOCOL', { reason: 'post-copy, which this host does not permit' });
        await joinAhead(paths, Number(rounds));
        this.#final = lazy === true ? new PostCopyReceiver(this.context) : new StopAndCopyReceiver(this.context);
        return await this.#final.receive();
      }
      if (round !== count + 1) throw new HaulierError('HAUL_PROTOCOL', { reason: `round ${JSON.stringify(round)} of memory where ${count + 1} was due` });
      const images = aheadFolder(paths, round);
      await mkdir(images, { mode: 0o700 });
      await receiveImages(channel, images, signal);
    }
    throw new HaulierError('HAUL_PROTOCOL', { reason: 'too many rounds of memory' });
  }

  get elsewhere(): PageSource | undefined {
    return this.#final?.elsewhere;
  }

  async finish(): Promise<void> {
    await this.#final?.finish();
  }

  async end(): Promise<void> {
    await this.#final?.end();
  }
}

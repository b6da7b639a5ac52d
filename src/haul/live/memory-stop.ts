/** Stop and copy: all memory is dumped and sent while the container stands frozen. Works with every kernel and every criu. */
import { together } from '../../base/together.js';
import { criuDump, describeDump, memoryBytes, ReadyDump } from '../../container/checkpoint/criu-dump.js';
import type { CheckpointMeta } from '../../container/checkpoint/images.js';
import { chooseNetworkLock } from '../../container/checkpoint/network-lock.js';
import { shortestWatchdog } from '../../container/checkpoint/watchdog.js';
import { Begun, type FrozenState, type MemoryContext, type MemoryReceiver, type MemorySender, type SourceMemoryContext } from './memory.js';
import { receiveImages, sendImages, sendRuntimeImage, without } from './memory-images.js';
import { PagesAhead } from './pages-ahead.js';
import { haulStep } from './steps.js';

/** See above. */
export class StopAndCopySender implements MemorySender {
  readonly mode = 'stop-and-copy';
  #ready: ReadyDump | undefined;
  #gone = '';

  /** @param more options of the dump: the rounds before it */
  constructor(private readonly context: SourceMemoryContext, readonly reason: string, private readonly more: readonly string[] = []) {}

  async rounds(): Promise<void> {
    const { parts, instance, tracker } = this.context;
    tracker.expectMemory(await memoryBytes(parts, instance));
  }

  async prepare(): Promise<void> {
    const { parts, instance, channel, operation, paths } = this.context;
    this.#ready = await ReadyDump.prepare(parts, instance, paths, operation.signal, this.more);
    this.#gone = await sendRuntimeImage(channel, paths.images, operation.signal);
  }

  async dump({ groups, startedAt, frozenAnew }: FrozenState): Promise<CheckpointMeta> {
    const { parts, instance, channel, operation, paths, facts, tracker, takesGrowing } = this.context;
    const { signal } = operation;
    haulStep(operation, 'haul.source.dump');
    await chooseNetworkLock(parts, instance, 'mute');
    const round = tracker.begin('memory', 0, tracker.progress.memory.total);
    let early = 0;
    const ahead = takesGrowing ? new PagesAhead(channel, paths.images, signal, (sent) => round.at(early = sent)) : undefined;
    try {
      const [noted] = await together(groups, criuDump(parts, instance, paths, signal, this.more, { frozenAnew: async (ran) => {
        await frozenAnew(ran);
        await chooseNetworkLock(parts, instance, 'mute');
      }, ...(this.#ready ? { ready: this.#ready } : {}) }));
      haulStep(operation, 'haul.source.memory');
      tracker.mark('dump');
      const meta = await describeDump(paths, { host: facts, groups: noted, startedAt, watchdogSeconds: shortestWatchdog(parts, instance) });
      round.expect(meta.bytes);
      const rest = ahead ? await ahead.end(meta.files) : meta.files;
      await sendImages(channel, paths.images, without(rest, this.#gone), signal, (sent) => round.at(early + sent));
      round.end(meta.bytes);
      return meta;
    } catch (error) {
      await ahead?.giveUp(error as Error);
      throw error;
    }
  }

  async finish(): Promise<void> {
    // all of it is there
  }

  async end(): Promise<void> {
    await this.#ready?.end(); // a criu that has begun is ended by whoever lets the container go on
  }
}

/** The other end. */
export class StopAndCopyReceiver implements MemoryReceiver {
  readonly elsewhere = undefined;
  readonly #begun = new Begun();

  constructor(private readonly context: MemoryContext) {}

  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  async receive(): Promise<void> {
    const { channel, operation, paths } = this.context;
    await this.#begun.within(receiveImages(channel, paths.images, operation.signal, this.#begun.come));
  }

  async finish(): Promise<void> {
    // all of it is here
  }

  async end(): Promise<void> {
    // nothing runs
  }
}

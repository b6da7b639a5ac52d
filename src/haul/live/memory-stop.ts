/** Stop and copy: all memory is dumped and sent while the container stands frozen. Works with every kernel and every criu. */
import { together } from '../../base/together.js';
import { criuDump, describeDump, memoryBytes } from '../../container/checkpoint/criu-dump.js';
import type { CheckpointMeta } from '../../container/checkpoint/images.js';
import { chooseNetworkLock } from '../../container/checkpoint/network-lock.js';
import { shortestWatchdog } from '../../container/checkpoint/watchdog.js';
import type { FrozenState, MemoryContext, MemoryReceiver, MemorySender, SourceMemoryContext } from './memory.js';
import { receiveImages, sendImages } from './memory-images.js';
import { haulStep } from './steps.js';

/** See above. */
export class StopAndCopySender implements MemorySender {
  readonly mode = 'stop-and-copy';

  /** @param more options of the dump: the rounds before it */
  constructor(private readonly context: SourceMemoryContext, readonly reason: string, private readonly more: readonly string[] = []) {}

  async rounds(): Promise<void> {
    const { parts, instance, tracker } = this.context;
    tracker.expectMemory(await memoryBytes(parts, instance));
  }

  async dump({ groups, startedAt }: FrozenState): Promise<CheckpointMeta> {
    const { parts, instance, channel, operation, paths, facts, tracker } = this.context;
    const { signal } = operation;
    haulStep(operation, 'haul.source.dump');
    await chooseNetworkLock(parts, instance, 'mute');
    const [noted] = await together(groups, criuDump(parts, instance, paths, signal, this.more));
    haulStep(operation, 'haul.source.memory');
    const meta = await describeDump(paths, { host: facts, groups: noted, startedAt, watchdogSeconds: shortestWatchdog(parts, instance) });
    const round = tracker.begin('memory', 0, meta.bytes);
    await sendImages(channel, paths.images, meta.files, signal, (sent) => round.at(sent));
    round.end(meta.bytes);
    return meta;
  }

  async finish(): Promise<void> {
    // all of it is there
  }

  async end(): Promise<void> {
    // criu is ended by whoever lets the container go on
  }
}

/** The other end. */
export class StopAndCopyReceiver implements MemoryReceiver {
  readonly elsewhere = undefined;

  constructor(private readonly context: MemoryContext) {}

  async receive(): Promise<void> {
    const { channel, operation, paths } = this.context;
    await receiveImages(channel, paths.images, operation.signal);
  }

  async finish(): Promise<void> {
    // all of it is here
  }

  async end(): Promise<void> {
    // nothing runs
  }
}

/**
 * Post-copy: all but the memory is dumped and sent while the container stands frozen; it runs at the destination, and its memory comes
 * from the frozen copy: first what it asks for, then the rest. Only on the haul's own channel: criu listens nowhere, on either host.
 */
import { writeFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, messageOf } from '../../base/errors.js';
import { together } from '../../base/together.js';
import { describeDump, memoryBytes } from '../../container/checkpoint/criu-dump.js';
import { readHostFacts } from '../../container/checkpoint/facts.js';
import { freezerSwitch } from '../../container/checkpoint/freezer.js';
import { checkpointPaths, type CheckpointMeta } from '../../container/checkpoint/images.js';
import { ReadyLazyDump, type LazyDump } from '../../container/checkpoint/lazy-dump.js';
import type { PageSource } from '../../container/checkpoint/page-daemon.js';
import { wasResumed } from '../../container/checkpoint/restore.js';
import { shortestWatchdog } from '../../container/checkpoint/watchdog.js';
import { cgroupsPath } from '../../container/parts.js';
import { Begun, type FrozenState, type MemoryContext, type MemoryReceiver, type MemorySender, type SourceMemoryContext } from '../live/memory.js';
import { receiveImages, sendImages, sendRuntimeImage, without } from '../live/memory-images.js';
import { haulStep, settledStep } from '../live/steps.js';
import { EarlyPages, earlyRanges, sendEarly } from './early-pages.js';
import { PageDesk } from './page-desk.js';
import { headerBytesOf } from './page-protocol.js';
import { relayPages } from './relay.js';

/** The kernel stops the processes by itself; this is only its head start. */
const headStartMs = 20;

/** The source's end. */
export class PostCopySender implements MemorySender {
  readonly mode = 'post-copy';
  #ready: ReadyLazyDump | undefined;
  #gone = '';
  #dump: LazyDump | undefined;
  #relay: Promise<void> | undefined;
  #sent = 0;

  /** @param more options of the dump: the rounds before it */
  constructor(private readonly context: SourceMemoryContext, readonly reason: string, private readonly more: readonly string[] = []) {}

  async rounds(): Promise<void> {
    const { parts, instance, tracker } = this.context;
    tracker.expectMemory(await memoryBytes(parts, instance));
  }

  async prepare(): Promise<void> {
    const { parts, instance, channel, operation, paths } = this.context;
    this.#ready = await ReadyLazyDump.prepare(parts, instance, paths, operation.signal, this.more);
    this.#gone = await sendRuntimeImage(channel, paths.images, operation.signal);
  }

  async dump({ groups, startedAt }: FrozenState): Promise<CheckpointMeta> {
    const { parts, instance, channel, operation, paths, facts, tracker } = this.context;
    haulStep(operation, 'haul.source.dump');
    if (!this.#ready) throw new HaulierError('HAUL_PROTOCOL', { reason: 'a dump that was not prepared' });
    const [noted, dump] = await together(groups, this.#ready.run(operation.signal).then((begun) => (this.#dump = begun)));
    haulStep(operation, 'haul.source.memory');
    tracker.mark('dump');
    const meta = await describeDump(paths, { host: facts, groups: noted, startedAt, watchdogSeconds: shortestWatchdog(parts, instance) });
    await sendImages(channel, paths.images, without(meta.files, this.#gone), operation.signal, (sent) => { this.#sent = sent; });
    // the other side must know at once: what it runs, or is about to run, waits for pages
    this.#relay = this.#serve(dump.pages).catch((error: unknown) => { throw channel.abort(error as Error); });
    void this.#relay.catch(() => undefined).finally(() => dump.pages.destroy());
    return meta;
  }

  async #serve(pages: Duplex): Promise<void> {
    const { channel, operation, paths, earlyPages } = this.context;
    const onBytes = (bytes: number): void => { this.#sent += bytes; };
    if (earlyPages) {
      const ranges = await earlyRanges(paths.images).catch((error: unknown): [] => {
        operation.log.warn({ err: error }, `no pages go ahead: ${messageOf(error)}`);
        return [];
      });
      await sendEarly(channel, pages, ranges, earlyPages, onBytes); // no abort: it may have been offered by now
    }
    await relayPages(channel, 'source', pages, { onBytes });
  }

  async finish(): Promise<void> {
    const { operation, tracker } = this.context;
    settledStep(operation, 'haul.source.pages');
    const round = tracker.begin('memory', 0, tracker.progress.memory.total);
    const timer = setInterval(() => round.at(this.#sent), 200);
    try {
      await this.#dump?.served;
      await this.#relay;
    } catch (error) {
      throw new HaulierError('HAUL_LOST', { reason: 'it has not taken all of the memory' }, { cause: error });
    } finally {
      clearInterval(timer);
      round.end(this.#sent);
    }
  }

  async end(): Promise<void> {
    await this.#ready?.end();
  }
}

/** The destination's end. */
export class PostCopyReceiver implements MemoryReceiver {
  #relay: Promise<void> | undefined;
  #desk: PageDesk | undefined;
  readonly #begun = new Begun();

  constructor(private readonly context: MemoryContext) {}

  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  async receive(): Promise<void> {
    const { parts, channel, operation, paths } = this.context;
    const size = headerBytesOf((await readHostFacts(parts.options)).criu);
    const early = new EarlyPages();
    void early.receive(channel, size);
    this.#desk = new PageDesk(early, size);
    await this.#begun.within(receiveImages(channel, paths.images, operation.signal, this.#begun.come));
  }

  readonly elsewhere: PageSource = (daemon) => {
    this.#relay = this.#carry(daemon);
  };

  async finish(): Promise<void> {
    settledStep(this.context.operation, 'haul.destination.pages');
    await this.#relay;
  }

  async end(): Promise<void> {
    // the page daemon goes with the container
  }

  async #carry(daemon: Duplex): Promise<void> {
    const { parts: { log }, instance, channel } = this.context;
    try {
      await relayPages(channel, 'destination', daemon, this.#desk ? { desk: this.#desk } : {});
    } catch (error) {
      log.error({ err: error, instance }, `the memory of ${instance} is lost with its source: ${messageOf(error)}`);
      if (!daemon.readableEnded && !daemon.destroyed) await this.#stop(); // one that has ended before is its shell's business
    } finally {
      daemon.destroy();
    }
  }

  /** Before the page daemon hears of it: not one instruction shall run on empty pages. The page daemon's shell and the `PageKeeper` do the rest. */
  async #stop(): Promise<void> {
    const { parts, instance } = this.context;
    if (!(await wasResumed(checkpointPaths(parts.store.paths(instance))))) return; // the restore fails, and is taken back
    const { file, frozen } = freezerSwitch(parts.cgroups, cgroupsPath(parts, instance));
    await writeFile(file, frozen).catch(() => undefined); // it has ended
    await sleep(headStartMs);
  }
}

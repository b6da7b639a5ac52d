/** The host that a running container comes to. */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeAtomic } from '../../base/atomic.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { together, untilAborted } from '../../base/together.js';
import { arrivedPid, letRun, mountWhole, prepareArrival, ReadyRestore, recordArrived, takeImages } from '../../container/checkpoint/arrival.js';
import { criuConfig } from '../../container/checkpoint/criu-options.js';
import { misfits, readHostFacts, type HostFacts } from '../../container/checkpoint/facts.js';
import { checkFiles, checkpointPaths, makeCheckpointFolders, type CheckpointMeta } from '../../container/checkpoint/images.js';
import { killFrozen } from '../../container/checkpoint/dump.js';
import { canStayFrozen } from '../../container/checkpoint/cgroup-image.js';
import { thaw } from '../../container/checkpoint/freezer.js';
import { settle } from '../../container/checkpoint/in-flight.js';
import { resumesLazily } from '../../container/checkpoint/lazy.js';
import { lostPages } from '../../container/checkpoint/page-daemon.js';
import { wasResumed } from '../../container/checkpoint/restore.js';
import { parseRestoreStats, readStatsFile } from '../../container/checkpoint/stats.js';
import { destroyContainer } from '../../container/destroy.js';
import { announce } from '../../container/network/announce.js';
import type { HostParts } from '../../container/parts.js';
import type { ContainerSpec, VifSpec } from '../../container/spec.js';
import { isAnothers } from '../../container/state.js';
import { closeView, openView, viewPaths } from '../disk/layer-view.js';
import { receiveOwnFiles } from '../disk/own-files.js';
import { rebaseImages } from '../disk/rebase.js';
import { beginArrival, discardArrival, land, type Arrival, type ReceiveOptions } from '../disk/receive.js';
import { receiveRounds } from '../disk/rounds.js';
import type { FrozenParts } from '../progress.js';
import type { HaulSettings } from '../settings.js';
import type { HaulChannel } from '../wire/channel.js';
import { memoryAbilities, memoryFolder, receiverFor, type MemoryReceiver } from './memory.js';
import { mutePorts, ReadyPorts, unmutePorts } from './mute.js';
import { neighbourLines } from './neighbours.js';
import { receiveStopped, startMute } from './restart.js';
import type { DestinationPhase, DestinationPort } from './protocol.js';
import type { HaulRecord, HaulRecords } from './record.js';
import { haulStep, settledStep } from './steps.js';

/** How long a criu that another life of the service started may still take. */
const settleMs = 60_000;
/** The same where nothing that it makes is wanted any more. */
const endMs = 2000;
/** A container that is this host's is let go in so many tries at once, so far apart; then on the timer of `Hauler`. */
const openTries = 3;
const openPauseMs = 200;
/** Its processes wait for the pages that they touch first: what is announced meanwhile takes the processors from those who bring them. */
const firstPagesMs = 50;
/** And with what is only tidied up. */
const tidyMs = 200;

/** What a destination works with. */
export interface DestinationContext {
  readonly parts: HostParts;
  readonly records: HaulRecords;
  readonly settings: HaulSettings;
  /** Looks after a container from now on. */
  readonly watch: (id: string) => Promise<void>;
  /** Hauls that are decided for this host, and whose container could not be let go yet: `open` is due again, and their records are kept. */
  readonly unopened: Map<string, { open(runs: () => void): Promise<void> }>;
}

/** One haul, seen from its destination; also of one that an earlier life of the service began. */
export class LiveDestination implements DestinationPort {
  #arrival: Arrival | undefined;
  #landed = false;
  #pid: number | undefined;
  #meta: CheckpointMeta | undefined;
  #memory: MemoryReceiver | undefined;
  /** As the source says before it sends any: the restore reads all of it, the last dump may be a small difference. */
  #memoryBytes = 0;
  #restore: ReadyRestore | undefined;
  #parts: FrozenParts = {};
  #marked = 0;
  /** Monitor and runtime, as soon as the source says that it is about to freeze it. */
  #ahead: Promise<void> = Promise.resolve();
  #ports: ReadyPorts | undefined;
  #received: Promise<void> | undefined;
  /** The last difference of the file system is on the disk: the source removes its own copy soon after the commit. */
  #written = Promise.resolve();

  /** @param from where it comes from; after a crash the phase that is on record: then only `settleDestination` works */
  constructor(protected readonly context: DestinationContext, protected haul: Omit<Extract<HaulRecord, { role: 'destination' }>, 'phase'>, protected readonly operation: Operation,
    protected readonly from: { readonly channel: HaulChannel; readonly facts: HostFacts; /** Of a haul by restart, instead: the source's architecture. */ readonly architecture?: string | undefined; readonly respec: ReceiveOptions['respec'] } | DestinationPhase) {}

  /** As it is on this host; undefined before it was offered. */
  get spec(): ContainerSpec | undefined {
    return this.#arrival?.spec;
  }

  get #paused(): boolean | undefined {
    return this.#arrival ? this.#arrival.offer.state.wanted === 'paused' : this.haul.paused;
  }

  async record(phase: DestinationPhase): Promise<void> {
    await this.context.records.write({ ...this.haul, phase, ...(this.#paused ? { paused: true } : {}) });
    settledStep(this.operation, `haul.destination.${phase}`);
  }

  async forget(): Promise<void> {
    await this.context.records.remove(this.haul.haul, 'destination');
  }

  async receive(): Promise<void> {
    const { operation, from, context: { parts, settings: { policy } } } = this;
    const { instance } = this.haul;
    if (typeof from === 'string') throw new HaulierError('HAUL_LOST', { reason: 'there is no connection' });
    const { channel, facts, architecture, respec } = from;
    const { signal } = operation;
    const [reason] = architecture === undefined ? misfits(facts, await readHostFacts(parts.options)) : architecture === process.arch ? [] : [`its programs are for ${architecture}`];
    if (reason) throw new HaulierError('HAUL_FAILED', { reason: `it could not go on here: ${reason}` });
    haulStep(operation, 'haul.destination.offer');
    const arrival = await beginArrival(parts, channel, { instance, ...(respec ? { respec } : {}) }, operation);
    this.#arrival = arrival;
    if (this.haul.restart) return await receiveStopped(parts, channel, arrival, operation, () => { this.#landed = true; });
    await receiveOwnFiles(channel, arrival.folder, signal);
    haulStep(operation, 'haul.destination.land');
    await land(parts, { ...arrival, offer: { ...arrival.offer, state: { ...arrival.offer.state, wanted: 'suspended', suspendedFor: 'user' } } }, 'arriving');
    this.#landed = true;
    haulStep(operation, 'haul.destination.plug');
    const { folder } = parts.store.paths(instance);
    const paths = checkpointPaths({ folder });
    const upper = await openView(folder, signal);
    await prepareArrival(parts, arrival.spec, arrival.idBase, signal); // after it: two mounts of one disk share one loop device
    await mutePorts(arrival.spec.vifs, signal);
    haulStep(operation, 'haul.destination.prepared');
    channel.send({ type: 'prepared', memory: await memoryAbilities(parts, policy), growing: true });
    const { mode, bytes, watchdogSeconds } = await channel.receive(['memory'], signal);
    if (typeof bytes === 'number') this.#memoryBytes = bytes;
    await makeCheckpointFolders(paths, memoryFolder(mode, bytes, Number(bytes), parts.log)); // its memory comes to be beside the images
    const memory = await receiverFor({ parts, instance, channel, operation, policy, paths }, mode);
    this.#memory = memory;
    haulStep(operation, 'haul.destination.layer');
    const received = this.#received = memory.receive(); // by streams of its own; the messages are the file system's until its last round
    received.catch((error: Error) => channel.abort(error)); // so that the rounds end too
    const lazy = async (about: Pick<CheckpointMeta, 'bytes' | 'watchdogSeconds'>): Promise<boolean> => memory.elsewhere !== undefined || (await resumesLazily(parts, instance, about));
    const standBy = async (isLazy: boolean): Promise<void> => {
      await mountWhole(parts, instance, arrival.idBase);
      channel.signal.throwIfAborted(); // what is started now is not looked for any more
      this.#restore = await ReadyRestore.start(parts, arrival.spec, isLazy);
      await untilAborted(this.#restore.ready(), channel.signal);
    };
    const differs = await receiveRounds(channel, upper, viewPaths(folder).view, signal, {
      standBy: (quiet) => {
        this.#ahead = (async () => {
          await memory.begun;
          if (quiet) await standBy(await lazy({ bytes: Number(bytes), watchdogSeconds: typeof watchdogSeconds === 'number' ? watchdogSeconds : undefined }));
          channel.send({ type: 'standing-by' });
        })();
        this.#ahead.catch((error: Error) => channel.abort(error));
      },
      beforeLast: async () => { // files that are written under a mounted overlay may stay unseen
        await this.#ahead;
        await this.#restore?.withdraw(arrival.idBase);
        this.#restore = undefined;
        await parts.storage.unmountTree(instance);
      },
    });
    if (differs) this.#written = parts.storage.flush(instance); // beside the memory's way and the restore
    this.#written.catch(() => undefined);
    haulStep(operation, 'haul.destination.mount');
    const mounted = this.#ahead.then(async () => {
      if (this.#restore) return;
      if (memory.begun === undefined || typeof bytes !== 'number') return await mountWhole(parts, instance, arrival.idBase); // not all that the runtime must be told is known
      await memory.begun;
      await standBy(await lazy({ bytes, watchdogSeconds: typeof watchdogSeconds === 'number' ? watchdogSeconds : undefined }));
    });
    const [, { meta, neighbours }] = await together(mounted, channel.receive(['images'], signal), received);
    this.#mark();
    haulStep(operation, 'haul.destination.memory');
    const said = meta as CheckpointMeta;
    if (typeof said?.files !== 'object') throw new HaulierError('HAUL_PROTOCOL', { reason: 'no record of the dump' });
    await checkFiles(paths, said);
    await rebaseImages(paths.images, arrival.idBase);
    const lines = neighbourLines(neighbours, arrival.spec.vifs);
    await together(
      takeImages(parts, instance, arrival.idBase, said.groups),
      appendFile(join(parts.store.paths(instance).network, 'inside'), lines.map((line) => `${line}\n`).join('')),
    );
    this.#meta = said;
    if (!this.#restore) await standBy(await lazy(said));
    this.#ports = ReadyPorts.toUnmute(arrival.spec.vifs);
    this.#mark('images');
    if (canStayFrozen(parts.cgroups)) this.#go(said).catch(() => undefined); // nothing of it runs, whatever becomes of the haul; `restore` tells
    await channel.receive(['restore'], signal);
  }

  async #go({ bytes }: CheckpointMeta): Promise<number> {
    if (!this.#restore) throw new HaulierError('HAUL_PROTOCOL', { reason: 'restore before all has come' });
    return await this.#restore.go({ bytes: Math.max(bytes, this.#memoryBytes), elsewhere: this.#memory?.elsewhere });
  }

  async restore(): Promise<void> {
    const { operation, context: { parts } } = this;
    if (this.#arrival && this.haul.restart) {
      haulStep(operation, 'haul.destination.restore');
      await startMute(parts, this.#arrival.spec, operation);
      return settledStep(operation, 'haul.destination.restored');
    }
    if (!this.#meta) throw new HaulierError('HAUL_PROTOCOL', { reason: 'restore before all has come' });
    haulStep(operation, 'haul.destination.restore');
    this.#pid = await this.#go(this.#meta);
    this.#mark('restore');
    await this.#written;
    if (this.#memory?.elsewhere && typeof this.from !== 'string') this.from.channel.signal.throwIfAborted(); // its memory is at the source, and can still be used there
    settledStep(operation, 'haul.destination.restored');
  }

  async runs(): Promise<boolean> {
    const { parts } = this.context;
    const { instance } = this.haul;
    if (this.haul.restart) return (await parts.store.running(instance)) !== undefined;
    const paths = checkpointPaths(parts.store.paths(instance));
    const lost = await lostPages(paths, true);
    // criu may have been frozen in the group, and neither goes on nor dies there
    if (!(await wasResumed(paths))) await (lost ? killFrozen : thaw)(parts, instance);
    if (lost) return false;
    await settle(paths.folder, settleMs, parts.log);
    if (await lostPages(paths, true)) return false;
    this.#pid = await arrivedPid(parts, instance);
    if (this.#pid === undefined) return false;
    return await parts.storage.flush(instance).then(() => true, (error: unknown) => { // not known whether the earlier life of the service came so far
      parts.log.error({ err: error, instance }, `giving up what came of a haul: its disk cannot be written: ${messageOf(error)}`);
      return false;
    });
  }

  /** It runs here: takes in what is still owed. Never throws. */
  async finish(): Promise<void> {
    await this.#memory?.finish();
  }

  /** What it took here, from the last that the source has sent, milliseconds. */
  get parts(): FrozenParts {
    return this.#parts;
  }

  #mark(part?: keyof FrozenParts): void {
    const now = performance.now();
    if (part !== undefined && this.#marked > 0) this.#parts = { ...this.#parts, [part]: Math.round(now - this.#marked) };
    this.#marked = now;
  }

  async open(runs: () => void): Promise<void> {
    const { operation, haul: { haul, instance }, context: { parts: { log }, unopened } } = this;
    this.#mark('commit');
    settledStep(operation, 'haul.destination.open');
    for (let left = openTries; left > 0; await sleep(openPauseMs)) {
      try {
        await this.#letGo(runs);
        return void unopened.delete(haul);
      } catch (error) {
        log.error({ err: error, instance }, `${instance} is this host's, and cannot be let go: ${messageOf(error)}`);
        if (--left === 0) return void unopened.set(haul, this);
      }
    }
  }

  /** Idempotent. @throws whatever keeps it from running, or its record or ports from telling so */
  async #letGo(runs: () => void): Promise<void> {
    const { operation, context: { parts, watch } } = this;
    const { instance } = this.haul;
    const [spec, state] = await Promise.all([parts.store.readSpec(instance), parts.store.readState(instance)]);
    if (!spec || !state || isAnothers(state, parts.store.host) || (state.phase !== 'arriving' && state.phase !== 'ready')) return; // it is being removed, or leaves: its ports are another's
    const spoken = (await this.#ports?.unmute(parts.log)) ?? (await unmutePorts(spec.vifs, parts.log));
    this.#ports = undefined; // it serves once
    if (state.phase === 'arriving') {
      const stands = this.#paused === true;
      const pid = this.#pid ?? (await arrivedPid(parts, instance));
      if (!(await lostPages(checkpointPaths(parts.store.paths(instance)), this.#memory === undefined))) await letRun(parts, instance, stands); // else it is ended as it stands
      this.#mark('open');
      runs();
      void sleep(this.#memory?.elsewhere ? firstPagesMs : 0).then(() => announce(parts, instance, pid));
      operation.log.info({ criu: await readStatsFile(join(checkpointPaths(parts.store.paths(instance)).work, 'stats-restore'), parseRestoreStats) }, 'restored');
      await recordArrived(parts, instance, pid, { startedAt: this.#meta?.startedAt ?? state.startedAt, paused: stands });
    } else void announce(parts, instance);
    await watch(instance);
    if (!spoken) throw new HaulierError('HAUL_FAILED', { reason: 'its ports are mute' });
    if (this.#memory?.elsewhere) await sleep(tidyMs);
    await this.#tidy(spec);
  }

  /** What only the way here needed. Never throws. */
  async #tidy(spec: ContainerSpec): Promise<void> {
    const { parts } = this.context;
    await unmutePorts(spec.vifs, parts.log); // the tables are still there
    try {
      await writeAtomic(parts.store.paths(spec.id).criuConfig, criuConfig);
      await closeView(parts.store.paths(spec.id).folder, parts.log);
    } catch (error) {
      parts.log.error({ err: error, instance: spec.id }, `after a haul: ${messageOf(error)}`);
    }
  }

  async discard(): Promise<void> {
    const { operation, context: { parts } } = this;
    const { instance } = this.haul;
    this.#ports?.leave();
    await this.#memory?.end();
    await this.#received?.catch(() => undefined); // the connection has ended; what still writes would do so into a folder that is being removed
    await this.#restore?.giveUp();
    await this.#ahead.catch(() => undefined);
    await this.#restore?.giveUp(); // begun meanwhile
    const vifs = new Map<string, VifSpec>([...(this.#arrival?.spec.vifs ?? []), ...(await parts.plugger.plugged(instance))].map((vif) => [vif.id, vif]));
    const landed = await this.#hasLanded();
    if (landed && typeof this.from === 'string') await this.#endRestore();
    if (landed) await destroyContainer(parts, instance, operation);
    else if (this.#arrival) await discardArrival(parts, this.#arrival);
    if (!landed && (await parts.store.exists(instance))) return; // the ports are that one's
    if (!landed && vifs.size > 0) await parts.plugger.unplugAll(instance, [...vifs.values()]);
    await unmutePorts([...vifs.values()], parts.log);
  }

  /** What an earlier life of the service has begun to restore: it stands frozen, or criu is still at it. */
  async #endRestore(): Promise<void> {
    const { parts } = this.context;
    await settle(checkpointPaths(parts.store.paths(this.haul.instance)).folder, endMs, parts.log); // one that waits for pages would do so for ever
    await killFrozen(parts, this.haul.instance);
  }

  /** One that was here before is not ours to take away. */
  async #hasLanded(): Promise<boolean> {
    const { store } = this.context.parts;
    const { instance } = this.haul;
    if (!(await store.exists(instance))) return false;
    if (this.#landed || this.from === 'restoring') return true;
    const phase = (await store.readState(instance))?.phase;
    return this.from === 'preparing' && (phase === 'arriving' || phase === 'removing');
  }
}

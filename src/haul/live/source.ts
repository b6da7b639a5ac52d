/** The host that a running container leaves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { writeAtomic } from '../../base/atomic.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { together } from '../../base/together.js';
import { mountWhole } from '../../container/checkpoint/arrival.js';
import { noteGroups } from '../../container/checkpoint/cgroup-groups.js';
import { memoryBytes, requireDumpable, requireSpace } from '../../container/checkpoint/criu-dump.js';
import { criuConfig } from '../../container/checkpoint/criu-options.js';
import { finishSuspend, goOn, patienceAfter } from '../../container/checkpoint/dump.js';
import type { HostFacts } from '../../container/checkpoint/facts.js';
import { freeze } from '../../container/checkpoint/freezer.js';
import { checkpointPaths, makeCheckpointFolders } from '../../container/checkpoint/images.js';
import { shortestWatchdog } from '../../container/checkpoint/watchdog.js';
import { announce } from '../../container/network/announce.js';
import { destroyContainer } from '../../container/destroy.js';
import { cgroupsPath, type HostParts } from '../../container/parts.js';
import { requireUnquiesced } from '../../container/quiesce.js';
import type { ContainerSpec } from '../../container/spec.js';
import { openInquiry } from '../client.js';
import { serveLayers } from '../disk/base.js';
import { closeView, openView } from '../disk/layer-view.js';
import { makeOffer } from '../disk/offer.js';
import { sendOwnFiles } from '../disk/own-files.js';
import { LayerSender, type RoundStats } from '../disk/rounds.js';
import type { HaulOptions } from '../progress.js';
import { hasAhead } from '../memory/ahead.js';
import type { HaulSettings } from '../settings.js';
import type { HaulChannel } from '../wire/channel.js';
import { memoryAbilities, memoryFolder, senderFor, type MemorySender } from './memory.js';
import { ReadyPorts, unmutePorts } from './mute.js';
import { readNeighbours } from './neighbours.js';
import { startAgain, stopToHaul, whyRestart, type ContainerLife } from './restart.js';
import type { Outcome, SourceLink, SourcePhase, SourcePort } from './protocol.js';
import type { HaulRecord, HaulRecords } from './record.js';
import { haulStep, settledStep } from './steps.js';
import { HaulTracker } from './tracker.js';

/** Copies of the file system are made while it runs until a round has sent no more than this, or so many were made. */
const enoughBytes = 4 * 1024 * 1024;
const maxRounds = 5;
/** Between two questions what became of a haul: from, to. */
const pauseMs = { first: 250, last: 10_000 };

/** What a source works with. */
export interface SourceContext {
  readonly parts: HostParts;
  readonly records: HaulRecords;
  readonly settings: HaulSettings;
  /** Aborts when the service stops: no more questions are asked then. */
  readonly stopping: AbortSignal;
  /** Waits for memory of a container that runs at the destination; the service does not end before it, if it can help it. */
  readonly untilPaid: (work: Promise<void>) => Promise<void>;
  readonly life: ContainerLife;
}

/** One haul, seen from its source; also of one that an earlier life of the service began. */
export class LiveSource implements SourcePort, SourceLink {
  #channel: HaulChannel | undefined;
  #sender: LayerSender | undefined;
  #facts: HostFacts | undefined;
  #memory: MemorySender | undefined;
  #ports: ReadyPorts | undefined;
  /** The destination says when monitor and runtime wait there for the images. */
  #standsBy = false;
  /** It is stopped here and started there. */
  #restart = false;
  /** How long criu may take to end after a failure. */
  #patienceMs: number | undefined;
  #pause = pauseMs.first;

  constructor(protected readonly context: SourceContext, protected haul: Omit<Extract<HaulRecord, { role: 'source' }>, 'phase'>, protected readonly operation: Operation,
    protected readonly tracker = new HaulTracker(), private readonly options: Pick<HaulOptions, 'mode' | 'force' | 'restart'> = {}) {}

  /** @param channel the haul's own connection; without one only `settleSource` works */
  connect(channel: HaulChannel): void {
    this.#channel = channel;
  }

  get #there(): HaulChannel {
    if (!this.#channel) throw new HaulierError('HAUL_LOST', { reason: 'there is no connection' });
    return this.#channel;
  }

  async record(phase: SourcePhase): Promise<void> {
    if (phase === 'offered') this.operation.throwIfAborted(); // the last moment for it
    await this.context.records.write({ ...this.haul, phase });
    settledStep(this.operation, `haul.source.${phase}`);
  }

  async forget(): Promise<void> {
    settledStep(this.operation, 'haul.source.forget');
    await this.context.records.remove(this.haul.haul, 'source');
  }

  async copy(): Promise<void> {
    const { operation, tracker, context: { parts } } = this;
    const { instance, haul, secret } = this.haul;
    const { signal } = operation;
    const { policy } = this.context.settings;
    haulStep(operation, 'haul.source.offer');
    tracker.stage('preparing');
    const [spec, state] = await Promise.all([parts.store.readSpec(instance), parts.store.readState(instance)]);
    if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance });
    const runs = state.phase === 'ready' && (state.wanted === 'running' || state.wanted === 'paused') && (await parts.store.running(instance));
    if (!runs) throw new HaulierError('INSTANCE_STATE', { instance, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'haul' });
    if (spec.rescue) throw new HaulierError('INSTANCE_STATE', { instance, state: 'rescued', action: 'haul' }); // what it rescues lies here
    await requireUnquiesced(parts, instance, 'haul');
    const { folder } = parts.store.paths(instance);
    const why = this.options.restart && state.wanted === 'running' ? await whyRestart(parts, instance) : undefined;
    this.#restart = why !== undefined;
    if (why === undefined) {
      this.#facts = await requireDumpable(parts, instance);
      await mountWhole(parts, instance, state.idBase);
    } else operation.log.warn({ reason: why }, `hauled by restart, which the operator permits: the container will be stopped here and started at ${this.haul.peer.host}; ${why}`);
    const layers = await parts.storage.layers(instance);
    this.#there.send({ type: 'begin', haul, secret, memory: await memoryAbilities(parts, policy), ...(this.#restart ? { restart: process.arch } : { facts: this.#facts }) });
    this.#there.send({ type: 'offer', offer: makeOffer(spec, state, layers) });
    await serveLayers(this.#there, layers, signal);
    await sendOwnFiles(this.#there, folder, false, signal);
    const view = await openView(folder, signal);
    const { memory: theirs, growing } = await this.#there.receive(['prepared'], signal);
    await parts.pages.settled(instance, signal);
    const bytes = await memoryBytes(parts, instance);
    if (this.#facts) {
      const paths = checkpointPaths({ folder });
      this.#memory = await senderFor({ parts, instance, channel: this.#there, operation, policy, paths, facts: this.#facts, tracker, takesGrowing: growing === true, force: this.options.force }, this.options.mode, theirs);
      if (!(await makeCheckpointFolders(paths, memoryFolder(this.#memory.mode, bytes, 0, parts.log)))) await requireSpace(parts, instance, folder);
      this.#standsBy = growing === true && this.#memory.mode !== 'pre-copy';
    }
    const { mode, reason } = this.#memory ?? { mode: 'restart' as const, reason: why ?? '' };
    Object.assign(tracker, { mode, reason });
    this.#there.send({ type: 'memory', mode, bytes, watchdogSeconds: shortestWatchdog(parts, instance) });
    haulStep(operation, 'haul.source.copy');
    tracker.stage('copying');
    this.#sender = new LayerSender(this.#there, view);
    for (let round = 1; round <= maxRounds && (round === 1 || !this.options.force?.aborted); round++) {
      const stats = await this.#diskRound(round, false);
      if (stats.bytes <= enoughBytes && stats.wrong === 0) break;
    }
    // what it writes to its disk in that time must not be left to the freeze either
    await this.#memory?.rounds(async (round) => void (await this.#diskRound(round, false)));
  }

  async dump(): Promise<void> {
    const { operation, tracker, context: { parts } } = this;
    const { instance } = this.haul;
    const { signal } = operation;
    const spec = await this.#spec();
    const state = await parts.store.readState(instance);
    const running = await parts.store.running(instance);
    if (spec && state && running && this.#restart) return await this.#stop();
    if (!spec || !state || !running || !this.#sender || !this.#memory) throw new HaulierError('INSTANCE_STATE', { instance, state: 'stopped', action: 'haul' });
    const ports = this.#ports = await ReadyPorts.toMute(spec.vifs, signal);
    const [neighbours] = await together(
      readNeighbours(running.pid),
      // as it will be when it is offered: that record is then all that has to be written while it stands
      parts.store.update(instance, { phase: 'departing', suspendedFor: 'user' }),
      this.#memory.prepare(),
    );
    await requireUnquiesced(parts, instance, 'haul'); // it may have been since
    if (this.#standsBy) {
      this.#there.send({ type: 'stand-by', quiet: await this.#sender.quiet() });
      await this.#there.receive(['standing-by'], signal);
    }
    haulStep(operation, 'haul.source.freeze');
    tracker.freezes();
    // what comes in between the two lies in its sockets, and goes along; what went out behind a mute port would have to be sent once more
    if (state.wanted !== 'paused') await freeze(parts, instance, signal);
    tracker.mark('freeze');
    await ports.mute(signal);
    tracker.mark('ports');
    tracker.frozen();
    haulStep(operation, 'haul.source.difference');
    const noted = noteGroups(parts.cgroups, cgroupsPath(parts, instance), state.idBase);
    const last = this.#diskRound(0, true);
    const dumped = this.#memory.dump({ groups: noted, startedAt: running.startedAt, frozenAnew: (ran) => this.#frozenAnew(ran, last) });
    const [meta, difference] = await together(dumped.catch((error: unknown) => {
      this.#patienceMs = patienceAfter(error);
      throw error;
    }), last);
    this.#there.send({ type: 'images', meta, neighbours });
    tracker.mark('send');
    operation.log.info({ bytes: meta.bytes, criu: meta.stats, difference }, 'frozen, dumped and sent');
  }

  /**
   * criu could not hold it, and lets it go for a moment: the copy of its file system, which is made beside the dump, counts only if it is
   * still what the container will have in memory. One that has run may have written through memory maps, which no look shows.
   */
  async #frozenAnew(ran: boolean, last: Promise<unknown>): Promise<void> {
    await last;
    if (ran || !(await this.#sender?.still())) throw new HaulierError('SUSPEND_FAILED', { reason: 'criu let it go on for a moment, and its file system has changed since it was copied' });
  }

  async #stop(): Promise<void> {
    const { operation, tracker, context: { parts, life } } = this;
    haulStep(operation, 'haul.source.stop');
    const began = performance.now();
    tracker.freezes();
    this.haul = { ...this.haul, stopped: true };
    await this.record('preparing');
    await stopToHaul(parts, life, this.haul.instance, this.options.restart ?? { timeoutMs: 0, retryMs: 0 }, operation);
    tracker.frozen();
    haulStep(operation, 'haul.source.stopped');
    const difference = await this.#diskRound(0, true);
    operation.log.info({ ms: Math.round(performance.now() - began), difference }, 'stopped and sent');
  }

  async #diskRound(round: number, last: boolean): Promise<RoundStats> {
    const sender = this.#sender as LayerSender;
    const account = this.tracker.begin('disk', round, 0);
    const stats = await sender.round(last, this.operation.signal, { expected: account.expect, sent: account.at });
    account.end(stats.bytes);
    this.operation.log.info({ round, ...stats }, 'file system copied');
    return stats;
  }

  async restore(): Promise<void> {
    const { tracker } = this;
    settledStep(this.operation, 'haul.source.restore');
    tracker.stage('restoring');
    this.#there.send({ type: 'restore' });
    tracker.running((await this.#there.receive(['running']))['parts']);
    if (this.#memory?.mode === 'post-copy') tracker.stage('paging');
    if (this.#memory) await this.context.untilPaid(this.#memory.finish());
    tracker.stage('settling');
    await this.#there.close();
  }

  async thaw(): Promise<void> {
    const { parts } = this.context;
    const { instance } = this.haul;
    this.#channel?.abort(new HaulierError('HAUL_ABORTED', { reason: 'the haul was given up' }));
    this.#ports?.leave();
    await this.#memory?.end();
    if (!(await parts.store.exists(instance)) || (await startAgain(parts, this.context.life, instance, this.haul.stopped === true))) return;
    const [spec, state] = [await this.#spec(), await parts.store.readState(instance)];
    if (spec && (state?.phase === 'departing' || hasAhead(checkpointPaths(parts.store.paths(instance))))) await goOn(parts, spec, this.#patienceMs);
    await unmutePorts(spec?.vifs ?? [], parts.log);
    void announce(parts, instance); // where the destination had it announced, nobody would find it here
    try { // the record must go now that it runs: later a haul that is settled then may have offered it
      await closeView(parts.store.paths(instance).folder, parts.log);
      const now = await parts.store.readState(instance);
      // and with that takes the folders for its images away, where it did not come to a dump; those of one that is suspended are its memory
      if (now?.phase === 'ready' && now.wanted !== 'suspended' && (await parts.store.running(instance))) parts.pages.follow(instance);
      if (spec && state?.phase !== 'removing') await writeAtomic(parts.store.paths(instance).criuConfig, criuConfig);
    } catch (error) {
      parts.log.error({ err: error, instance }, `after a haul that was given up: ${messageOf(error)}`);
    }
  }

  async remove(): Promise<void> {
    const { operation, context: { parts } } = this;
    const { instance } = this.haul;
    if (!(await parts.store.exists(instance)) || (await this.#cameBack())) return;
    const spec = await this.#spec();
    await this.#memory?.end();
    this.tracker.stage('settling');
    settledStep(operation, 'haul.source.kill');
    await closeView(parts.store.paths(instance).folder, parts.log);
    // frozen as it is: none of its processes runs another instruction
    if (spec && (await parts.store.readState(instance))?.phase === 'departing') await finishSuspend(parts, spec, operation, 'user');
    await destroyContainer(parts, instance, operation);
    await unmutePorts(spec?.vifs ?? [], parts.log);
    settledStep(operation, 'haul.source.removed');
  }

  /** The copy was removed, which could not be put on record, and the container is here again since. */
  async #cameBack(): Promise<boolean> {
    const state = await this.context.parts.store.readState(this.haul.instance);
    return state !== undefined && state.phase !== 'departing' && state.phase !== 'removing' && !(state.phase === 'ready' && state.wanted === 'suspended');
  }

  async pause(): Promise<void> {
    const { log } = this.operation;
    this.tracker.stage('asking');
    log.warn({ instance: this.haul.instance, peer: this.haul.peer, seconds: this.#pause / 1000 }, `${this.haul.peer.host} does not say what became of the haul: the container stands frozen until it does, or an operator decides (haulier haul decide)`);
    await sleep(this.#pause, undefined, { signal: this.context.stopping });
    this.#pause = Math.min(this.#pause * 2, pauseMs.last);
  }

  async ask(): Promise<Outcome> {
    const answer = await this.#inquire('ask');
    if (answer !== 'committed' && answer !== 'aborted') throw new HaulierError('HAUL_PROTOCOL', { reason: 'an answer that is none' });
    return answer;
  }

  async settled(): Promise<void> {
    await this.#inquire('settled');
  }

  async #inquire(type: 'ask' | 'settled'): Promise<unknown> {
    const { haul, secret, peer } = this.haul;
    const channel = await openInquiry(this.context.settings, peer, { haul, secret }, {}, this.context.stopping);
    try {
      channel.send({ type });
      const { outcome } = await channel.receive(['answer'], this.context.stopping);
      await channel.close();
      return outcome;
    } catch (error) {
      throw channel.abort(error as Error);
    }
  }

  async #spec(): Promise<ContainerSpec | undefined> {
    return await this.context.parts.store.readSpec(this.haul.instance);
  }
}

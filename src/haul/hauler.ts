/** The door of this room: one host's hauls, out and in, from the service's start to its end. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Ages } from '../base/ages.js';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { Operation } from '../base/operation.js';
import type { HostFacts } from '../container/checkpoint/facts.js';
import type { HostParts } from '../container/parts.js';
import type { ContainerSpec } from '../container/spec.js';
import { HaulBoard } from './board.js';
import { openHaul, type Peer } from './client.js';
import { discardArrivals, type ReceiveOptions } from './disk/receive.js';
import { LiveDestination } from './live/destination.js';
import { Doubt, type Outcome } from './live/doubt.js';
import { IncomingHaul, runSource, settleDestination, settleSource, type SourcePhase } from './live/protocol.js';
import { HaulRecords, isOvertaken, isStale, type HaulRecord } from './live/record.js';
import { LiveSource } from './live/source.js';
import type { ContainerLife } from './live/restart.js';
import { SharedDestination, SharedSource } from './live/shared.js';
import { settledStep } from './live/steps.js';
import { Telling, tellingEndsMs } from './live/telling.js';
import { HaulTracker } from './live/tracker.js';
import type { HaulOptions, HaulResult } from './progress.js';
import { HaulServer, type InquiryHandler } from './server.js';
import { examineHere } from './examination.js';
import type { HaulSettings } from './settings.js';
import { newToken, sameToken } from './token.js';
import type { HaulChannel } from './wire/channel.js';

/** How often a destination that was away is told again that a haul is settled. */
const tellMs = 15_000;
/** The longest that the service's end waits for memory of containers that run already. */
const owedMs = 60_000;

/** A live haul that is announced to this host. */
export interface ExpectedLiveHaul extends ReceiveOptions {
  /** The host that it comes from. */
  readonly peer: Peer;
  readonly ttlMs: number;
  /** Told once how it ended, if it began: with the container as it runs here now, or with what stopped it. Must not throw. */
  readonly onEnd?: (end: { readonly arrived: ContainerSpec } | { readonly error: Error }) => void;
}

/** See above. The container host has been started before. */
export class Hauler {
  readonly server: HaulServer;
  readonly #records: HaulRecords;
  readonly #incoming = new Map<string, { readonly instance: string; readonly haul: IncomingHaul }>();
  /** Instances of hauls that have reached this host, and have not said yet which they are. */
  readonly #greeted = new Map<HaulChannel, string>();
  readonly #stopping = new AbortController();
  /** Instances that a haul takes away just now. */
  readonly #leaving = new Set<string>();
  /** Hauls away from here that somebody in this life of the service sees to. */
  readonly #seen = new Set<string>();
  /** Containers that are this host's and could not be let go yet. */
  readonly #unopened = new Map<string, { open(runs: () => void): Promise<void> }>();
  #again = false;
  readonly #telling = new Telling();
  readonly #ages = new Ages();
  /** Memory that is still coming for containers that run already. */
  readonly #owed = new Set<Promise<void>>();
  /** Hauls from here that somebody is at work on, by their instance. */
  readonly #doubts = new Map<string, { readonly doubt: Doubt; readonly ended: Promise<unknown> }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param life looks after a container that has come, and stops and starts those that are hauled by restart @param board where its hauls are shown */
  constructor(private readonly parts: HostParts, private readonly settings: HaulSettings, private readonly life: ContainerLife, private readonly log: Log, private readonly board = new HaulBoard()) {
    this.server = new HaulServer(settings, log);
    this.#records = new HaulRecords(parts.options.instancesPath, parts.options.host);
    this.server.onInquiry(this.#answer);
    this.server.onExamination((question) => examineHere(parts, settings, question));
  }

  /**
   * Ends what an earlier life of the service began; `listen` comes after it. Hauls whose fate another host has to tell are asked for in the
   * background: their containers stand frozen until then.
   * @returns instances of which that is so, each with the end of the asking
   */
  async start(): Promise<ReadonlyMap<string, Promise<void>>> {
    await discardArrivals(this.parts);
    const open = new Map<string, Promise<void>>();
    // its container, if it has one, stands frozen and stays so; nothing is hauled from here until the record is restored or removed
    const records = await this.#records.all((error) => this.log.error({ err: error }, `a haul that was cut short is left as it is: ${messageOf(error)}`));
    for (const record of records.filter((each) => !isOvertaken(each, records))) {
      const settled = (isStale(record, records) ? this.#records.remove(record.haul, 'source') : this.#settle(record)).catch((error: unknown) => {
        if (!this.#stopping.signal.aborted) this.log.error({ err: error, instance: record.instance }, `cannot end a haul that was cut short: ${messageOf(error)}`);
      });
      if (record.role === 'source' && (record.phase === 'offered' || record.phase === 'gone')) open.set(record.instance, settled);
      else await settled;
    }
    this.#timer = setInterval(() => void this.#tryAgain(), tellMs);
    this.#timer.unref();
    return open;
  }

  /** Listens. @throws HAUL_OFF without certificates, the system's error if the address is taken */
  async listen(): Promise<void> {
    await this.server.listen();
  }

  /** How far this host's record of a haul away from it has come; undefined if none is under way. */
  async phase(instance: string): Promise<SourcePhase | undefined> {
    const mine = (await this.#records.all()).flatMap((record) => (record.role === 'source' && record.instance === instance ? [record.phase] : []));
    return mine.find((phase) => phase !== 'gone'); // that one is over; it may have come back since
  }

  /**
   * True while a haul of the instance to this host is under way and undecided, be it one that an earlier life of the service could not
   * end: whatever is here of the container may still be the source's. @throws STATE_DAMAGED if that is not known
   */
  async coming(instance: string): Promise<boolean> {
    if ([...this.#greeted.values()].includes(instance)) return true;
    if ([...this.#incoming.values()].some((each) => each.instance === instance && !each.haul.committed)) return true;
    return (await this.#records.all()).some((record) => record.role === 'destination' && record.instance === instance && record.phase !== 'committed');
  }

  /**
   * Ends the listener and all questions. Hauls that are decided or undecided go on at the next start; only a container that runs before
   * its memory is there cannot wait for that: it is waited for, for a minute.
   */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.race([Promise.allSettled(this.#owed), sleep(owedMs, undefined, { ref: false })]);
    this.#stopping.abort(new HaulierError('CANCELLED', { what: 'a haul', reason: 'the service stops' }));
    await this.server.close();
  }

  /** Announces a haul to this host. @returns the token for the host that brings it, and how to withdraw the announcement */
  expect(haul: ExpectedLiveHaul): { readonly token: string; cancel(): void } {
    return this.server.expectHaul({ instance: haul.instance, peer: haul.peer.host, ttlMs: haul.ttlMs, onHaul: (channel) => this.#receive(channel, haul) });
  }

  /**
   * Hauls a running container to the peer, which expects it. Returns when it runs there and nothing of it is left here.
   * @param operation its signal aborts the haul, until the source has offered the container (it may run there from then on); later it does nothing
   * @throws whatever stopped it: it goes on here. INSTANCE_STATE if an earlier haul of it is not at its end. CANCELLED if the service stops while the outcome is open
   */
  async haul(instance: string, peer: Peer, token: string, operation: Operation, options: HaulOptions = {}): Promise<HaulResult> {
    const haul = { version: 1, role: 'source', haul: randomUUID(), instance, peer, secret: newToken(), ...(options.shared ? { shared: true } : {}) } as const;
    if (this.#leaving.has(instance)) throw new HaulierError('INSTANCE_STATE', { instance, state: 'leaving', action: 'haul' });
    this.#leaving.add(instance);
    this.#seen.add(haul.haul);
    const tracker = new HaulTracker(options);
    const source = this.#source(haul, operation, tracker, options);
    const entry = this.board.begin({ haul: haul.haul, instance, direction: 'out', peer: peer.host, address: peer.address, port: peer.port }, tracker);
    const doubt = new Doubt();
    tracker.start();
    await this.board.run(entry, tracker, () => operation.signal.aborted, async () => {
      await this.#requireSettled(instance); // before it: an earlier haul's doubt is not this one's
      const channel = await openHaul(this.settings, peer, { token, instance }, { rate: this.server.rate }, operation.signal);
      source.connect(channel);
      try {
        await this.#doubtful(instance, doubt, () => runSource(source, source, doubt));
      } catch (error) {
        // what was interrupted only says that it was; why, the signal knows
        throw channel.abort((operation.signal.aborted && !isHaulierError(error) ? operation.signal.reason : error) as Error);
      }
    }).finally(() => {
      this.#leaving.delete(instance);
      this.#seen.delete(haul.haul);
      tracker.stop();
    });
    const { result } = tracker;
    operation.log.info({ ...result, peer: peer.host }, `hauled to ${peer.host}`);
    return result;
  }

  /**
   * A haul that is given up lets the container go on, which an earlier one may have offered: then it would run twice. What an earlier
   * life left of one that was only prepared is forgotten, so that it cannot do so later.
   */
  async #requireSettled(instance: string): Promise<void> {
    const records = (await this.#records.all()).filter((record) => record.role === 'source' && record.instance === instance && record.phase !== 'gone');
    if (records.some(({ phase }) => phase !== 'preparing')) throw new HaulierError('INSTANCE_STATE', { instance, state: 'leaving', action: 'haul' });
    for (const { haul } of records) await this.#records.remove(haul, 'source');
  }

  /**
   * An operator says what became of a haul away from this host whose destination is lost for good. Returns when that is done.
   * @param outcome `committed`: the other host has it, nothing of it stays here; `aborted`: it goes on here
   * @throws HAUL_NO_DECISION unless the record says `offered` and a question to the destination has failed; HAUL_FAILED if it could not be done
   */
  async decide(instance: string, outcome: Outcome): Promise<void> {
    const known = this.#doubts.get(instance);
    const phase = await this.phase(instance);
    if (!known?.doubt.open || phase !== 'offered') throw new HaulierError('HAUL_NO_DECISION', { instance, reason: whyNot(phase) });
    if (!known.doubt.decide(outcome)) throw new HaulierError('HAUL_NO_DECISION', { instance, reason: 'the destination has just answered' });
    this.log.warn({ instance, outcome }, `an operator has decided a haul: ${outcome === 'committed' ? 'the other host has the container' : 'it goes on here'}`);
    await known.ended.catch(() => undefined); // a haul that is taken back fails
    const now = await this.phase(instance);
    if (now !== undefined) throw new HaulierError('HAUL_FAILED', { reason: `the decision could not be carried out: the record says ${now}; this host's log has the reason` });
  }

  /** Work on a haul from here, in which an operator may decide. */
  async #doubtful<T>(instance: string, doubt: Doubt, work: () => Promise<T>): Promise<T> {
    const ended = work();
    const mine = { doubt, ended };
    this.#doubts.set(instance, mine);
    try {
      return await ended;
    } finally {
      if (this.#doubts.get(instance) === mine) this.#doubts.delete(instance);
    }
  }

  /** What could not be done when it was due: copies that are still to be removed, destinations that could not be told, containers that could not be let go. */
  async #tryAgain(): Promise<void> {
    if (this.#again) return;
    this.#again = true;
    for (const port of this.#unopened.values()) await port.open(() => undefined);
    for (const { haul, instance } of await this.#records.all(() => undefined).catch(() => [])) {
      const record = await this.#records.read(haul, 'source').catch(() => undefined); // as it is now: the others took their time
      if ((record?.phase !== 'gone' && record?.phase !== 'committed') || this.#seen.has(haul)) continue;
      if (record.phase === 'gone' && !this.#telling.due(haul, performance.now())) continue;
      await this.#settle(record).catch((error: unknown) => this.log.warn({ err: error, instance }, `cannot end a haul: ${messageOf(error)}`));
    }
    this.#again = false;
  }

  async #settle(record: HaulRecord): Promise<void> {
    this.#seen.add(record.haul);
    try {
      await this.#settled(record);
    } finally {
      this.#seen.delete(record.haul);
    }
  }

  async #settled(record: HaulRecord): Promise<void> {
    await new Operation({ name: 'settle_haul', log: this.log, instance: record.instance }).run(async (operation) => {
      if (record.phase === 'gone') this.log.info({ instance: record.instance, haul: record.haul, peer: record.peer.host }, 'telling the destination that a haul is over');
      else this.log.warn({ instance: record.instance, haul: record.haul, role: record.role, phase: record.phase }, 'a haul was cut short: ending it');
      if (record.role === 'source') {
        await this.#settleSource(record, operation);
      } else {
        const { phase, ...haul } = record;
        await settleDestination(this.#destination(haul, operation, phase), phase);
      }
    });
  }

  #source(haul: Omit<Extract<HaulRecord, { role: 'source' }>, 'phase'>, operation: Operation, tracker: HaulTracker, options: HaulOptions = {}): LiveSource {
    const context = { parts: this.parts, records: this.#records, settings: this.settings, stopping: this.#stopping.signal, untilPaid: this.#untilPaid, life: this.life };
    return new (haul.shared ? SharedSource : LiveSource)(context, haul, operation, tracker, options);
  }

  #destination(haul: Omit<Extract<HaulRecord, { role: 'destination' }>, 'phase'>, operation: Operation, from: ConstructorParameters<typeof LiveDestination>[3]): LiveDestination {
    const context = { parts: this.parts, records: this.#records, settings: this.settings, watch: (id: string) => this.life.watch(id), unopened: this.#unopened };
    return new (haul.shared ? SharedDestination : LiveDestination)(context, haul, operation, from);
  }

  async #settleSource({ phase, ...haul }: Extract<HaulRecord, { role: 'source' }>, operation: Operation): Promise<void> {
    const tracker = new HaulTracker();
    const source = this.#source(haul, operation, tracker);
    if (phase === 'gone') return await this.#tell(haul.haul, source);
    if (phase !== 'offered') return void (await settleSource(source, phase));
    // it stands frozen: that is to be seen
    const { peer, instance } = haul;
    const entry = this.board.begin({ haul: haul.haul, instance, direction: 'out', peer: peer.host, address: peer.address, port: peer.port }, tracker);
    tracker.stage('asking');
    const doubt = new Doubt();
    try {
      const outcome = await this.#doubtful(instance, doubt, () => settleSource(source, phase, undefined, doubt));
      entry.end(outcome === 'committed' ? undefined : { error: new HaulierError('HAUL_FAILED', { reason: 'it was cut short: the container goes on here' }), aborted: false });
    } catch (error) {
      entry.end({ error, aborted: this.#stopping.signal.aborted });
      throw error;
    }
  }

  /** Of a haul that is over here: its destination is told, as long as that makes sense. */
  async #tell(haul: string, source: LiveSource): Promise<void> {
    const since = await this.#records.writtenAt(haul, 'source');
    if (since !== undefined && this.#ages.of(haul, since) >= tellingEndsMs) {
      this.log.warn({ haul }, `the destination could not be told for ${tellingEndsMs / 86_400_000} days that a haul is over: forgetting it`);
      await this.#records.remove(haul, 'source');
    } else await settleSource(source, 'gone');
    if ((await this.#records.writtenAt(haul, 'source')) === undefined) {
      this.#telling.done(haul);
      this.#ages.forget(haul);
    } else this.#telling.failed(haul, performance.now());
  }

  async #receive(channel: HaulChannel, expected: ExpectedLiveHaul): Promise<void> {
    this.#greeted.set(channel, expected.instance); // in the moment in which its token is used up
    try {
      await this.#received(channel, expected);
    } finally {
      this.#greeted.delete(channel);
    }
  }

  async #received(channel: HaulChannel, expected: ExpectedLiveHaul): Promise<void> {
    await new Operation({ name: 'receive_haul', log: this.log, instance: expected.instance, parent: channel.signal }).run(async (operation) => {
      const { haul, secret, facts, restart, shared } = await channel.receive(['begin'], operation.signal);
      const record = { version: 1, role: 'destination', haul: String(haul), instance: expected.instance, peer: expected.peer, secret: String(secret), ...(restart === undefined ? {} : { restart: true }), ...(shared === true ? { shared } : {}) } as const;
      if (this.#incoming.has(record.haul) || (await this.#records.read(record.haul, 'destination'))) throw new HaulierError('HAUL_PROTOCOL', { reason: 'a haul begins twice' });
      await this.#endOlder(expected.instance);
      const port = this.#destination(record, operation, { channel, facts: facts as HostFacts, architecture: restart === undefined ? undefined : String(restart), respec: expected.respec });
      const incoming = new IncomingHaul(port, (error) => channel.abort(error), () => {
        settledStep(operation, 'haul.destination.running');
        if (!channel.signal.aborted) channel.send({ type: 'running', parts: port.parts });
      });
      this.#incoming.set(record.haul, { instance: expected.instance, haul: incoming });
      this.#greeted.delete(channel);
      const { peer, instance } = expected;
      const entry = this.board.begin({ haul: record.haul, instance, direction: 'in', peer: peer.host, address: peer.address, port: peer.port });
      try {
        const outcome = await this.board.run(entry, undefined, () => false, async () => {
          const end = await incoming.result;
          await this.#untilPaid(port.finish());
          return end;
        });
        if (outcome === 'committed' && port.spec) expected.onEnd?.({ arrived: port.spec });
      } catch (error) {
        expected.onEnd?.({ error: error as Error });
        throw error;
      } finally {
        this.#incoming.delete(record.haul);
      }
    });
  }

  /** A haul of an instance that is still coming was given up by its source, where another one begins. @throws INSTANCE_STATE if it has come, HAUL_FAILED if it cannot be taken away */
  async #endOlder(instance: string): Promise<void> {
    for (const older of [...this.#incoming.values()].filter((each) => each.instance === instance)) {
      if ((await older.haul.ask()) === 'committed') throw new HaulierError('INSTANCE_STATE', { instance, state: 'here already', action: 'receive' });
    }
  }

  /** The service does not end before it, if it can help it. */
  readonly #untilPaid = async (work: Promise<void>): Promise<void> => {
    this.#owed.add(work);
    try {
      await work;
    } finally {
      this.#owed.delete(work);
    }
  };

  readonly #answer: InquiryHandler = async (channel, { haul, secret }, isPeer) => {
    const { type } = await channel.receive(['ask', 'settled']);
    const known = await this.#records.read(haul, 'destination');
    if (known && !(sameToken(known.secret, secret) && isPeer(known.peer.host))) throw new HaulierError('HAUL_REFUSED', { reason: 'it is not this host\'s haul' });
    if (type === 'settled') {
      settledStep(new Operation({ name: 'answer', log: this.log }), 'haul.destination.settled');
      if (this.#unopened.has(haul)) throw new HaulierError('HAUL_FAILED', { reason: 'the container could not be let go yet' }); // its record is needed for that; it is told again
      if (known?.phase === 'committed') await this.#records.remove(haul, 'destination');
      return channel.send({ type: 'answer' });
    }
    channel.send({ type: 'answer', outcome: await this.#outcome(haul, known) });
  };

  async #outcome(haul: string, known: HaulRecord | undefined): Promise<string> {
    const incoming = this.#incoming.get(haul);
    if (incoming) return await incoming.haul.ask();
    const phase = known?.phase;
    if (phase === undefined) return 'aborted';
    if (phase === 'committed') return phase;
    throw new HaulierError('HAUL_FAILED', { reason: 'it could not be brought to an end here: its fate is open until that is done' });
  }
}

function whyNot(phase: SourcePhase | undefined): string {
  switch (phase) {
    case undefined: return 'none away from this host is under way';
    case 'preparing': return 'it has not been offered yet, and ends by itself';
    case 'offered': return 'the destination is at work on it, or has not failed to answer yet';
    case 'committed': case 'gone': return 'the other host has it';
  }
}

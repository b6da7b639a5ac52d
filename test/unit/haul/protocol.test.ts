/**
 * The protocol against a model: two hosts, every call on a port and every message in any order, and at each of them a crash of that
 * service before or after its effect, a failure, a connection that breaks, a question that arrives twice or late, a power cut of a
 * destination that has not decided. Always: at most one side runs it, and it is never lost; in the end it is whole on one side and no
 * record is left.
 */
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import fc from 'fast-check';
import { HaulierError } from '../../../src/base/errors.js';
import { Doubt } from '../../../src/haul/live/doubt.js';
import { IncomingHaul, runSource, settleDestination, settleSource, type DestinationPhase, type Outcome, type SourcePhase } from '../../../src/haul/live/protocol.js';

type Side = 'source' | 'destination';
const fates = ['go', 'crash', 'crash after', 'fail', 'cut', 'again', 'power'] as const;
type Fate = (typeof fates)[number];

const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

class World {
  source: 'running' | 'frozen' | 'gone' = 'running';
  /** `mute`: its processes run, but nobody hears of it. */
  destination: 'none' | 'came' | 'mute' | 'open' = 'none';
  sourceRecord: SourcePhase | undefined;
  destinationRecord: DestinationPhase | undefined;
  readonly life: Record<Side, number> = { source: 0, destination: 0 };
  readonly up: Record<Side, boolean> = { source: true, destination: true };
  incoming: IncomingHaul | undefined;
  everOpen = false;
  /** The destination is lost for good, with its disk. */
  dead = false;
  /** Of the source's life that is now. */
  doubt = new Doubt();
  readonly trail: string[] = [];
  readonly #pending: (() => void)[] = [];
  #onCut: (() => void)[] = [];
  #connected = true;
  #choice = 0;

  constructor(private readonly fate: readonly Fate[], private readonly order: readonly number[]) {}

  /** Waits for its turn among all that could happen now. */
  async #turn(): Promise<void> {
    await new Promise<void>((resolve) => this.#pending.push(resolve));
  }

  /** Lets things happen, one at a time, until nothing is left to happen. */
  async play(most: number): Promise<void> {
    for (let idle = 0, steps = 0; idle < 3 && steps < most; steps++) {
      await turn();
      const choice = this.calm ? 0 : this.order[this.#choice++ % this.order.length] ?? 0; // calm: first come, first served, so that nobody starves
      const [next] = this.#pending.splice(choice % Math.max(1, this.#pending.length), 1);
      if (next) { idle = 0; next(); } else idle++;
    }
  }

  #taken = 0;
  calm = false;
  #nextFate(): Fate {
    return this.calm ? 'go' : this.fate[this.#taken++] ?? 'go';
  }

  cut(): void {
    this.#connected = false;
    for (const act of this.#onCut.splice(0)) act();
  }

  crash(side: Side): void {
    this.trail.push(`${side} crashes`);
    this.life[side]++;
    this.up[side] = false;
    if (side === 'destination') this.incoming = undefined;
    else this.doubt = new Doubt();
    this.cut();
    if (side === 'destination' && this.dead) return;
    void this.#restart(side, this.life[side]);
  }

  /** The destination's host burns down. */
  die(): void {
    this.trail.push('the destination is lost for good');
    Object.assign(this, { dead: true, destination: 'none', destinationRecord: undefined, everOpen: false });
    this.crash('destination');
  }

  /** One call on a port: its turn, its fate, its effect. */
  async call<T>(side: Side, life: number, name: string, effect: () => T, canFail = false): Promise<T> {
    await this.#turn();
    if (this.life[side] !== life) return await never();
    const fate = this.#nextFate();
    this.trail.push(`${side}: ${name}${fate === 'go' ? '' : ` (${fate})`}`);
    if (fate === 'crash') {
      this.crash(side);
      return await never();
    }
    if (fate === 'cut') this.cut();
    if (fate === 'power' && this.destinationRecord !== 'committed') {
      if (this.destination === 'mute') this.destination = 'came';
      this.crash('destination');
      if (side === 'destination') return await never();
    }
    if (fate === 'fail' && canFail) throw new HaulierError('HAUL_FAILED', { reason: `${name} fails` });
    const result = effect();
    this.check();
    if (fate === 'crash after') {
      this.crash(side);
      return await never();
    }
    return result;
  }

  check(): void {
    const there = this.destination === 'mute' || this.destination === 'open';
    if (this.source === 'running' && there) throw new Error(`both run it\n${this.trail.join('\n')}`);
    if (this.source === 'running' && this.everOpen) throw new Error(`it went back in time\n${this.trail.join('\n')}`);
    if (this.doubt.open && (this.sourceRecord !== 'offered' || this.source !== 'frozen')) throw new Error(`a decision would count\n${this.trail.join('\n')}`);
    if (this.source === 'gone' && !there && !this.dead) throw new Error(`it is lost\n${this.trail.join('\n')}`);
    if (this.destination === 'open') this.everOpen = true;
  }

  /** A connection's end of the haul: fails when it is cut. */
  async #untilCut<T>(work: Promise<T>): Promise<T> {
    const lost = (): HaulierError => new HaulierError('HAUL_LOST', { reason: 'cut' });
    work.catch(() => undefined);
    if (!this.#connected) throw lost();
    return await Promise.race([work, new Promise<never>((_, reject) => this.#onCut.push(() => reject(lost())))]);
  }

  sourcePort(life: number) {
    const call = <T>(name: string, effect: () => T, canFail = false): Promise<T> => this.call('source', life, name, effect, canFail);
    return {
      record: (phase: SourcePhase) => call(`record ${phase}`, () => { this.sourceRecord = phase; }, true),
      forget: () => call('forget', () => { this.sourceRecord = undefined; }),
      copy: () => call('copy', () => undefined, true).then(() => this.#untilCut(Promise.resolve())),
      dump: () => call('freeze', () => { this.source = 'frozen'; }).then(() => call('dump', () => undefined, true)).then(() => this.#untilCut(Promise.resolve())),
      thaw: () => call('thaw', () => { if (this.source === 'frozen') this.source = 'running'; }),
      remove: () => call('remove', () => { this.source = 'gone'; }),
      pause: () => call('pause', () => undefined),
      ask: async (): Promise<Outcome> => await this.#ask(life),
      settled: () => call('settled', () => {
        if (!this.up.destination) throw new HaulierError('HAUL_UNREACHABLE', {});
        if (this.destinationRecord === 'committed') this.destinationRecord = undefined;
      }, true),
    };
  }

  async #ask(life: number): Promise<Outcome> {
    const question = async (): Promise<Outcome> => {
      const there = this.life.destination;
      const outcome = await this.call('destination', there, 'is asked', () => {
        if (!this.up.destination) throw new HaulierError('HAUL_UNREACHABLE', {});
        if (this.incoming) return this.incoming.ask();
        if (this.destinationRecord === undefined) return 'aborted' as const;
        if (this.destinationRecord === 'committed') return 'committed' as const;
        throw new HaulierError('HAUL_FAILED', { reason: 'open' });
      });
      if (this.life.destination !== there) throw new HaulierError('HAUL_LOST', { reason: 'it went before it answered' });
      return outcome;
    };
    // no answer ever comes from a service that is gone: that is a lost connection
    const answer = async (): Promise<Outcome> => {
      const there = this.life.destination;
      const gone = (async (): Promise<never> => { while (this.life.destination === there) await this.#turn(); throw new HaulierError('HAUL_LOST', { reason: 'gone' }); })();
      return await Promise.race([question(), gone]);
    };
    const fate = this.#nextFate();
    if (fate === 'again') void answer().catch(() => undefined); // the same question, a second time and maybe much later
    const outcome = await answer();
    return await this.call('source', life, `hears ${outcome}`, () => outcome, true); // the answer may be lost
  }

  destinationPort(life: number, restoreCame: Promise<void>, giveUp: Promise<never>) {
    const call = <T>(name: string, effect: () => T, canFail = false): Promise<T> => this.call('destination', life, name, effect, canFail);
    return {
      record: (phase: DestinationPhase) => call(`record ${phase}`, () => { this.destinationRecord = phase; }, true),
      forget: () => call('forget', () => { this.destinationRecord = undefined; }),
      receive: () => call('receive', () => { this.destination = 'came'; }, true).then(() => this.#untilCut(Promise.race([restoreCame, giveUp]))),
      restore: () => call('restore', () => { this.destination = 'mute'; }, true),
      runs: () => call('runs?', () => this.destination === 'mute' || this.destination === 'open'),
      open: () => call('open', () => { this.destination = 'open'; }),
      discard: () => call('discard', () => {
        if (this.#connected) throw new Error(`it is taken away while the other side still waits for it\n${this.trail.join('\n')}`);
        this.destination = 'none';
      }, true),
    };
  }

  /** A haul from its beginning. */
  begin(): void {
    let restore = (): void => undefined;
    const restoreCame = new Promise<void>((resolve) => { restore = resolve; });
    let running = (): void => undefined;
    const runningCame = new Promise<void>((resolve) => { running = resolve; });
    let stop: (error: Error) => void = () => undefined;
    const giveUp = new Promise<never>((_, reject) => { stop = reject; });
    giveUp.catch(() => undefined);
    this.incoming = new IncomingHaul(this.destinationPort(0, restoreCame, giveUp), (error) => { stop(error); this.cut(); }, () => running());
    const haul = this.incoming;
    haul.result.catch(() => undefined).finally(() => { if (this.incoming === haul && this.destinationRecord !== 'restoring') this.incoming = undefined; }).catch(() => undefined);
    const link = {
      restore: async (): Promise<void> => {
        await this.call('source', 0, 'send restore', () => restore());
        await this.#untilCut(Promise.race([runningCame, giveUp]));
        await this.call('source', 0, 'hear running', () => undefined, true);
      },
    };
    runSource(this.sourcePort(0), link, this.doubt).catch(() => this.cut()); // whoever gives up closes the connection
  }

  async #restart(side: Side, life: number): Promise<void> {
    await this.#turn();
    if (this.life[side] !== life || (side === 'destination' && this.dead)) return;
    this.trail.push(`${side} starts`);
    try {
      if (side === 'source') {
        this.up.source = true;
        if (this.sourceRecord) await settleSource(this.sourcePort(life), this.sourceRecord, undefined, this.doubt);
      } else {
        const lost = never<never>();
        if (this.destinationRecord) await settleDestination(this.destinationPort(life, lost, lost), this.destinationRecord);
        if (this.life.destination === life) this.up.destination = true; // it listens when it has settled
      }
    } catch {
      // a failure: the next start tries again
    }
  }

  /** Whatever is stuck now waits for the next start of its service, which comes. */
  async end(): Promise<void> {
    this.calm = true;
    this.crash('destination');
    await this.play(1000);
    this.crash('source');
    await this.play(1000);
  }
}

test('at most one runs it, it is never lost, and both sides come to an end', async (t) => {
  const ends = { there: 0, here: 0 };
  await fc.assert(fc.asyncProperty(
    fc.array(fc.oneof({ weight: 6, arbitrary: fc.constant<Fate>('go') }, { weight: 2, arbitrary: fc.constantFrom<Fate>(...fates) }), { maxLength: 60 }),
    fc.array(fc.nat(6), { minLength: 1, maxLength: 60 }),
    async (fate, order) => {
      const world = new World(fate, order);
      world.begin();
      await world.play(1500);
      world.check();
      await world.end();
      world.check();
      const where = `${world.source}/${world.destination}`;
      if (where !== 'running/none' && where !== 'gone/open') throw new Error(`ends as ${where}\n${world.trail.join('\n')}`);
      if (world.sourceRecord ?? world.destinationRecord) throw new Error(`records are left: ${world.sourceRecord} ${world.destinationRecord}\n${world.trail.join('\n')}`);
      ends[where === 'gone/open' ? 'there' : 'here']++;
    },
  ), { includeErrorInReport: true, numRuns: Number(process.env['HAULIER_MODEL_RUNS'] ?? 500) });
  t.log(JSON.stringify(ends));
  t.true(ends.there > 20 && ends.here > 20, 'both ends were reached often');
});

test('a destination that fails ends the connection before it takes anything away', async (t) => {
  const did: string[] = [];
  const note = (what: string) => async (): Promise<void> => { did.push(what); };
  const failing = new HaulierError('HAUL_FAILED', { reason: 'no' });
  const haul = new IncomingHaul({
    record: async (phase) => void did.push(phase), forget: note('forget'), receive: () => Promise.reject(failing), restore: note('restore'), runs: async () => false, open: note('open'), discard: note('discard'),
  }, () => did.push('give up'), () => did.push('running'));
  t.is(await t.throwsAsync(haul.result), failing);
  t.deepEqual(did, ['preparing', 'give up', 'discard', 'forget']);
});

const someFates = fc.array(fc.oneof({ weight: 6, arbitrary: fc.constant<Fate>('go') }, { weight: 2, arbitrary: fc.constantFrom<Fate>(...fates) }), { maxLength: 60 });
const someOrder = fc.array(fc.nat(6), { minLength: 1, maxLength: 60 });

test('where the destination is lost for good an operator decides, when it stands frozen and unanswered and at no other time; no crash and no late answer changes it', async (t) => {
  const ends = { here: 0, there: 0, 'by itself': 0 };
  await fc.assert(fc.asyncProperty(someFates, someOrder, fc.nat(80), fc.nat(6), fc.boolean(), fc.constantFrom('here', 'there'), async (fate, order, before, after, whenOffered, place) => {
    const world = new World(fate, order);
    let decided = false;
    const decide = (): void => {
      const counts = world.doubt.open;
      if (counts && (world.sourceRecord !== 'offered' || world.source !== 'frozen')) throw new Error(`a decision would count\n${world.trail.join('\n')}`);
      if (counts) world.trail.push(`the operator decides: ${place}`);
      if (world.doubt.decide(place === 'there' ? 'committed' : 'aborted') !== counts || world.doubt.open) throw new Error('a decision counts when none is wanted, or twice');
      decided ||= counts;
    };
    world.begin();
    for (let n = 0; n < before && !(whenOffered && world.sourceRecord === 'offered'); n++) await world.play(1);
    await world.play(after);
    world.die();
    for (let n = 0; n < 60; n++) {
      await world.play(5);
      decide();
      world.check();
    }
    world.calm = true;
    world.crash('source'); // whatever a failure has left stuck
    for (let n = 0; n < 40; n++) {
      await world.play(5);
      decide();
      world.check();
    }
    const record = world.sourceRecord ?? 'none';
    const expected = decided ? (place === 'here' ? ['running none'] : ['gone gone']) : ['running none', 'gone gone', 'gone none'];
    if (!expected.includes(`${world.source} ${record}`)) throw new Error(`${decided ? place : 'undecided'}: ends as ${world.source}, record ${record}\n${world.trail.join('\n')}`);
    ends[decided ? (place as 'here' | 'there') : 'by itself']++;
  }), { includeErrorInReport: true, numRuns: Number(process.env['HAULIER_MODEL_RUNS'] ?? 500) });
  t.log(JSON.stringify(ends));
  t.true(ends.here > 20 && ends.there > 20 && ends['by itself'] > 20, 'all ends were reached often');
});

for (const [decision, answer, calls] of [
  ['aborted', 'committed', ['ask', 'pause', 'ask', 'record preparing', 'thaw', 'forget']],
  ['committed', 'aborted', ['ask', 'pause', 'ask', 'record committed', 'remove', 'record gone', 'settled', 'forget']],
] as const) {
  test(`a decision "${decision}" stands when the destination answers "${answer}" after it`, async (t) => {
    const doubt = new Doubt();
    const did: string[] = [];
    let reply: (outcome: Outcome) => void = () => undefined;
    const does = (what: string) => async (): Promise<void> => void did.push(what);
    const end = settleSource({
      record: async (phase) => void did.push(`record ${phase}`), forget: does('forget'), copy: does('copy'), dump: does('dump'), thaw: does('thaw'), remove: does('remove'), pause: does('pause'), settled: does('settled'),
      ask: async () => {
        did.push('ask');
        if (did.length === 1) throw new HaulierError('HAUL_UNREACHABLE', {});
        return await new Promise<Outcome>((resolve) => { reply = resolve; });
      },
    }, 'offered', undefined, doubt);
    t.false(doubt.decide(decision), 'nobody has been asked yet');
    while (did.length < 3) await turn();
    t.true(doubt.decide(decision));
    t.false(doubt.decide(answer), 'once');
    reply(answer);
    t.is(await end, decision);
    t.deepEqual(did, [...calls]);
  });
}

/** Keeps account of a haul at its source: where it is, what has gone over, what is left. */
import { frozenParts, type FrozenParts } from '../progress.js';
import type { Amount, HaulMode, HaulOptions, HaulProgress, HaulResult, HaulRound, HaulStage } from '../progress.js';

/** Between two looks at a haul in the same round, milliseconds. */
const lookMs = 500;
/** From here on nobody can tell from bytes how long it still takes until it runs. */
const decided: readonly HaulStage[] = ['restoring', 'asking', 'settling'];

/** Bytes of one kind: those of rounds that are over, and those of the round that is on. */
class Account {
  #done = 0;
  #expected = 0;
  #now = 0;

  /** A round begins, or more of it is known. */
  expect(bytes: number): void {
    this.#expected = bytes;
  }

  /** So much of the round has gone over. */
  at(bytes: number): void {
    this.#now = bytes;
  }

  end(bytes: number): void {
    this.#done += bytes;
    this.#expected = 0;
    this.#now = 0;
  }

  get done(): number {
    return this.#done;
  }

  get amount(): Amount {
    const total = this.#done + Math.max(this.#expected, this.#now);
    const processed = this.#done + this.#now;
    return { total, processed, remaining: total - processed };
  }
}

/** See above. */
export class HaulTracker {
  /** Chosen when the other host has said what it can do. */
  mode: HaulMode = 'stop-and-copy';
  reason = '';
  readonly #accounts = { disk: new Account(), memory: new Account() };
  readonly #began = performance.now();
  readonly #rounds: HaulRound[] = [];
  #stage: HaulStage = 'connecting';
  #round = 0;
  #frozenAt: number | undefined;
  #frozenMs = 0;
  #frozenParts: FrozenParts = {};
  #marked = 0;
  #timer: NodeJS.Timeout | undefined;
  #watcher: (() => void) | undefined;

  constructor(private readonly options: Pick<HaulOptions, 'onProgress' | 'onFrozen'> = {}) {}

  /** Tells of itself now and then until the end. */
  start(): void {
    this.#timer = setInterval(() => this.#tell(), lookMs);
    this.#timer.unref();
    this.#tell();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Called whenever its progress is told, beside the options' own. Must not throw. */
  watch(watcher: () => void): void {
    this.#watcher = watcher;
  }

  /** It has come so far. */
  stage(stage: HaulStage): void {
    this.#stage = stage;
    this.#round = 0;
    this.#tell();
  }

  /** The last freeze begins. */
  freezes(): void {
    this.#frozenAt = this.#marked = performance.now();
  }

  /** It stands frozen, and this part of what must be done meanwhile is over. */
  mark(part: keyof FrozenParts): void {
    const now = performance.now();
    this.#frozenParts = { ...this.#frozenParts, [part]: Math.round(now - this.#marked) };
    this.#marked = now;
  }

  /** It stands frozen for the last time, its ports closed. */
  frozen(): void {
    this.options.onFrozen?.();
    this.stage('frozen');
  }

  /** It runs at the destination. @param there what that says of its own part of the time, from the last that it got */
  running(there: unknown = {}): void {
    this.#frozenMs = this.#frozenAt === undefined ? 0 : performance.now() - this.#frozenAt;
    const theirs = readParts(there);
    const known = { ...this.#frozenParts, ...theirs };
    const sum = Object.values(known).reduce((all, ms) => all + ms, 0);
    this.#frozenParts = { ...known, word: Math.max(0, Math.round(this.#frozenMs) - sum) };
  }

  /** One round of a kind, from its begin to its end. @param round from 1; 0 where the stage has no rounds */
  begin(what: HaulRound['what'], round: number, bytes: number): HaulRoundAccount {
    const account = this.#accounts[what];
    const began = performance.now();
    account.expect(bytes);
    this.#round = round;
    this.#tell();
    return {
      expect: (total) => {
        account.expect(total);
        this.#tell(); // a fast round is over before the timer looks again
      },
      at: (sent) => account.at(sent),
      end: (total) => {
        account.end(total);
        this.#rounds.push({ what, round, bytes: total, ms: Math.round(performance.now() - began) });
        this.#tell();
      },
    };
  }

  /** What is known before its rounds begin: so much will have to go. */
  expectMemory(bytes: number): void {
    this.#accounts.memory.expect(bytes);
    this.#tell();
  }

  /** What is told. */
  get progress(): HaulProgress {
    const [disk, memory] = [this.#accounts.disk.amount, this.#accounts.memory.amount];
    const [sent, left] = [disk.processed + memory.processed, disk.remaining + memory.remaining];
    const expected = sent > 0 && !decided.includes(this.#stage) ? { expectedMs: Math.round(((performance.now() - this.#began) * left) / sent) } : {};
    return { stage: this.#stage, mode: this.mode, round: this.#round, memory, disk, ...expected };
  }

  /** Those that are over. */
  get rounds(): readonly HaulRound[] {
    return [...this.#rounds];
  }

  /** What it came to. */
  get result(): HaulResult {
    return {
      mode: this.mode, reason: this.reason, frozenMs: Math.round(this.#frozenMs), frozenParts: this.#frozenParts, totalMs: Math.round(performance.now() - this.#began),
      rounds: this.rounds, memoryBytes: this.#accounts.memory.done, diskBytes: this.#accounts.disk.done,
    };
  }

  #tell(): void {
    this.options.onProgress?.(this.progress);
    this.#watcher?.();
  }
}

/** Reads what the other host says. */
function readParts(said: unknown): FrozenParts {
  const value = (typeof said === 'object' && said !== null ? said : {}) as Record<string, unknown>;
  return Object.fromEntries(frozenParts.flatMap((part) => (typeof value[part] === 'number' && value[part] >= 0 ? [[part, value[part]]] : [])));
}

/** A round that is on. */
export interface HaulRoundAccount {
  /** So much must go in it, as far as is known now. */
  expect(bytes: number): void;
  /** So much has gone, from its begin. */
  at(bytes: number): void;
  /** It is over: so much has gone. */
  end(bytes: number): void;
}

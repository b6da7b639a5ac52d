/** What people and programs may see of this host's hauls: those under way, the last that ended, and figures of all since the service's start. */
import { messageOf } from '../base/errors.js';
import { Timings, timeBounds, type TimingRow } from '../base/timings.js';
import type { HaulTracker } from './live/tracker.js';
import type { HaulMode, HaulProgress, HaulResult, HaulRound } from './progress.js';

/** How a haul ended here. `aborted`: somebody wanted it. */
export type HaulEnding = 'done' | 'failed' | 'aborted';

/** One haul, as plain JSON without secrets. */
export interface HaulView {
  readonly haul: string;
  readonly instance: string;
  readonly direction: 'out' | 'in';
  /** Name of the other host, and where it listens. */
  readonly peer: string;
  readonly address: string;
  readonly port: number;
  /** When this life of the service began with it (ISO 8601), and milliseconds from then until now or its end. */
  readonly began: string;
  readonly ms: number;
  /** Of one that goes out: all rounds that are over, and where it is. Who receives only waits. */
  readonly rounds: readonly HaulRound[];
  readonly progress: HaulProgress | undefined;
  readonly end: { readonly result: HaulEnding; /** What stopped it. */ readonly error?: string; /** Of one that went out and is done, begun in this life of the service. */ readonly account?: HaulResult } | undefined;
}

/** What the metrics are made of; of hauls from this host, except `underWay`. */
export interface HaulFigures {
  readonly underWay: { readonly out: number; readonly in: number };
  /** Mode and result; `none`: it ended before one was chosen. */
  readonly hauls: readonly TimingRow[];
  /** By mode: how long containers stood still. */
  readonly frozen: readonly TimingRow[];
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

const modes: readonly HaulMode[] = ['stop-and-copy', 'pre-copy', 'post-copy', 'restart'];
const endings: readonly HaulEnding[] = ['done', 'failed', 'aborted'];
/** Hauls that are over and still shown. */
const keptEnds = 20;

/** One haul on the board. */
export class HaulEntry {
  /** Counts its changes. */
  version = 0;
  #end: HaulView['end'];
  #endedMs: number | undefined;
  #last: Pick<HaulView, 'progress' | 'rounds'> | undefined;
  readonly #began = { at: new Date().toISOString(), clock: performance.now() };

  constructor(private readonly what: Pick<HaulView, 'haul' | 'instance' | 'direction' | 'peer' | 'address' | 'port'>, private readonly tracker: HaulTracker | undefined, private readonly tell: (entry: HaulEntry) => void) {}

  get ended(): boolean {
    return this.#end !== undefined;
  }

  get outgoing(): boolean {
    return this.what.direction === 'out';
  }

  touch(): void {
    this.version++;
    this.tell(this);
  }

  /** It is over. @param error what stopped it @param aborted it was given up on purpose */
  end(error?: { readonly error: unknown; readonly aborted: boolean }): HaulEnding {
    const { tracker } = this;
    const result: HaulEnding = error === undefined ? 'done' : error.aborted ? 'aborted' : 'failed';
    this.#last = this.#now();
    this.#endedMs = performance.now() - this.#began.clock;
    this.#end = { result, ...(error ? { error: messageOf(error.error) } : {}), ...(tracker && !error && tracker.reason !== '' ? { account: tracker.result } : {}) };
    this.touch();
    return result;
  }

  #now(): Pick<HaulView, 'progress' | 'rounds'> {
    return { progress: this.tracker?.progress, rounds: this.tracker?.rounds ?? [] };
  }

  get view(): HaulView {
    const ms = this.#endedMs ?? performance.now() - this.#began.clock;
    return { ...this.what, began: this.#began.at, ms: Math.round(ms), ...(this.#last ?? this.#now()), end: this.#end };
  }
}

/** All of one host. */
export class HaulBoard {
  #entries: HaulEntry[] = [];
  #version = 0;
  readonly #waiting = new Set<() => void>();
  readonly #hauls = new Timings();
  readonly #frozen = new Timings();
  #memoryBytes = 0;
  #diskBytes = 0;

  /** A haul begins. @param tracker of one that goes out */
  begin(what: ConstructorParameters<typeof HaulEntry>[0], tracker?: HaulTracker): HaulEntry {
    const entry = new HaulEntry(what, tracker, (told) => this.#changed(told));
    this.#entries.push(entry);
    tracker?.watch(() => entry.touch());
    entry.touch();
    return entry;
  }

  /** Runs a haul as an entry's. @param aborted says whether somebody wanted the end @throws what `work` throws */
  async run<T>(entry: HaulEntry, tracker: HaulTracker | undefined, aborted: () => boolean, work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const end = (failure?: { readonly error: unknown; readonly aborted: boolean }): void => {
      const result = entry.end(failure);
      if (!tracker) return;
      const { mode, reason, frozenMs, memoryBytes, diskBytes } = tracker.result;
      this.#hauls.add(reason === '' ? 'none' : mode, result, (performance.now() - began) / 1000);
      if (frozenMs > 0) this.#frozen.add(mode, result, frozenMs / 1000);
      this.#memoryBytes += memoryBytes;
      this.#diskBytes += diskBytes;
    };
    try {
      const value = await work();
      end();
      return value;
    } catch (error) {
      end({ error, aborted: aborted() });
      throw error;
    }
  }

  /** Those under way and the last that ended, oldest first. */
  list(): readonly HaulView[] {
    return this.#entries.map(({ view }) => view);
  }

  /**
   * All of `list`, then each again whenever it changes, until the signal aborts. Who reads slowly gets the latest state, not each of
   * them; rounds are never left out, every state has all.
   * @param instance only those of the container with this id or beginning of one
   */
  async *watch(signal: AbortSignal, instance = ''): AsyncGenerator<HaulView, void> {
    const seen = new WeakMap<HaulEntry, number>();
    while (!signal.aborted) {
      const version = this.#version;
      for (const entry of [...this.#entries]) {
        const { view } = entry;
        if (!view.instance.startsWith(instance) || (seen.get(entry) ?? -1) >= entry.version) continue;
        seen.set(entry, entry.version);
        yield view;
      }
      if (version === this.#version && !signal.aborted) await this.#change(signal);
    }
  }

  get figures(): HaulFigures {
    const open = this.#entries.filter(({ ended }) => !ended);
    const out = open.filter(({ outgoing }) => outgoing).length;
    const rowsOf = (seen: readonly TimingRow[], names: readonly string[], results: readonly string[]): TimingRow[] =>
      names.flatMap((name) => results.map((result) => seen.find((row) => row.name === name && row.result === result) ?? { name, result, count: 0, seconds: 0, within: timeBounds.map(() => 0) }));
    return {
      underWay: { out, in: open.length - out },
      hauls: [...rowsOf(this.#hauls.rows, modes, endings), ...this.#hauls.rows.filter(({ name }) => name === 'none')],
      frozen: rowsOf(this.#frozen.rows, modes, ['done']),
      memoryBytes: this.#memoryBytes, diskBytes: this.#diskBytes,
    };
  }

  #changed(entry: HaulEntry): void {
    this.#version++;
    if (entry.ended) {
      const over = this.#entries.filter(({ ended }) => ended);
      const gone = new Set(over.slice(0, Math.max(0, over.length - keptEnds)));
      this.#entries = this.#entries.filter((one) => !gone.has(one));
    }
    for (const wake of this.#waiting) wake();
  }

  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

/**
 * Notices that containers end: by the exit files that their monitors write, and, where a monitor died too, by looking at their PID 1
 * now and then. Puts an end on record and tells the listeners, unless somebody asked for it and waits for it himself.
 */
import { isHaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { ContainerExit } from './container-host.js';
import type { HostParts } from './parts.js';
import { isAlive, type ProcessId } from './process.js';
import { classifyExit, ExitWatcher } from './runtime/exits.js';
import { isAnothers } from './state.js';

/** How often living containers are looked at, in case a monitor died and will never write an exit file. */
const watchMs = 5000;
/** Exit code on record for a container whose end nobody saw. */
const unknownExit = 255;

/** Watches the containers of one host. */
export class Ends {
  /** The exit files. */
  readonly files: ExitWatcher;
  readonly #parts: HostParts;
  readonly #tell: (exit: ContainerExit) => void;
  readonly #watched = new Map<string, ProcessId>();
  readonly #vanished = new Set<string>();
  /** Those that somebody ends, or freezes, just now. */
  readonly #left = new Set<string>();
  /** Ends that could not be recorded: the disk may be full. */
  readonly #unrecorded = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  /** @param tell called when a container ended by itself; it may not throw */
  constructor(parts: HostParts, tell: (exit: ContainerExit) => void) {
    this.#parts = parts;
    this.#tell = tell;
    this.files = new ExitWatcher(parts.exitFolder, (id, code) => this.#onExitFile(id, code));
  }

  /** From now on; those that ended while nobody looked are noticed at once. */
  async start(): Promise<void> {
    await this.files.start();
    for (const id of await this.#parts.store.ids()) await this.#noticeVanished(id);
    this.#timer = setInterval(() => void this.#look(), watchMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.files.stop();
    this.#watched.clear();
  }

  /** Looks after a container's PID 1 from now on. */
  async watch(id: string): Promise<void> {
    this.#left.delete(id);
    const running = await this.#parts.store.running(id);
    if (running) this.#watched.set(id, running);
  }

  /** The same for one that was just made, or let go on: it may have ended before it was on record. */
  async watchOn(id: string): Promise<void> {
    await this.watch(id);
    const code = await this.files.read(id);
    if (code !== undefined) await this.#onExitFile(id, code);
  }

  /** Whoever ends it, or freezes it, looks after it himself. */
  leave(id: string): void {
    this.#left.add(id);
    this.#watched.delete(id);
    this.#unrecorded.delete(id);
  }

  /** It is gone. */
  forget(id: string): void {
    this.leave(id);
    this.#left.delete(id);
  }

  /** An exit file is there. Ends that somebody waits for are left to them. */
  async #onExitFile(id: string, code: number): Promise<void> {
    try {
      const { store } = this.#parts;
      const state = await store.readState(id);
      if (!state || isAnothers(state, store.host)) return await this.files.clear(id);
      if (state.phase !== 'ready') return;
      if (state.wanted === 'suspended') return await this.files.clear(id);
      if (state.wanted === 'stopped') {
        if (!state.exit) await store.update(id, { exit: { code, at: new Date().toISOString(), wanted: true } });
        return;
      }
      if (this.#left.has(id)) return; // its wish could not be recorded
      this.#watched.delete(id);
      await store.update(id, { wanted: 'stopped', exit: { code, at: new Date().toISOString(), wanted: false } });
      await store.clearRunning(id);
      await this.files.clear(id);
      this.#tell({ id, exitCode: code, ...classifyExit(code) });
    } catch (error) {
      this.#parts.log.error({ err: error, instance: id }, `cannot record the end of ${id}: ${messageOf(error)}`);
      if (!isHaulierError(error, 'STATE_DAMAGED')) this.#unrecorded.set(id, code);
    }
  }

  /** The timer: a process that is gone twice in a row, and no exit file, means that its monitor died too. */
  async #look(): Promise<void> {
    for (const [id, code] of [...this.#unrecorded]) {
      this.#unrecorded.delete(id);
      await this.#onExitFile(id, code);
    }
    for (const [id, process] of this.#watched) {
      if (isAlive(process)) continue;
      if (this.#vanished.delete(id)) await this.#noticeVanished(id);
      else this.#vanished.add(id);
    }
  }

  async #noticeVanished(id: string): Promise<void> {
    try {
      const { store } = this.#parts;
      const state = await store.readState(id);
      if (state?.phase !== 'ready' || state.wanted === 'stopped' || state.wanted === 'suspended') return;
      if ((await store.running(id)) || !(await store.lastRunning(id))) return; // lives, or ended with the machine
      if ((await this.files.read(id)) !== undefined) return;
      await this.#onExitFile(id, unknownExit);
    } catch (error) {
      this.#parts.log.error({ err: error, instance: id }, `cannot look after ${id}: ${messageOf(error)}`);
    }
  }
}

/** Who wants to know of containers that ended by themselves. */
export class ExitListeners {
  readonly #listeners: ((exit: ContainerExit) => void)[] = [];

  constructor(private readonly log: Log) {}

  add(listener: (exit: ContainerExit) => void): void {
    this.#listeners.push(listener);
  }

  /** Tells each; one that throws is logged, and keeps nothing from the others. */
  tell(exit: ContainerExit): void {
    for (const listener of this.#listeners) {
      try {
        listener(exit);
      } catch (error) {
        this.log.error({ err: error, instance: exit.id }, `a listener failed: ${messageOf(error)}`);
      }
    }
  }
}

/** Starts, ends, freezes and thaws the containers of one host, and tells the watch over their PID 1s which ends are wanted. */
import { HaulierError, messageOf } from '../base/errors.js';
import type { Operation } from '../base/operation.js';
import { isFrozen } from './cgroup.js';
import { beginScript } from './boot-data/user-script.js';
import { suspendContainer } from './checkpoint/dump.js';
import { freeze, thaw } from './checkpoint/freezer.js';
import { resumeContainer } from './checkpoint/restore.js';
import type { Tally } from './checkpoint/tally.js';
import type { Readiness, StopTiming } from './container-host.js';
import { dumpContainer } from './coredump/crash-dump.js';
import { destroyContainer } from './destroy.js';
import type { Ends } from './ends.js';
import { announce } from './network/announce.js';
import { cgroupsPath, type HostParts } from './parts.js';
import type { VifSpec } from './spec.js';
import { startContainer } from './start.js';
import { cleanupStep } from './steps.js';
import { stopContainer } from './stop.js';
import { existing } from './view.js';

/** One host's. Each method is the one of `ContainerHost`. */
export class Life {
  readonly #parts: HostParts;
  readonly #ends: Ends;
  readonly #tally: Tally;

  constructor(parts: HostParts, ends: Ends, tally: Tally) {
    this.#parts = parts;
    this.#ends = ends;
    this.#tally = tally;
  }

  async start(id: string, operation: Operation, ready?: Readiness): Promise<void> {
    const state = await this.#parts.store.readState(id);
    if (state?.wanted === 'suspended' && state.suspendedFor === 'boot') return await this.resume(id, operation, ready);
    this.#ends.leave(id);
    try {
      await startContainer(this.#parts, id, operation, ready);
    } finally {
      await this.#ends.watchOn(id); // an end that waits to be recorded must not be forgotten by a start that fails
    }
    void announce(this.#parts, id);
    await beginScript(this.#parts, id);
  }

  async stop(id: string, timing: StopTiming, operation: Operation): Promise<void> {
    const { store, cgroups, log } = this.#parts;
    const before = await store.readState(id);
    this.#ends.leave(id);
    try {
      await stopContainer(this.#parts, this.#ends.files, id, timing, operation);
    } catch (error) {
      if (before?.phase === 'ready' && (before.wanted === 'running' || before.wanted === 'paused') && (await store.running(id))) { // and is wanted again: else its end would be nobody's news
        const wanted = (await isFrozen(cgroups, cgroupsPath(this.#parts, id))) ? 'paused' : 'running';
        await store.update(id, { wanted }).catch((failure: unknown) => log.error({ err: failure, instance: id }, `after a stop that failed: ${messageOf(failure)}`));
      }
      await this.#ends.watchOn(id);
      throw error;
    }
  }

  async pause(id: string, operation: Operation): Promise<void> {
    const view = await existing(this.#parts, id);
    if (view.state === 'paused') return;
    if (view.state !== 'running') throw new HaulierError('INSTANCE_STATE', { instance: id, state: view.state, action: 'pause' });
    await freeze(this.#parts, id, operation.signal); // not in the middle of a vfork: it could not be dumped before it is let go again
    await this.#parts.store.update(id, { wanted: 'paused' }).catch(async (error: unknown) => {
      await thaw(this.#parts, id);
      throw error;
    });
  }

  async unpause(id: string, operation: Operation): Promise<void> {
    const view = await existing(this.#parts, id);
    if (view.state === 'running') return;
    if (view.state !== 'paused') throw new HaulierError('INSTANCE_STATE', { instance: id, state: view.state, action: 'unpause' });
    operation.throwIfAborted();
    await this.#parts.store.update(id, { wanted: 'running' });
    await thaw(this.#parts, id);
  }

  async suspend(id: string, operation: Operation, wantedBy: 'user' | 'host' = 'user'): Promise<void> {
    await this.#parts.pages.settled(id, operation.signal);
    this.#ends.leave(id);
    try {
      const meta = await this.#tally.time('suspend', () => suspendContainer(this.#parts, id, operation, wantedBy));
      if (meta?.stats) this.#tally.frozen(meta.stats.frozenTime / 1e6);
      if (meta) operation.log.info({ bytes: meta.bytes, criu: meta.stats }, 'suspended');
      await this.#ends.files.clear(id);
      cleanupStep(operation, 'container.suspend.done');
    } catch (error) {
      await this.#ends.watchOn(id);
      throw error;
    }
  }

  async resume(id: string, operation: Operation, ready?: Readiness): Promise<void> {
    await this.#ends.files.clear(id);
    const resumed = await this.#tally.time('resume', () => resumeContainer(this.#parts, id, operation, ready));
    if (resumed) operation.log.info({ criu: resumed.stats, lazy: resumed.lazy }, 'resumed');
    this.#parts.pages.follow(id);
    await this.#ends.watchOn(id);
    void announce(this.#parts, id);
  }

  async crashDump(id: string, operation: Operation): Promise<string> {
    await this.#parts.pages.settled(id, operation.signal);
    this.#ends.leave(id);
    try {
      return await dumpContainer(this.#parts, id, operation);
    } finally {
      await this.#ends.watchOn(id);
    }
  }

  async destroy(id: string, operation: Operation, ports: readonly VifSpec[]): Promise<void> {
    this.#ends.leave(id);
    await destroyContainer(this.#parts, id, operation, ports);
    await this.#ends.files.clear(id);
    this.#ends.forget(id);
  }

  /** Looks after a container's PID 1, and its images, from now on; for the room above, which restores containers too. */
  async watch(id: string): Promise<void> {
    this.#parts.pages.follow(id);
    await this.#ends.watch(id);
  }

  /** It is another host's now; the room above has removed it. */
  async left(id: string): Promise<void> {
    this.#ends.forget(id);
    await this.#ends.files.clear(id);
  }
}

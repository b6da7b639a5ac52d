/**
 * Looks after the images of resumed containers: they go when the last page is in. One whose page daemon died before has lost memory
 * and is ended, as a machine with broken memory would be.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, messageOf } from '../../base/errors.js';
import { untilAborted } from '../../base/together.js';
import type { HostParts } from '../parts.js';
import { isAlive, kill, waitGone } from '../process.js';
import { thaw } from './freezer.js';
import { checkpointPaths, removeCheckpoint, type CheckpointPaths } from './images.js';
import { endPageDaemon, pageDaemon, pageDaemonExit, wasLazy } from './page-daemon.js';

const pollMs = 200;
/** The longest that anybody waits for the pages of a container. */
const waitMs = 600_000;

/** One for each host. */
export class PageKeeper {
  readonly #following = new Map<string, Promise<void>>();
  #stopped = false;

  constructor(private readonly parts: Pick<HostParts, 'options' | 'store' | 'log' | 'runc' | 'cgroups'>) {}

  /** Follows the images of a container that runs until they are gone. Returns at once; never throws. */
  follow(id: string): void {
    if (this.#following.has(id)) return;
    const work = this.#follow(id).catch((error: unknown) => this.parts.log.error({ err: error, instance: id }, `cannot take the images of ${id} away: ${messageOf(error)}`));
    this.#following.set(id, work.finally(() => this.#following.delete(id)));
  }

  /**
   * Waits until all memory of a container is its own again: before that it cannot be dumped.
   * @throws SUSPEND_FAILED after ten minutes; the signal's reason
   */
  async settled(id: string, signal: AbortSignal): Promise<void> {
    const following = this.#following.get(id);
    if (!following) return;
    const late = sleep(waitMs, undefined, { ref: false }).then(() => {
      throw new HaulierError('SUSPEND_FAILED', { reason: `its memory is still being read after ${waitMs / 60_000} minutes` });
    });
    await untilAborted(Promise.race([following, late]), signal);
  }

  /** Ends the following; daemons go on, and the next service follows them. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#following.values());
  }

  async #follow(id: string): Promise<void> {
    const paths = checkpointPaths(this.parts.store.paths(id));
    if (!existsSync(paths.folder)) return;
    if ((await wasLazy(paths)) && !(await this.#pagesAreIn(id, paths))) return;
    if ((await this.parts.store.readState(id))?.wanted === 'suspended') return; // its memory
    await removeCheckpoint(paths);
  }

  /** @returns false if the service stops before */
  async #pagesAreIn(id: string, paths: CheckpointPaths): Promise<boolean> {
    const { store, log } = this.parts;
    const container = await store.running(id);
    const runs = (): boolean => container !== undefined && isAlive(container); // this one, not its successor
    for (let daemon = await pageDaemon(paths); daemon && !(await waitGone(daemon, pollMs)); daemon = await pageDaemon(paths)) {
      if (this.#stopped) return false;
      if (!runs()) await endPageDaemon(paths);
    }
    const code = await pageDaemonExit(paths);
    if (code === 0 || !runs()) return true;
    log.error({ instance: id, code }, `the page daemon of ${id} ended before the memory was whole (see ${paths.work}/pages.log): ending the container`);
    if (container) kill(container);
    await thaw(this.parts, id);
    return true;
  }
}

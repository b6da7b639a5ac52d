/** Looks whether criu still lives while the runtime waits for it: one that was killed leaves half-made processes, for which the runtime waits for ever. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../../base/errors.js';
import { saysResumed } from './criu-log.js';
import { criuLives } from './in-flight.js';
import type { CheckpointPaths } from './paths.js';

/** Most restores are done by then, and never looked at. */
const firstLookMs = 1000;
const lookMs = 500;
/** For the runtime and the monitor to say themselves what came of it. */
const graceMs = 2000;

/**
 * Runs a restore, and aborts its signal when criu has ended without having let the processes go.
 * @throws RUNTIME_FAILED then, and what `work` throws
 */
export async function whileCriuLives<T>(paths: CheckpointPaths, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const [gone, done] = [new AbortController(), new AbortController()];
  const watch = async (): Promise<void> => {
    const { signal } = done;
    const log = (): Promise<string> => readFile(paths.restoreLog, 'utf8').catch(() => '');
    await sleep(firstLookMs, undefined, { signal });
    let since: number | undefined;
    for (;; await sleep(lookMs, undefined, { signal })) {
      const text = await log();
      if (saysResumed(text)) return;
      if (text === '' || (await criuLives(paths.images))) since = undefined; // without a log it has not begun
      else if (performance.now() - (since ??= performance.now()) > graceMs) return gone.abort(new HaulierError('RUNTIME_FAILED', { action: 'restore the container', reason: 'criu was killed in the middle of its work' }));
    }
  };
  const watching = watch().catch(() => undefined);
  try {
    return await work(gone.signal);
  } finally {
    done.abort();
    await watching;
  }
}

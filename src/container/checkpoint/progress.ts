/** Gives a dump up that has come to a halt, or whose criu is gone: it can leave a helper behind for which the runtime would wait for ever. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { lostInDump, whileCriuLives } from './criu-lost.js';
import { processesIn, progressOf } from './in-flight.js';
import type { CheckpointPaths } from './paths.js';

const lookMs = 1000;
const haltMs = 20_000;
/** What has written nothing for so long may be starved of a processor, or wait for a slow disk: it has halted if it does nothing else for so long either. */
const idleMs = 5000;

/** Bytes in the checkpoint's files, criu's log among them. */
async function written(paths: CheckpointPaths): Promise<number> {
  const sizes = await Promise.all([paths.images, paths.work].map(async (folder) => {
    const names = await readdir(folder).catch(() => []);
    return await Promise.all(names.map((name) => stat(join(folder, name)).then(({ size }) => size, () => 0)));
  }));
  return sizes.flat().reduce((sum, size) => sum + size, 0);
}

/** Runs `work` and aborts its signal when criu is gone, or nothing was written for a while and criu has not worked either. @throws SUSPEND_FAILED then, and what `work` throws */
export async function whileProgressing<T>(paths: CheckpointPaths, parent: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const halted = new AbortController();
  let last = -1;
  let done = '';
  let since = performance.now();
  const look = async (): Promise<void> => {
    const bytes = await written(paths);
    const now = performance.now();
    if (bytes !== last) [last, since] = [bytes, now];
    if (now - since < haltMs) return;
    const doing = await progressOf(await processesIn(paths.folder));
    if (doing === done) halted.abort(new HaulierError('SUSPEND_FAILED', { reason: `criu has written nothing for ${haltMs / 1000} s`, halted: true }));
    else [done, since] = [doing, now - haltMs + idleMs];
  };
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => { timer = setTimeout(() => void look().catch(() => undefined).finally(() => { if (timer) next(); }), lookMs); };
  next();
  try {
    return await whileCriuLives(paths.folder, paths.dumpLog, lostInDump(), (lost) => work(AbortSignal.any([parent, halted.signal, lost])));
  } finally {
    clearTimeout(timer);
    timer = undefined;
  }
}

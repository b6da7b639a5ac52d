/** Gives a dump up that has come to a halt, or whose criu is gone: it can leave a helper behind for which the runtime would wait for ever. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError } from '../../base/errors.js';
import { lostInDump, whileCriuLives } from './criu-lost.js';
import type { CheckpointPaths } from './paths.js';

const lookMs = 1000;
const haltMs = 20_000;

/** Bytes in the checkpoint's files, criu's log among them. */
async function written(paths: CheckpointPaths): Promise<number> {
  const sizes = await Promise.all([paths.images, paths.work].map(async (folder) => {
    const names = await readdir(folder).catch(() => []);
    return await Promise.all(names.map((name) => stat(join(folder, name)).then(({ size }) => size, () => 0)));
  }));
  return sizes.flat().reduce((sum, size) => sum + size, 0);
}

/** Runs `work` and aborts its signal when criu is gone, or nothing was written for a while. @throws SUSPEND_FAILED then, and what `work` throws */
export async function whileProgressing<T>(paths: CheckpointPaths, parent: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const halted = new AbortController();
  let last = -1;
  let since = performance.now();
  const timer = setInterval(() => void written(paths).then((bytes) => {
    if (bytes !== last) since = performance.now();
    else if (performance.now() - since >= haltMs) halted.abort(new HaulierError('SUSPEND_FAILED', { reason: `criu has written nothing for ${haltMs / 1000} s`, halted: true }));
    last = bytes;
  }), lookMs);
  try {
    return await whileCriuLives(paths.folder, paths.dumpLog, lostInDump(), (lost) => work(AbortSignal.any([parent, halted.signal, lost])));
  } finally {
    clearInterval(timer);
  }
}

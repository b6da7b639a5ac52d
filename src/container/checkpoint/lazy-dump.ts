/**
 * A dump that leaves the memory where it is: criu writes everything else, then gives pages to whoever asks for them, while the
 * container stands frozen. criu listens nowhere for that: it gets one end of a socket pair, and this service holds the other one.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import type { HostParts } from '../parts.js';
import { dumping, dumpOptions } from './criu-dump.js';
import type { CheckpointPaths } from './images.js';
import { chooseNetworkLock } from './network-lock.js';
import { criuMark } from './in-flight.js';
import { whileProgressing } from './progress.js';

/** Numbers of the descriptors that the runtime gets, and criu after it, which has the runtime's own channel at 3. */
const pagesFd = 4;
const statusFd = 5;
const tailBytes = 2000;

/** Its images are whole but for the memory. */
export interface LazyDump {
  /** Where pages are asked for (criu's page server protocol). Destroyed, it ends criu: it leaves the container as it stands. */
  readonly pages: Duplex;
  /** When criu has ended. @throws RUNTIME_FAILED if not all pages were asked for */
  readonly served: Promise<void>;
}

/** Like `criuDump`, but for the memory that no file holds. @param more options of the runtime @throws SUSPEND_FAILED, the signal's reason */
export async function criuLazyDump(parts: HostParts, id: string, paths: CheckpointPaths, parent: AbortSignal, more: readonly string[] = []): Promise<LazyDump> {
  await chooseNetworkLock(parts, id, 'mute');
  const config = join(paths.work, 'lazy.conf'); // the runtime has a flag for neither: its --status-fd takes no socket
  await writeFile(config, `ps-socket ${pagesFd}\nstatus-fd ${statusFd}\n`, { mode: 0o600 });
  const { command, root, environment } = parts.runc;
  const child = spawn(command, ['--root', root, 'checkpoint', ...dumpOptions(paths), '--lazy-pages', ...more, id], {
    stdio: ['ignore', 'ignore', 'pipe', 'ignore', 'pipe', 'pipe'],
    env: { ...environment, [criuMark]: paths.folder, CRIU_CONFIG_FILE: config },
  });
  const [pages, status] = [child.stdio[pagesFd] as Duplex, (child.stdio as readonly unknown[])[statusFd] as Readable];
  pages.on('error', () => undefined); // its end says all
  const served = ended(child);
  served.catch(() => undefined);
  const ready = whileProgressing(paths, parent, (signal) => untilReady(status, served, signal));
  try {
    await dumping(paths, ready);
  } catch (error) {
    pages.destroy();
    child.kill('SIGKILL');
    throw error;
  }
  return { pages, served };
}

function ended(child: ChildProcess): Promise<void> {
  let words = Buffer.alloc(0);
  child.stderr?.on('data', (chunk: Buffer) => { words = Buffer.concat([words, chunk]).subarray(-tailBytes); });
  const failed = (reason: string): HaulierError => new HaulierError('RUNTIME_FAILED', { action: 'checkpoint the container', reason });
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(failed(error.message)));
    child.once('close', (code, signal) => (code === 0 ? resolve() : reject(failed(words.toString('utf8').trim() || `it ended with ${code ?? signal}`))));
  });
}

/** criu writes a byte when its images are written. */
async function untilReady(status: Readable, served: Promise<void>, signal: AbortSignal): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      signal.throwIfAborted();
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      status.once('data', () => resolve());
      served.then(() => reject(new HaulierError('RUNTIME_FAILED', { action: 'checkpoint the container', reason: 'it ended without a word' })), reject);
    });
  } finally {
    status.destroy();
  }
}

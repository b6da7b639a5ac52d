/**
 * A dump that leaves the memory where it is: criu writes everything else, then gives pages to whoever asks for them, while the
 * container stands frozen. criu listens nowhere for that: it gets one end of a socket pair, and this service holds the other one.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import { untilAborted } from '../../base/together.js';
import type { HostParts } from '../parts.js';
import { dumping, explained, dumpOptions } from './criu-dump.js';
import { CriuGate } from './criu-gate.js';
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

/** Such a dump of a container that still runs, of which all is done but criu's own part. */
export class ReadyLazyDump {
  readonly #child: ChildProcess;
  readonly #dump: LazyDump;

  private constructor(private readonly parts: HostParts, private readonly id: string, private readonly paths: CheckpointPaths, private readonly gate: CriuGate, config: string, more: readonly string[]) {
    const { command, root, environment } = parts.runc;
    this.#child = spawn(command, ['--root', root, 'checkpoint', ...dumpOptions(paths), '--lazy-pages', ...more, id], {
      stdio: ['ignore', 'ignore', 'pipe', 'ignore', 'pipe', 'pipe'],
      env: { ...environment, ...gate.environment, [criuMark]: paths.folder, CRIU_CONFIG_FILE: config },
    });
    this.#dump = { pages: this.#child.stdio[pagesFd] as Duplex, served: ended(this.#child) };
    this.#dump.pages.on('error', () => undefined); // its end says all
    this.#dump.served.catch(() => undefined);
  }

  /** Starts the runtime. @param more its options @throws SUSPEND_FAILED if it ends before it has come to criu, the signal's reason */
  static async prepare(parts: HostParts, id: string, paths: CheckpointPaths, signal: AbortSignal, more: readonly string[] = []): Promise<ReadyLazyDump> {
    const config = join(paths.work, 'lazy.conf'); // the runtime has a flag for neither: its --status-fd takes no socket
    await writeFile(config, `ps-socket ${pagesFd}\nstatus-fd ${statusFd}\n`, { mode: 0o600 });
    const ready = new ReadyLazyDump(parts, id, paths, await CriuGate.make(paths.work, parts.options.criu, parts.runc), config, more);
    try {
      await untilAborted(Promise.race([ready.gate.reached, explained(paths, ready.#dump.served)]), signal);
      return ready;
    } catch (error) {
      await ready.end();
      throw error;
    }
  }

  /** It stands frozen: criu begins. Like `criuDump`, but for the memory that no file holds. @throws SUSPEND_FAILED, the signal's reason */
  async run(parent: AbortSignal): Promise<LazyDump> {
    await chooseNetworkLock(this.parts, this.id, 'mute');
    const status = (this.#child.stdio as readonly unknown[])[statusFd] as Readable;
    this.gate.open();
    try {
      await dumping(this.paths, whileProgressing(this.paths, parent, (signal) => untilReady(status, this.#dump.served, signal)));
      return this.#dump;
    } catch (error) {
      this.#child.kill('SIGKILL');
      await this.end();
      throw error;
    }
  }

  /** Ends what still waits or serves: criu leaves the container as it stands. Idempotent, never throws. */
  async end(): Promise<void> {
    this.#dump.pages.destroy();
    await this.gate.close();
  }
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

/** The OCI runtime's command line (runc 1.3). */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { run, type RunResult } from '../../base/run.js';

/** What `runc state` and `runc list` say. */
export interface RuncState {
  readonly id: string;
  readonly pid: number;
  readonly status: 'creating' | 'created' | 'running' | 'paused' | 'stopped';
  readonly bundle: string;
}

const missing = /container does not exist|does not exist/;
const checkpointTimeoutMs = 1_800_000;
const notRunning = /container not running|process already finished|no such process|container is not running/i;

/** The environment for the runtime: the right criu first in PATH, since runc >= 1.3 takes it from there. */
export function runtimeEnvironment(criu: string): NodeJS.ProcessEnv {
  const path = process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin';
  return { ...process.env, PATH: isAbsolute(criu) ? `${dirname(criu)}:${path}` : path };
}

/** runc with one `--root`. Errors are RUNTIME_FAILED with runc's own words. */
export class Runc {
  readonly environment: NodeJS.ProcessEnv;
  /** @param root folder of runc's state, in a tmpfs */
  constructor(readonly command: string, readonly root: string, criu: string) {
    this.environment = runtimeEnvironment(criu);
  }

  /** Lets PID 1 of a created container run. */
  async start(id: string, signal?: AbortSignal): Promise<void> {
    await this.#run('start the container', ['start', id], signal);
  }

  /** Signals PID 1. @returns false if it does not run any more */
  async kill(id: string, signalName: string): Promise<boolean> {
    return await this.#runIfThere('signal the container', ['kill', id, signalName]);
  }

  /**
   * Kills what runs of it and removes its state and cgroups. `--force` sleeps 100 ms although everything has ended, so it is only for
   * what still runs. @returns false if the runtime does not know it
   */
  async delete(id: string): Promise<boolean> {
    if (!existsSync(join(this.root, id))) return false;
    try {
      return await this.#runIfThere('delete the container', ['delete', id]);
    } catch (error) {
      if (!isHaulierError(error, 'RUNTIME_FAILED')) throw error;
      return await this.#runIfThere('delete the container', ['delete', '--force', id]);
    }
  }

  /** Thaws. */
  async resume(id: string, signal?: AbortSignal): Promise<void> {
    await this.#run('resume the container', ['resume', id], signal);
  }

  /** Dumps it with criu. @param args the runtime's options; its own output names only criu's log */
  async checkpoint(id: string, args: readonly string[], signal?: AbortSignal, environment: NodeJS.ProcessEnv = {}): Promise<void> {
    await this.#run('checkpoint the container', ['checkpoint', ...args, id], signal, checkpointTimeoutMs, undefined, environment);
  }

  /** Runs a program in the container, as its root, and waits for it. The program is the guest's, hence the time-out. */
  async exec(id: string, args: readonly string[], timeoutMs: number): Promise<RunResult> {
    return await this.#run('run a program in the container', ['exec', '--user', '0:0', id, ...args], undefined, timeoutMs);
  }

  /** @returns undefined if the runtime does not know it */
  async state(id: string): Promise<RuncState | undefined> {
    try {
      const { stdout } = await this.#run('tell its state', ['state', id]);
      return JSON.parse(stdout) as RuncState;
    } catch (error) {
      if (isHaulierError(error, 'RUNTIME_FAILED') && missing.test(error.message)) return undefined;
      throw error;
    }
  }

  /** Everything that the runtime knows. */
  async list(): Promise<readonly RuncState[]> {
    const { stdout } = await this.#run('list containers', ['list', '--format', 'json']);
    return (JSON.parse(stdout || 'null') as RuncState[] | null) ?? [];
  }

  /** Throws the runtime's record away, of one that has ended or that it cannot read itself. The caller has unmounted what is below it. */
  async forget(id: string): Promise<void> {
    await rm(join(this.root, id), { recursive: true, force: true });
  }

  /** Updates limits of a running container; the caller writes them into config.json as well. */
  async update(id: string, resources: object): Promise<void> {
    await this.#run('change limits', ['update', '--resources', '-', id], undefined, undefined, JSON.stringify(resources));
  }

  async #runIfThere(action: string, args: readonly string[]): Promise<boolean> {
    try {
      await this.#run(action, args);
      return true;
    } catch (error) {
      if (isHaulierError(error, 'RUNTIME_FAILED') && (missing.test(error.message) || notRunning.test(error.message))) return false;
      throw error;
    }
  }

  async #run(action: string, args: readonly string[], signal?: AbortSignal, timeoutMs = 60_000, input?: string, environment: NodeJS.ProcessEnv = {}): Promise<RunResult> {
    try {
      return await run(this.command, ['--root', this.root, ...args], {
        env: { ...this.environment, ...environment },
        timeoutMs,
        ...(signal ? { signal } : {}),
        ...(input === undefined ? {} : { input }),
      });
    } catch (error) {
      if (!isHaulierError(error, 'COMMAND_FAILED', 'COMMAND_TIMEOUT')) throw error;
      throw new HaulierError('RUNTIME_FAILED', { action, reason: String(error.details['stderr'] || error.message) }, { cause: error });
    }
  }
}

/**
 * Notices that containers end: conmon writes `<exitFolder>/<id>` with PID 1's status. Files that came while the service was down are
 * found at the start; a container whose monitor died as well is found by looking at its process.
 */
import { watch, type FSWatcher } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const signalBase = 128;
const SIGHUP = 1;
const SIGINT = 2;

/** PID 1's status when it asked for a reboot: reboot(2) in a PID namespace ends its init by SIGHUP (pid_namespaces(7)). */
export const rebootStatus = signalBase + SIGHUP;
/** PID 1's status after reboot(2) with halt or power off: SIGINT. */
export const powerOffStatus = signalBase + SIGINT;

/** What PID 1's status means if nobody on the host asked for its end. */
export function classifyExit(code: number): { readonly state: 'stopped' | 'crashed'; readonly rebootRequested: boolean } {
  return { state: code === 0 || code === rebootStatus || code === powerOffStatus ? 'stopped' : 'crashed', rebootRequested: code === rebootStatus };
}

/** Watches the exit folder. */
export class ExitWatcher {
  #watcher: FSWatcher | undefined;
  readonly #seen = new Set<string>();

  /** @param onExit called once for each new exit file; a rejection is the callee's to avoid */
  constructor(readonly folder: string, private readonly onExit: (id: string, code: number) => Promise<void>) {}

  /** Begins to watch, and handles the files that are there. */
  async start(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    this.#watcher ??= watch(this.folder, { persistent: false }, (_, name) => {
      if (name && uuid.test(name)) void this.#look(name);
    });
    for (const name of await readdir(this.folder)) if (uuid.test(name)) await this.#look(name);
  }

  stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** The exit code that conmon left, if it has. */
  async read(id: string): Promise<number | undefined> {
    const text = await readFile(join(this.folder, id), 'utf8').catch(() => '');
    return /^\d+$/.test(text.trim()) ? Number(text) : undefined;
  }

  /** Removes the file: its content is on record now. */
  async clear(id: string): Promise<void> {
    await rm(join(this.folder, id), { force: true });
    this.#seen.delete(id);
  }

  async #look(id: string): Promise<void> {
    if (this.#seen.has(id)) return;
    const code = await this.read(id);
    if (code === undefined || this.#seen.has(id)) return;
    this.#seen.add(id);
    await this.onExit(id, code);
  }
}

/**
 * Holds criu back until its moment has come, while the runtime is already there: what the runtime does before it, and its own start, is
 * about half of the time that a dump or a restore takes, and needs neither a frozen container nor whole images. The runtime finds
 * `criu-gate.pl` in criu's place.
 */
import { mkdir, open, rm, symlink, type FileHandle } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { findCommand } from '../../base/run.js';
import { packageRoot } from '../../base/package-root.js';
import type { Runc } from '../runtime/runc.js';

const script = join(packageRoot, 'src/container/checkpoint/criu-gate.pl');
const commandFolder = 'gated';
const socketName = 'gate';

/** See above. */
export class CriuGate {
  /** For the runtime. */
  readonly environment: NodeJS.ProcessEnv;
  /** When criu stands before it. Never rejects: a runtime that fails before does not come here. */
  readonly reached: Promise<void>;
  #socket: Socket | undefined;
  #word: string | undefined;

  private constructor(private readonly work: string, criu: string, runc: Pick<Runc, 'environment'>, private readonly folder: FileHandle, private readonly server: Server) {
    this.environment = { PATH: `${join(work, commandFolder)}:${runc.environment['PATH'] ?? ''}`, HAULIER_GATE: work, HAULIER_CRIU: findCommand(criu) };
    this.reached = new Promise((resolve) => server.once('connection', (socket) => {
      this.#socket = socket;
      socket.on('error', () => undefined);
      this.#tell();
      resolve();
    }));
  }

  /** Makes one in a checkpoint's work folder; at most one is there at a time. */
  static async make(work: string, criu: string, runc: Pick<Runc, 'environment'>): Promise<CriuGate> {
    await mkdir(join(work, commandFolder), { mode: 0o700 });
    await symlink(script, join(work, commandFolder, 'criu'));
    const folder = await open(work, 'r');
    const server = createServer();
    const gate = new CriuGate(work, criu, runc, folder, server);
    // by way of the folder: the name of a socket has at most 107 bytes
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(`/proc/self/fd/${folder.fd}/${socketName}`, resolve));
    return gate;
  }

  /** Lets criu begin, now or as soon as it comes. @param group `cgroup.procs` of a control group that it joins before */
  open(group?: string): void {
    this.#word = group === undefined ? 'go\n' : `go ${group}\n`;
    this.#tell();
  }

  /** Takes the gate away when the runtime has ended; before that: criu, if it was not let go, is not started, and the runtime fails. Idempotent. */
  async close(): Promise<void> {
    if (this.#word === undefined) this.#socket?.destroy();
    if (this.server.listening) await new Promise<void>((resolve) => this.server.close(() => resolve()));
    await this.folder.close().catch(() => undefined);
    for (const name of [commandFolder, socketName]) await rm(join(this.work, name), { recursive: true, force: true });
  }

  #tell(): void {
    if (this.#word !== undefined) this.#socket?.end(this.#word);
  }
}

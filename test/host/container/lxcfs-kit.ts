/** An lxcfs of a test's own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { run } from '../../../src/base/run.js';
import { findLxcfs } from '../../../src/container/figures/lxcfs.js';
import { until } from './harness.js';

const program = '/usr/bin/lxcfs';

/** Why there can be none here; undefined if there can. */
export function lxcfsProblem(): string | undefined {
  if (!existsSync(program)) return `${program} missing: install lxcfs`;
  return existsSync('/dev/fuse') ? undefined : 'no /dev/fuse';
}

/** See above. */
export class Lxcfs {
  #child: ChildProcess | undefined;
  private constructor(readonly path: string) {}

  /** Not started yet. */
  static async make(): Promise<Lxcfs> {
    return new Lxcfs(await mkdtemp('/run/lxcfs-'));
  }

  async start(): Promise<void> {
    this.#child = spawn(program, ['-f', '-l', '--enable-cfs', '-p', `${this.path}.pid`, this.path], { stdio: 'ignore' });
    await until('lxcfs answers', async () => typeof (await findLxcfs({ lxcfs: this.path })) !== 'string');
  }

  /** As it ends when it crashes. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await run('umount', ['--lazy', this.path], { okCodes: [0, 1, 32] });
  }

  async end(): Promise<void> {
    await this.kill();
    await rmdir(this.path);
  }
}

/** An lxcfs of a test's own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { run } from '../../../src/base/run.js';
import { findLxcfs } from '../../../src/container/figures/lxcfs.js';
import { until } from './harness.js';

const program = '/usr/bin/lxcfs';
const trialMs = 15_000;

/** Why there can be none here; undefined if there can. lxcfs 7 works with cgroup v2 alone. */
export async function lxcfsProblem(): Promise<string | undefined> {
  if (!existsSync(program)) return `${program} missing: install lxcfs`;
  if (!existsSync('/dev/fuse')) return 'no /dev/fuse';
  const one = await Lxcfs.make();
  return await one.start(trialMs).then(() => undefined, (error: Error) => error.message).finally(() => one.end());
}

/** See above. */
export class Lxcfs {
  #child: ChildProcess | undefined;
  private constructor(readonly path: string) {}

  /** Not started yet. */
  static async make(): Promise<Lxcfs> {
    return new Lxcfs(await mkdtemp('/run/lxcfs-'));
  }

  /** @throws what is wrong with it */
  async start(timeoutMs = 60_000): Promise<void> {
    this.#child = spawn(program, ['-f', '-l', '--enable-cfs', '-p', `${this.path}.pid`, this.path], { stdio: 'ignore' });
    let found: unknown;
    await until('lxcfs answers', async () => typeof (found = await findLxcfs({ lxcfs: this.path })) !== 'string', timeoutMs).catch(() => { throw new Error(String(found)); });
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

/** `haulier exec`: the runtime's own, on this terminal. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { findContainer, lookParts } from './containers.js';
import type { LoadedConfig } from '../base/config/load.js';
import { HaulierError } from '../base/errors.js';
import { runtimeEnvironment } from '../container/runtime/runc.js';
import { viewContainer } from '../container/view.js';

const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Runs a command in a container with this process's standard streams.
 * @param terminal false: no terminal of its own, although there is one here
 * @returns the command's exit code; 128 and the signal's number if one ended it
 * @throws INSTANCE_NOT_FOUND, BAD_ARGUMENT, INSTANCE_STATE if it does not run
 */
export async function exec(loaded: LoadedConfig, word: string, command: readonly string[], terminal: boolean): Promise<number> {
  const parts = await lookParts(loaded);
  const id = await findContainer(parts.store, word);
  const { state } = await viewContainer(parts, id);
  if (state !== 'running') throw new HaulierError('INSTANCE_STATE', { instance: id, state, action: 'run a command in it' });
  const tty = terminal && process.stdin.isTTY && process.stdout.isTTY;
  const environment = ['--env', path, '--env', 'HOME=/root', ...(tty ? ['--tty', '--env', `TERM=${process.env['TERM'] ?? 'xterm'}`] : [])];
  const child = spawn(parts.options.runc, ['--root', join(parts.options.runPath, 'runc'), 'exec', ...environment, id, ...command], { stdio: 'inherit', env: runtimeEnvironment(parts.options.criu) });
  // the terminal sends them to the whole group: the runtime hands them on, and its end is ours
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void child.kill(signal));
  return await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new HaulierError('COMMAND_FAILED', { command: parts.options.runc, outcome: 'cannot start', stderr: error.message }, { cause: error })));
    child.once('close', (code) => resolve(code ?? 255));
  });
}

/**
 * Runs external commands: an argument array (never a shell), a time-out, and the tail of its error output in the error.
 *
 * A command that is killed may leave children with its pipes, and one that waits for a device cannot be killed before that answers:
 * neither holds up its caller.
 */
import { spawn, type StdioOptions } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { HaulierError } from './errors.js';

const tailBytes = 2000;
const maxOutput = 64 * 1024 * 1024;
/** For the end of a command that was killed. */
const killedMs = 2000;

let longestMs = Infinity;

/** For tests of commands that hang: none that is started from now on gets more time than this, milliseconds. */
export function hurryCommands(ms: number): void {
  longestMs = ms;
}

/** What a command that may take `ms` gets. */
export const commandLimit = (ms: number): number => Math.min(ms, longestMs);

/** Options of `run`. */
export interface RunOptions {
  /** Milliseconds after which the command is killed (SIGKILL). Default 60 000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** What it reads; a promise: the command starts already, and reads it when it is there (it is killed if it never comes). */
  readonly input?: string | Buffer | Promise<string>;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Exit codes that are no failure. Default [0]. */
  readonly okCodes?: readonly number[];
}

/** What a command left. */
export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs `command` with `args` and waits for its end.
 * @throws COMMAND_FAILED, COMMAND_TIMEOUT, or the signal's reason
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const timeoutMs = commandLimit(options.timeoutMs ?? 60_000);
  const shown = [command, ...args].join(' ').slice(0, 300);
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      reject(options.signal.reason as Error);
      return;
    }
    const stdio: StdioOptions = [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'];
    const child = spawn(command, args, { stdio, cwd: options.cwd, env: options.env ?? process.env });
    const out: Buffer[] = [];
    let outBytes = 0;
    let err = Buffer.alloc(0);
    let ended: 'timeout' | 'abort' | undefined;
    let killed: NodeJS.Timeout | undefined;
    const end = (why: 'timeout' | 'abort'): void => {
      ended ??= why;
      child.kill('SIGKILL');
      killed ??= setTimeout(() => {
        for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
        child.unref();
        finish(null, 'SIGKILL');
      }, killedMs);
    };
    const timer = setTimeout(() => end('timeout'), timeoutMs);
    const onAbort = (): void => end('abort');
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const done = (): void => { clearTimeout(timer); clearTimeout(killed); options.signal?.removeEventListener('abort', onAbort); };
    child.stdout?.on('data', (chunk: Buffer) => { outBytes += chunk.length; if (outBytes <= maxOutput) out.push(chunk); });
    child.stderr?.on('data', (chunk: Buffer) => { err = Buffer.concat([err, chunk]).subarray(-64 * 1024); });
    if (child.stdin) {
      child.stdin.on('error', () => undefined); // the exit code tells; EPIPE is only its shadow
      Promise.resolve(options.input).then((input) => child.stdin?.end(input), () => child.kill('SIGKILL'));
    }
    child.on('error', (error) => { done(); reject(new HaulierError('COMMAND_FAILED', { command: shown, outcome: 'cannot start', stderr: error.message }, { cause: error })); });
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      done();
      const stderr = err.toString('utf8');
      const tail = stderr.slice(-tailBytes).trim();
      if (ended === 'timeout') reject(new HaulierError('COMMAND_TIMEOUT', { command: shown, seconds: timeoutMs / 1000, stderr: tail }));
      else if (ended === 'abort') reject(options.signal?.reason as Error);
      else if (code === null || !(options.okCodes ?? [0]).includes(code)) reject(new HaulierError('COMMAND_FAILED', { command: shown, outcome: code === null ? `signal ${signal}` : `exit code ${code}`, stderr: tail }));
      else resolve({ code, stdout: Buffer.concat(out).toString('utf8'), stderr });
    };
    child.on('close', finish);
  });
}

/** The absolute path of a command by PATH; the name itself where it is a path already or is not found. */
export function findCommand(name: string): string {
  if (name.includes('/')) return name;
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // not in this folder
    }
  }
  return name;
}

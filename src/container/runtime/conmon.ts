/**
 * The monitor of one container: conmon starts the runtime, holds the console's pty, writes the console's log and, at the end, the
 * exit code into a file. It outlives this service.
 *
 * It is started with `spawn` and not with `run` (base/run.ts), because it stays: its launcher ends at once, the monitor itself says
 * through a pipe (`_OCI_SYNCPIPE`) which pid the container has or what the runtime complained of.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';
import { commandLimit } from '../../base/run.js';
import type { Runc } from './runc.js';

/** What a monitor is started with. */
export interface MonitorOptions {
  readonly id: string;
  readonly name: string;
  readonly bundle: string;
  /** Console log; conmon begins it anew beyond `consoleBytes`. */
  readonly console: string;
  readonly consoleBytes: number;
  /** Where the exit code is written, in a file named as the container. */
  readonly exitFolder: string;
  /** Folder of the pid files. */
  readonly runFolder: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  readonly conmonLog: string;
  /** Restore from this image folder instead of creating; with the runtime's options for it. */
  readonly restore?: { readonly imagePath: string; readonly runtimeOptions: readonly string[]; /** A promise: the time counts from when it is known. */ readonly timeoutMs: number | Promise<number>; readonly environment?: NodeJS.ProcessEnv };
}

const createTimeoutMs = 120_000;
const tailBytes = 2000;

/** conmon's arguments. */
export function conmonArguments(runc: Pick<Runc, 'command' | 'root'>, options: MonitorOptions): string[] {
  const args = [
    '--api-version', '1', '--cid', options.id, '--cuuid', options.id, '--name', options.name, '--runtime', runc.command, '--bundle', options.bundle,
    '--log-path', `k8s-file:${options.console}`, '--log-size-max', String(options.consoleBytes), '--log-level', 'warning',
    '--exit-dir', options.exitFolder, '--full-attach', '--terminal', '--no-sync-log',
    '--container-pidfile', options.pidFile, '--conmon-pidfile', options.conmonPidFile,
    '--runtime-arg', '--root', '--runtime-arg', runc.root,
  ];
  if (!options.restore) return args;
  return [...args, '--restore', options.restore.imagePath, ...options.restore.runtimeOptions.flatMap((option) => ['--runtime-opt', option])];
}

/**
 * Starts a monitor, which creates (or restores) the container.
 * @param command conmon
 * @returns host pid of PID 1
 * @throws RUNTIME_FAILED with the runtime's words; CANCELLED reasons of `signal`, after which the monitor may still be at work
 */
export async function startMonitor(command: string, runc: Runc, options: MonitorOptions, signal?: AbortSignal): Promise<number> {
  signal?.throwIfAborted();
  await mkdir(options.runFolder, { recursive: true, mode: 0o700 });
  await mkdir(options.exitFolder, { recursive: true, mode: 0o700 });
  const action = options.restore ? 'restore the container' : 'create the container';
  const log = openSync(options.conmonLog, 'w', 0o600);
  let child;
  try {
    child = spawn(command, conmonArguments(runc, options), {
      stdio: ['ignore', 'ignore', log, 'pipe'],
      env: { ...runc.environment, ...options.restore?.environment, _OCI_SYNCPIPE: '3' },
      detached: true,
    });
  } finally {
    closeSync(log);
  }
  const pipe = child.stdio[3] as Readable;
  const answer = await firstLine(child, `${command}, which has ${runc.command} ${action} ${options.id},`, pipe, options.restore?.timeoutMs ?? createTimeoutMs, signal).finally(() => pipe.destroy());
  const { pid, message } = parseAnswer(answer);
  if (pid !== undefined && pid > 0) return pid;
  const words = message ?? (await readFile(options.conmonLog, 'utf8').catch(() => '')).slice(-tailBytes).trim();
  throw new HaulierError('RUNTIME_FAILED', { action, reason: words || (options.restore ? 'conmon says nothing of a failed restore: read restore.log in the work path' : 'its monitor ended without a word') });
}

/** Reads conmon's answer: `{"data": PID}` (API 1) or `{"pid": PID}`, with a message if PID is -1. */
export function parseAnswer(line: string): { readonly pid: number | undefined; readonly message: string | undefined } {
  try {
    const value = JSON.parse(line) as { data?: unknown; pid?: unknown; message?: unknown };
    const pid = value.data ?? value.pid;
    return { pid: typeof pid === 'number' ? pid : undefined, message: typeof value.message === 'string' && value.message !== '' ? value.message.trim() : undefined };
  } catch {
    return { pid: undefined, message: undefined };
  }
}

function firstLine(child: ReturnType<typeof spawn>, name: string, pipe: Readable, timeout: number | Promise<number>, signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const limit = (longestMs: number): void => {
      const ms = commandLimit(longestMs);
      if (!over) timer = setTimeout(() => settle(() => reject(new HaulierError('COMMAND_TIMEOUT', { command: name, seconds: ms / 1000, stderr: '' }))), ms);
    };
    if (typeof timeout === 'number') limit(timeout);
    else timeout.then(limit, () => undefined);
    const onAbort = (): void => settle(() => reject(signal?.reason as Error));
    const settle = (finish: () => void): void => {
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      finish();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    pipe.setEncoding('utf8');
    pipe.on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) settle(() => resolve(text.slice(0, text.indexOf('\n'))));
    });
    pipe.on('end', () => settle(() => resolve(text)));
    pipe.on('error', () => settle(() => resolve(text)));
    child.on('error', (error) => settle(() => reject(new HaulierError('COMMAND_FAILED', { command: 'conmon', outcome: 'cannot start', stderr: error.message }, { cause: error }))));
    child.unref();
  });
}

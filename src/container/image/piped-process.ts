/**
 * A command in the middle of a stream. `base/run.ts` collects a command's output; here the bytes flow through it while it runs, with
 * back-pressure, and its end is awaited beside them.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { HaulierError } from '../../base/errors.js';

/** How a command ended. */
export interface ProcessEnd {
  /** Exit code; undefined if a signal ended it. */
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** The tail of its error output, at most 64 KiB. */
  readonly stderr: string;
}

/** A running command. */
export interface PipedProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when the process is gone and its pipes are closed: nothing of it writes any more. Rejects only if it could not be started. */
  readonly ended: Promise<ProcessEnd>;
  /** SIGKILL to it and what it started, and its pipes are closed on our side (output that nobody reads would keep `ended` waiting). Await `ended` afterwards. */
  kill(): void;
}

const maxStderr = 64 * 1024;

/**
 * Starts a command (argument array, never a shell), all three of its streams piped, in a process group of its own: bubblewrap's inner
 * process waits for the outer one before it ties its life to it, and would stay for ever where the outer one alone is killed just then.
 */
export function startPiped(command: readonly [string, ...string[]]): PipedProcess {
  const child = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let stderr = Buffer.alloc(0);
  child.stderr.on('data', (chunk: Buffer) => { stderr = Buffer.concat([stderr, chunk]).subarray(-maxStderr); });
  child.stdin.on('error', () => undefined); // EPIPE: the exit code tells why
  const ended = new Promise<ProcessEnd>((resolve, reject) => {
    child.on('error', (error) => reject(new HaulierError('COMMAND_FAILED', { command: command[0], outcome: 'cannot start', stderr: error.message }, { cause: error })));
    child.on('close', (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined, stderr: stderr.toString('utf8') }));
  });
  ended.catch(() => undefined); // whoever awaits it gets it; nobody must, when something else failed first
  return { stdin: child.stdin, stdout: child.stdout, ended, kill: () => { killGroup(child); child.stdin.destroy(); child.stdout.destroy(); } };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return; // never started, or gone: its number may be another's
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // it was ending
  }
}

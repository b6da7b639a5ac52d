/**
 * A running container's console as a line that a person types on. conmon holds the container's pty and hands it to any number of
 * sessions, each of which sees all output and may type; the log goes on beside them. A session ends with the container, or when it is
 * suspended: conmon ends then.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { HaulierError } from '../base/errors.js';
import { packageRoot } from '../base/package-root.js';
import type { InstanceStore } from './state.js';

/** For the rest of what a console said, after its end, milliseconds. */
export const restMs = 3000;

const script = join(packageRoot, 'src/container/runtime/attach.pl');

/** One session on a console. */
export interface ConsoleLine {
  /** What is typed. Its end ends the session. */
  readonly input: Writable;
  /** What the console says from now on. Who reads too slowly loses some of it. */
  readonly output: Readable;
  /** Resolves when the session is over, whoever ended it, and whether or not its output was read. */
  readonly ended: Promise<void>;
  /** Ends it. Idempotent. */
  end(): void;
}

/** A size in characters. */
export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
}

/** @throws INSTANCE_STATE if it does not run */
export async function openConsole(store: InstanceStore, id: string): Promise<ConsoleLine> {
  if (!(await store.running(id))) throw new HaulierError('INSTANCE_STATE', { instance: id, state: 'stopped', action: 'open its console' });
  const child = spawn('perl', [script, store.paths(id).bundle], { stdio: ['pipe', 'pipe', 'pipe'] });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { words = (words + text).slice(-500); });
  child.stdin.on('error', () => undefined); // the end of the session tells
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      const timer = setTimeout(() => child.stdout.destroy(), restMs); // that nobody reads: it would never close
      child.once('close', () => clearTimeout(timer));
    });
    child.once('close', () => resolve());
    child.once('error', (error) => { words = error.message; resolve(); });
  });
  const begun = new Promise<boolean>((resolve) => { child.once('spawn', () => resolve(true)); child.once('error', () => resolve(false)); });
  if (!(await begun)) throw new HaulierError('COMMAND_FAILED', { command: 'perl', outcome: 'cannot start', stderr: words });
  return { input: child.stdin, output: child.stdout, ended, end: () => void child.kill('SIGTERM') };
}

/** Tells the container's programs how large the window is (TIOCSWINSZ of its pty, SIGWINCH). Does nothing if it does not run. */
export async function resizeConsole(store: InstanceStore, id: string, { rows, columns }: WindowSize): Promise<void> {
  // conmon's control FIFO: message 1 is a window size. Without a reader it does not open
  const handle = await open(join(store.paths(id).bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (!handle) return;
  try {
    await handle.write(`1 ${Math.trunc(rows)} ${Math.trunc(columns)}\n`);
  } finally {
    await handle.close();
  }
}

/** A short command in the jail, run to its end. */
import { jailed, type JailOptions } from './jail.js';
import { HaulierError } from '../../base/errors.js';
import { startPiped, type ProcessEnd } from './piped-process.js';

/** Most bytes of a command's output: below the longest string that V8 makes (2^29 - 24 characters). */
const maxOutputBytes = 256 * 1024 ** 2;

/**
 * @param input its standard input
 * @returns how it ended, and its output, latin1, one character a byte
 * @param maxBytes most output that is taken
 * @throws the signal's reason; COMMAND_FAILED if it could not be started, or wrote more than that
 */
export async function runJailed(command: readonly string[], options: JailOptions, input: Buffer | undefined, signal: AbortSignal, maxBytes = maxOutputBytes): Promise<ProcessEnd & { readonly stdout: string }> {
  signal.throwIfAborted();
  const process = startPiped(jailed(command, options));
  const onAbort = (): void => process.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    process.stdin.end(input);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of process.stdout) {
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) throw new HaulierError('COMMAND_FAILED', { command: command[0], outcome: `writes more than ${maxBytes} bytes`, stderr: '' });
      chunks.push(chunk as Buffer);
    }
    const end = await process.ended;
    signal.throwIfAborted();
    return { ...end, stdout: Buffer.concat(chunks).toString('latin1') };
  } finally {
    signal.removeEventListener('abort', onAbort);
    process.kill();
    await process.ended.catch(() => undefined);
  }
}

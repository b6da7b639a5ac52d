/** A short command in the jail, run to its end. */
import { jailed, type JailOptions } from './jail.js';
import { startPiped, type ProcessEnd } from './piped-process.js';

/**
 * @param input its standard input
 * @returns how it ended, and its output, latin1, one character a byte
 * @throws the signal's reason; COMMAND_FAILED if it could not be started
 */
export async function runJailed(command: readonly string[], options: JailOptions, input: Buffer | undefined, signal: AbortSignal): Promise<ProcessEnd & { readonly stdout: string }> {
  signal.throwIfAborted();
  const process = startPiped(jailed(command, options));
  const onAbort = (): void => process.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    process.stdin.end(input);
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdout) chunks.push(chunk as Buffer);
    const end = await process.ended;
    signal.throwIfAborted();
    return { ...end, stdout: Buffer.concat(chunks).toString('latin1') };
  } finally {
    signal.removeEventListener('abort', onAbort);
    process.kill();
    await process.ended.catch(() => undefined);
  }
}

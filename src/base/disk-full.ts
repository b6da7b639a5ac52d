/** A full disk, said plainly. */
import { HaulierError } from './errors.js';

const fullText = /(^|: )(No space left on device|Disk quota exceeded)\.?$/m;
const fullCodes = new Set(['ENOSPC', 'EDQUOT']);

/** True if a line of a command's error output ends in the C library's text for ENOSPC or EDQUOT (locale C). */
export function saysDiskFull(stderr: string): boolean {
  return fullText.test(stderr);
}

/**
 * Turns an error into DISK_FULL where it is one (ENOSPC, EDQUOT, or a command that says so); any other comes back as it was.
 * @param path what was being written, for the message
 */
export function asDiskFull(error: unknown, path: string): unknown {
  if (error instanceof HaulierError) {
    const stderr = error.details['stderr'];
    if (error.code !== 'COMMAND_FAILED' || typeof stderr !== 'string' || !/No space left on device|Disk quota exceeded/.test(stderr)) return error;
    return new HaulierError('DISK_FULL', { path, reason: stderr }, { cause: error });
  }
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === undefined || !fullCodes.has(code)) return error;
  return new HaulierError('DISK_FULL', { path, reason: code }, { cause: error });
}

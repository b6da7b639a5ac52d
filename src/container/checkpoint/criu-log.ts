/** What criu complained of. Its log is long; the runtime's own message only names it. */
import { readFile } from 'node:fs/promises';

const shownErrors = 4;
/** Said on hosts where root lacks CAP_SYS_RESOURCE, and of no consequence. */
const noise = /rlimit|Can't set rlimit|Dumping FAILED|Restoring FAILED|exited, status|killed by signal 19/;

/** The first errors in the text of a criu log, without times and pids: the first one is the cause, the rest follows from it. */
export function errorsOf(log: string): string[] {
  const found = log.split('\n').flatMap((line) => {
    const match = /^\(\d+\.\d+\)\s+(?:\d+: )?(Error \(.*)$/.exec(line);
    return match?.[1] && !noise.test(match[1]) ? [match[1].replace(/^Error \([^)]*\): /, '').trim()] : [];
  });
  return [...new Set(found)].slice(0, shownErrors);
}

/** True if a log just stops, without an error or an end: criu was killed. On a full disk the end may be missing too, but not the error. */
export function breaksOff(log: string): boolean {
  return log !== '' && errorsOf(log).length === 0 && !saysEnd(log);
}

/** True if criu has come to an end that it knows of, good or bad. */
export function saysEnd(log: string): boolean {
  return /(Dumping|Restoring|Restore) (FAILED|finished)/.test(log);
}

export const killedWords = 'criu was killed in the middle of its work';

/** The errors of a log file in one line, or that it breaks off; `otherwise` where it tells nothing. */
export async function wordsOf(path: string, otherwise: string): Promise<string> {
  const log = await readFile(path, 'utf8').catch(() => '');
  const errors = errorsOf(log);
  if (errors.length > 0) return errors.join('; ');
  return breaksOff(log) ? killedWords : otherwise;
}

/** True if a dump failed because a process that waited for a disk could not be held (criu/seize.c). Now and then on a busy machine; nothing was done to any process by then. */
export function saysUnseizable(log: string): boolean {
  return /Unseizable non-zombie \d+ found, state D\b/.test(log);
}

/** True if the log says that the restored processes were let go: from then on the images are the past. */
export function saysResumed(log: string): boolean {
  return /Restore finished successfully|Running post-resume scripts|Force resume|Unlock network/.test(log);
}

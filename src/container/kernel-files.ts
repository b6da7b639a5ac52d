/**
 * Reads /proc and the control groups at once: the kernel answers from memory, and hundreds of such small files take a tenth of the time
 * that they would take one by one through the thread pool. Not for what lies behind a link of /proc: that may be a disk that hangs.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

function orElse<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise; // the process ended in between
  }
}

/** Text of a file; empty if it is gone. */
export const textOf = (path: string): string => orElse(() => readFileSync(path, 'utf8'), '');

/** Where a link leads; undefined if it is gone. */
export const linkOf = (path: string): string | undefined => orElse(() => readlinkSync(path), undefined);

/** Names in a folder; undefined if it is gone. */
export const namesIn = (path: string): readonly string[] | undefined => orElse(() => readdirSync(path), undefined);

/** Names of the folders in a folder; none if it is gone. */
export const foldersIn = (path: string): readonly string[] => orElse(() => readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name), []);

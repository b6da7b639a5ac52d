/**
 * The console's text. conmon writes it as lines `TIME stdout F|P TEXT` (k8s-file) and begins the file anew when it is full; a second
 * name on the file, `console.log.1`, keeps what was in it. So there are at most two files, each at most as large as allowed.
 */
import { link, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { HaulierError } from '../base/errors.js';

const defaultMaxBytes = 1024 * 1024;

/** Name of the older part. */
export const olderConsole = (path: string): string => `${path}.1`;

/**
 * Called before a start and before each look: keeps a second name on the file that conmon writes now, unless the file is young and
 * the other name still holds the part before it.
 */
export async function keepConsole(path: string, maxBytes: number): Promise<void> {
  const [now, older] = await Promise.all([stat(path).catch(() => undefined), stat(olderConsole(path)).catch(() => undefined)]);
  if (!now || older?.ino === now.ino) return;
  if (older && now.size < maxBytes / 2) return;
  const fresh = `${path}.${process.pid}.tmp`;
  await rm(fresh, { force: true });
  await link(path, fresh);
  await rename(fresh, olderConsole(path));
}

/** Before a start, when nobody writes: moves a file aside that is more than half full, since conmon counts from zero. */
export async function rotateConsole(path: string, maxBytes: number): Promise<void> {
  const now = await stat(path).catch(() => undefined);
  if (now && now.size > maxBytes / 2) await rename(path, olderConsole(path));
  else await keepConsole(path, maxBytes);
}

const prefix = /^\S+ (?:stdout|stderr) ([FP]) /;

/** Text of conmon's lines: no prefix, partial lines joined, no carriage returns. */
export function consoleText(log: string): string {
  let text = '';
  for (const line of log.split('\n')) {
    const match = prefix.exec(line);
    if (!match) continue; // cut at the start, or empty at the end
    text += line.slice(match[0].length) + (match[1] === 'F' ? '\n' : '');
  }
  return text.replaceAll('\r', '');
}

/** The last `lines` lines; 0 or less gives nothing, undefined everything. */
export function lastLines(text: string, lines: number | undefined): string {
  if (lines === undefined) return text;
  if (lines <= 0) return '';
  const all = text.split('\n');
  const ends = all.at(-1) === '';
  const kept = (ends ? all.slice(0, -1) : all).slice(-lines);
  return kept.join('\n') + (ends && kept.length > 0 ? '\n' : '');
}

/**
 * Reads the console.
 * @param lines how many of its last lines; undefined: all that is kept
 * @param maxBytes at most so many bytes are read, from the end
 * @param until reads the newest part only as far as this
 * @throws CONSOLE_UNAVAILABLE if the container never had one
 */
export async function readConsole(path: string, lines: number | undefined, maxBytes = defaultMaxBytes, until?: number): Promise<string> {
  const now = await tail(path, maxBytes, until);
  const older = await tail(olderConsole(path), maxBytes - (now?.text.length ?? 0));
  if (!now && !older) throw new HaulierError('CONSOLE_UNAVAILABLE');
  const before = older && older.inode !== now?.inode ? older.text : '';
  return lastLines(consoleText(before + (now?.text ?? '')), lines);
}

async function tail(path: string, maxBytes: number, until = Infinity): Promise<{ readonly text: string; readonly inode: number } | undefined> {
  const handle = await open(path, 'r').catch(() => undefined);
  if (!handle) return undefined;
  try {
    const { size: whole, ino } = await handle.stat();
    const size = Math.min(whole, until);
    const length = Math.max(0, Math.min(size, maxBytes));
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, size - length);
    return { text: buffer.toString('utf8', 0, bytesRead), inode: ino };
  } finally {
    await handle.close();
  }
}

/**
 * Follows the console from where it is now, also when conmon begins the file anew.
 * @returns how far the file goes now, and what gives what has come since then, or the last call; of a file that was replaced more than once in between only the last
 */
export async function followConsole(path: string): Promise<{ readonly size: number; readonly more: () => Promise<string> }> {
  let now = await open(path, 'r').catch(() => undefined);
  const size = now ? (await now.stat()).size : 0;
  let at = size;
  let rest = '';
  const chunk = Buffer.alloc(64 * 1024);
  const drain = async (handle: FileHandle): Promise<void> => {
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) return;
      rest += chunk.toString('latin1', 0, bytesRead); // a character may be cut here: put together below
      at += bytesRead;
    }
  };
  const more = async (): Promise<string> => {
    if (now) await drain(now);
    const there = await stat(path).catch(() => undefined);
    if (there && there.ino !== (await now?.stat())?.ino) {
      if (now) {
        await drain(now); // what came before the change
        await now.close();
      }
      at = 0;
      now = await open(path, 'r').catch(() => undefined);
      if (now) await drain(now);
    }
    const whole = rest.lastIndexOf('\n') + 1;
    const text = Buffer.from(rest.slice(0, whole), 'latin1').toString('utf8');
    rest = rest.slice(whole);
    return consoleText(text);
  };
  return { size, more };
}

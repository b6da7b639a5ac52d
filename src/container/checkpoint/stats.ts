/** criu's own account of a dump or a restore: `stats-dump` and `stats-restore`, protobuf behind three 32-bit words. */
import { readFile } from 'node:fs/promises';
import { Message } from './protobuf.js';

/** Times in microseconds. */
export interface DumpStats {
  /** From the first look at the processes until all stand still. */
  readonly freezingTime: number;
  /** For how long they stood still. */
  readonly frozenTime: number;
  readonly memdumpTime: number;
  readonly memwriteTime: number;
  readonly pagesWritten: number;
}

/** Times in microseconds. */
export interface RestoreStats {
  readonly forkingTime: number;
  readonly restoreTime: number;
  readonly pagesRestored: number;
}

const imageMagic = 0x5510_5940;
const statsMagic = 0x5709_3306;
const headerBytes = 12;

/** @throws Error if it is no stats image */
function entry(image: Buffer, which: number): (field: number) => number {
  if (image.length < headerBytes || image.readUInt32LE(0) !== imageMagic || image.readUInt32LE(4) !== statsMagic) throw new Error('no stats image');
  const inner = new Message(image.subarray(headerBytes, headerBytes + image.readUInt32LE(8))).message(which);
  if (!inner) throw new Error('not the expected kind of stats');
  return (field) => inner.number(field);
}

/** Reads the content of `stats-dump` (criu's images/stats.proto). */
export function parseDumpStats(image: Buffer): DumpStats {
  const at = entry(image, 1);
  return { freezingTime: at(1), frozenTime: at(2), memdumpTime: at(3), memwriteTime: at(4), pagesWritten: at(7) };
}

/** Reads the content of `stats-restore`. */
export function parseRestoreStats(image: Buffer): RestoreStats {
  const at = entry(image, 2);
  return { forkingTime: at(3), restoreTime: at(4), pagesRestored: at(5) };
}

/** The stats in a file; undefined if it is missing or strange: they are only for people. */
export async function readStatsFile<T>(path: string, parse: (image: Buffer) => T): Promise<T | undefined> {
  try {
    return parse(await readFile(path));
  } catch {
    return undefined;
  }
}

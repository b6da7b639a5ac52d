/** What the cache remembers of an image, in `image.json` beside its tree. An entry without a good one is no entry. */
import { join } from 'node:path';
import { readJson, writeJsonAtomic } from '../../base/atomic.js';
import type { ImageSource } from '../spec.js';
import type { ApplicationConfig } from '../application/config.js';
import type { UnpackedAny } from './unpack-any.js';

/** One image of the cache. */
export interface ImageRecord {
  readonly id: string;
  /** Folder name in the cache. */
  readonly key: string;
  /** A template's layer. */
  readonly layer?: boolean;
  readonly checksum: { readonly algorithm: string; readonly value: string } | undefined;
  readonly packing: string;
  /** Bytes as stored in Glance, and as files. */
  readonly storedBytes: number;
  readonly unpackedBytes: number;
  readonly entries: number;
  readonly unpackedAt: string;
  /** True for a snapshot with memory: `checkpoint/` and `memory.json` are beside the tree. */
  readonly memory?: boolean;
  /** What its servers run; undefined: the init system in it. */
  readonly application?: ApplicationConfig;
}

const idPattern = /^[0-9a-zA-Z][0-9a-zA-Z_.-]{0,127}$/;

/** The cache folder's name for a source: image id and the first 16 digits of the checksum; undefined if the id could not be one. */
export function cacheKey(source: Pick<ImageSource, 'id' | 'checksum' | 'layer'>): string | undefined {
  if (!idPattern.test(source.id)) return undefined;
  const digits = source.checksum?.value.toLowerCase().slice(0, 16);
  if (digits !== undefined && !/^[0-9a-f]+$/.test(digits)) return undefined;
  return `${source.id}-${digits ?? 'unverified'}${source.layer ? '-layer' : ''}`;
}

/** Writes the record into a cache entry's folder. */
export async function writeRecord(folder: string, source: ImageSource, key: string, unpacked: UnpackedAny): Promise<void> {
  const record: ImageRecord = {
    id: source.id, key, ...(source.layer ? { layer: true } : {}), checksum: source.checksum, packing: unpacked.packing, storedBytes: unpacked.storedBytes,
    unpackedBytes: unpacked.bytes, entries: unpacked.entries, unpackedAt: new Date().toISOString(), memory: unpacked.memory,
    ...(unpacked.application ? { application: unpacked.application } : {}),
  };
  await writeJsonAtomic(join(folder, 'image.json'), record);
}

/** Reads an entry's record; undefined if it has none or another's. */
export async function readRecord(folder: string, key: string): Promise<ImageRecord | undefined> {
  let value: unknown;
  try {
    value = await readJson(join(folder, 'image.json'));
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object') return undefined;
  const record = value as Partial<ImageRecord>;
  return typeof record.id === 'string' && record.key === key && typeof record.unpackedBytes === 'number' ? value as ImageRecord : undefined;
}

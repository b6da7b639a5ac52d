/**
 * Makes a template out of what an installer changes in a container (`haulier template mark` and `capture`).
 *
 * The mark is a list of the whole tree in the container's folder. Both it and the capture look at a copy of the tree as it was at one
 * moment, so the container may run. Both go away with the container; a rebuild makes a new one, without a mark.
 */
import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createHash } from 'node:crypto';
import { readJson, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { asDiskFull } from '../../base/disk-full.js';
import { tarHeader } from '../image/tar-writer.js';
import type { HostParts } from '../parts.js';
import { archiveBehind, archivePaths } from '../snapshot/archive.js';
import { stillOf } from '../snapshot/snapshot.js';
import { difference, type Difference } from './difference.js';
import { listTree, type Listed, type TreeList } from './tree-list.js';

interface Mark {
  readonly version: 1;
  readonly at: string;
  readonly entries: readonly (readonly [string, Listed])[];
}

/** A captured template. */
export interface Captured {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly changed: number;
  readonly removed: number;
  /** Image and templates over which it was made. */
  readonly base: string;
  readonly below: readonly string[];
}

const markFile = (parts: HostParts, id: string): string => join(parts.store.paths(id).folder, 'template-mark.json');

/** Notes what the container's tree is now. @returns how many paths it has @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, INSTANCE_BUSY, DISK_FULL */
export async function markTemplate(parts: HostParts, id: string, operation: Operation): Promise<number> {
  const tree = await look(parts, id, operation, (folder) => listTree(folder, operation.signal));
  const mark: Mark = { version: 1, at: new Date().toISOString(), entries: [...tree] };
  await writeJsonAtomic(markFile(parts, id), mark);
  operation.log.info({ paths: tree.size }, 'marked for a template');
  return tree.size;
}

/**
 * Writes what has changed since the mark into `file`, a layer as Glance takes it.
 * @param file absolute; replaced if it is there
 * @param keep see `difference`
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE, INSTANCE_BUSY, TEMPLATE_CAPTURE (no mark, nothing changed), DISK_FULL, COMMAND_FAILED
 */
export async function captureTemplate(parts: HostParts, id: string, file: string, keep: readonly string[], operation: Operation): Promise<Captured> {
  const spec = await parts.store.readSpec(id);
  if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  const mark = (await readJson(markFile(parts, id))) as Mark | undefined;
  if (mark?.version !== 1) throw new HaulierError('TEMPLATE_CAPTURE', { reason: `${id} has no mark: run haulier template mark ${id} before the installation` });
  const before: TreeList = new Map(mark.entries);
  const { sha256, what } = await look(parts, id, operation, async (folder) => {
    const after = await listTree(folder, operation.signal);
    const found = difference(before, after, keep);
    if (found.paths.length === 0) throw new HaulierError('TEMPLATE_CAPTURE', { reason: `nothing has changed since ${mark.at}` });
    return { sha256: await writeLayer(folder, found, after, file, operation), what: found };
  });
  return { file, bytes: (await stat(file)).size, sha256, changed: what.changed, removed: what.removed, base: spec.imageId, below: spec.templates ?? [] };
}

async function look<T>(parts: HostParts, id: string, operation: Operation, work: (folder: string) => Promise<T>): Promise<T> {
  const state = await parts.store.readState(id);
  if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
  if (state.phase !== 'ready') throw new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase, action: 'capture' });
  return await parts.storage.withCopy(id, stillOf(parts, id, operation, (frozenMs) => operation.log.info({ frozenMs: Math.round(frozenMs) }, 'tree copied')), operation, work);
}

/** Whole or not there. @returns its SHA-256 */
async function writeLayer(folder: string, { paths, whiteouts }: Difference, after: TreeList, file: string, operation: Operation): Promise<string> {
  const temporary = `${file}.part`;
  const archive = archivePaths(folder, paths);
  const hash = createHash('sha256');
  try {
    const mtime = String(after.get('')?.attributes.mtime ?? 0);
    const { stream } = await archiveBehind(Buffer.concat(whiteouts.map((name) => tarHeader({ name: `./${name}`, type: 'empty file', mode: 0o600, uid: 0, gid: 0, mtime }))), archive);
    await rm(temporary, { force: true });
    await pipeline(stream, async function* (bytes: AsyncIterable<Buffer>) {
      for await (const chunk of bytes) {
        hash.update(chunk);
        yield chunk;
      }
    }, createWriteStream(temporary, { mode: 0o600, flags: 'wx' }), { signal: operation.signal });
    const handle = await open(temporary, 'r');
    await handle.datasync().finally(() => handle.close());
    await rename(temporary, file);
    return hash.digest('hex');
  } catch (error) {
    await rm(temporary, { force: true });
    throw operation.signal.aborted ? operation.signal.reason : asDiskFull(error, file);
  } finally {
    await archive.end();
  }
}

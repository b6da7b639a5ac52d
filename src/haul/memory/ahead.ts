/**
 * Memory that is sent while the container runs: criu's pre-dumps, each with what was written to since the one before, in folders beside
 * the images of the final dump. Each round's images name those before as their parent, and so do the final ones.
 *
 * On the channel they are streams named `ahead`, so that they do not mix with the rounds of the file system; one with `rounds` in its
 * head ends them, in every haul.
 */
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HaulierError } from '../../base/errors.js';
import { runtimeCriuOptions } from '../../container/checkpoint/criu-options.js';
import { imageFiles, ownImages, parentLink, type CheckpointPaths } from '../../container/checkpoint/images.js';
import { criuMark } from '../../container/checkpoint/in-flight.js';
import { whileProgressing } from '../../container/checkpoint/progress.js';
import { parseDumpStats, readStatsFile } from '../../container/checkpoint/stats.js';
import type { HostParts } from '../../container/parts.js';
import type { HaulChannel } from '../wire/channel.js';
import { maxMemoryRounds } from './stop-rule.js';

const pieceBytes = 1024 * 1024;
const imageName = /^[\w-][\w.-]{0,99}$/;
const streamName = 'ahead';
const folderName = (round: number): string => `ahead-${round}`;

/** Where the images of a round lie. */
const folderOf = (paths: Pick<CheckpointPaths, 'folder'>, round: number): string => join(paths.folder, folderName(round));
/** The same, as seen from the images of the next round, or of the final dump. */
export const parentOf = (round: number): string => join('..', folderName(round));

/** True if a haul has dumped ahead here. */
export const hasAhead = (paths: Pick<CheckpointPaths, 'folder'>): boolean => existsSync(folderOf(paths, 1));

/** One round: criu stops the container for a moment, then writes while it runs. @returns how many pages were written @throws RUNTIME_FAILED, the signal's reason */
export async function preDump(parts: HostParts, id: string, paths: CheckpointPaths, round: number, signal: AbortSignal): Promise<number> {
  const images = folderOf(paths, round);
  await mkdir(images, { mode: 0o700 });
  await rm(join(paths.work, 'stats-dump'), { force: true });
  const args = preDumpOptions({ images, work: paths.work }, round);
  await whileProgressing({ ...paths, images }, signal, (ends) => parts.runc.checkpoint(id, args, ends, { [criuMark]: paths.folder }));
  const stats = await readStatsFile(join(paths.work, 'stats-dump'), parseDumpStats);
  if (!stats) throw new HaulierError('RUNTIME_FAILED', { action: 'dump memory ahead', reason: 'criu says nothing of what it wrote' });
  return stats.pagesWritten;
}

/** The runtime's options of a round, from 1. */
export function preDumpOptions(paths: Pick<CheckpointPaths, 'images' | 'work'>, round: number): string[] {
  return ['--pre-dump', ...runtimeCriuOptions, '--image-path', paths.images, '--work-path', paths.work, ...parentOptions(round - 1)];
}

/** Those that make a dump the difference to a round; none to round 0. */
export function parentOptions(round: number): string[] {
  return round > 0 ? ['--parent-path', parentOf(round)] : [];
}

/** Sends the images of a round. @returns bytes */
export async function sendAhead(channel: HaulChannel, paths: CheckpointPaths, round: number, signal: AbortSignal): Promise<number> {
  const images = folderOf(paths, round);
  let bytes = 0;
  for (const [file, size] of Object.entries(await imageFiles({ images }))) {
    await pipeline(createReadStream(join(images, file), { highWaterMark: pieceBytes }), channel.openStream(streamName, { name: streamName, round, file, size }), { signal });
    bytes += size;
  }
  return bytes;
}

/** Says that no more come. @param rounds those that count; 0: forget them */
export function endAhead(channel: HaulChannel, rounds: number): void {
  channel.openStream(streamName, { name: streamName, rounds }).end();
}

/** Takes them in until the end. @returns rounds that count @throws HAUL_PROTOCOL, HAUL_DAMAGED */
export async function receiveAhead(channel: HaulChannel, paths: CheckpointPaths, idBase: number, signal: AbortSignal): Promise<number> {
  for (;;) {
    const stream = await channel.acceptStream(streamName, signal);
    const { round, file, size, rounds } = stream.head;
    if (rounds !== undefined) {
      stream.resume();
      return await closeAhead(paths, Number(rounds), idBase);
    }
    const known = Number.isInteger(round) && Number(round) >= 1 && Number(round) <= maxMemoryRounds;
    if (!known || typeof file !== 'string' || !imageName.test(file) || file === parentLink) throw new HaulierError('HAUL_PROTOCOL', { reason: `image ${JSON.stringify(file)} of round ${JSON.stringify(round)} is none` });
    const folder = folderOf(paths, Number(round));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const target = createWriteStream(join(folder, file), { mode: 0o600, flags: 'wx', highWaterMark: pieceBytes });
    await pipeline(stream, target, { signal });
    if (target.bytesWritten !== size) throw new HaulierError('HAUL_DAMAGED', { what: `image ${file}`, reason: `it has ${target.bytesWritten} bytes instead of ${String(size)}` });
  }
}

/** Joins the rounds to a chain that ends in `images/`. */
async function closeAhead(paths: CheckpointPaths, rounds: number, idBase: number): Promise<number> {
  const have = (await readdir(paths.folder)).filter((name) => name.startsWith('ahead-'));
  if (rounds === 0) {
    for (const name of have) await rm(join(paths.folder, name), { recursive: true });
    return 0;
  }
  for (let round = 1; round <= rounds; round++) {
    const images = folderOf(paths, round);
    if (!(await stat(images).then((found) => found.isDirectory(), () => false))) throw new HaulierError('HAUL_PROTOCOL', { reason: `round ${round} of the memory has not come` });
    if (round > 1) await symlink(parentOf(round - 1), join(images, parentLink));
    await ownImages({ images }, idBase);
  }
  await symlink(parentOf(rounds), join(paths.images, parentLink));
  return rounds;
}

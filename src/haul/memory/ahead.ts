/**
 * Memory that is sent while the container runs: criu's pre-dumps, each with what was written to since the one before, in folders beside
 * the images of the final dump. Each round's images name those before as their parent, and so do the final ones.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, isHaulierError } from '../../base/errors.js';
import { saysUnseizable, wordsOf } from '../../container/checkpoint/criu-log.js';
import { runtimeCriuOptions } from '../../container/checkpoint/criu-options.js';
import { parentLink, type CheckpointPaths } from '../../container/checkpoint/images.js';
import { criuMark } from '../../container/checkpoint/in-flight.js';
import { whileProgressing } from '../../container/checkpoint/progress.js';
import { parseDumpStats, readStatsFile } from '../../container/checkpoint/stats.js';
import type { HostParts } from '../../container/parts.js';

const prefix = 'ahead-';
/** For a disk to answer, before a round is tried again. */
const againMs = 250;

/** Where the images of a round lie. */
export const aheadFolder = (paths: Pick<CheckpointPaths, 'folder'>, round: number): string => join(paths.folder, `${prefix}${round}`);
/** The same, as seen from the images of the next round, or of the final dump. */
const parentOf = (round: number): string => join('..', `${prefix}${round}`);

/** True if a haul has dumped ahead here. */
export const hasAhead = (paths: Pick<CheckpointPaths, 'folder'>): boolean => existsSync(aheadFolder(paths, 1));

/** The runtime's options of a round, from 1. */
export function preDumpOptions(paths: Pick<CheckpointPaths, 'folder' | 'work'>, round: number): string[] {
  return ['--pre-dump', ...runtimeCriuOptions, '--image-path', aheadFolder(paths, round), '--work-path', paths.work, ...parentOptions(round - 1)];
}

/** Those that make a dump the difference to a round; none to round 0. */
export function parentOptions(round: number): string[] {
  return round > 0 ? ['--parent-path', parentOf(round)] : [];
}

/** One round: criu stops the container for a moment, then writes while it runs. @returns how many pages were written @throws SUSPEND_FAILED, the signal's reason */
export async function preDump(parts: Pick<HostParts, 'runc'>, id: string, paths: CheckpointPaths, round: number, parent: AbortSignal): Promise<number> {
  const images = aheadFolder(paths, round);
  const once = async (): Promise<void> => {
    await rm(images, { recursive: true, force: true });
    await mkdir(images, { mode: 0o700 });
    for (const file of [join(paths.work, 'stats-dump'), paths.dumpLog]) await rm(file, { force: true });
    await whileProgressing({ ...paths, images }, parent, (signal) => parts.runc.checkpoint(id, preDumpOptions(paths, round), signal, { [criuMark]: paths.folder }));
  };
  await once().catch(async (error: unknown) => { // as for a dump (criuDump): criu has not looked into any process by then
    if (!isHaulierError(error, 'RUNTIME_FAILED') || !saysUnseizable(await readFile(paths.dumpLog, 'utf8').catch(() => ''))) throw error;
    await sleep(againMs, undefined, { signal: parent });
    await once();
  }).catch(async (error: unknown) => {
    if (!isHaulierError(error, 'RUNTIME_FAILED')) throw error;
    throw new HaulierError('SUSPEND_FAILED', { reason: await wordsOf(paths.dumpLog, String(error.details['reason'])) }, { cause: error });
  });
  const stats = await readStatsFile(join(paths.work, 'stats-dump'), parseDumpStats);
  if (!stats) throw new HaulierError('SUSPEND_FAILED', { reason: 'criu says nothing of what it wrote' });
  return stats.pagesWritten;
}

/** At the source: the pages of a round that has gone over (or failed) take no room any more. What the next rounds look at is which they were, not what is in them. */
export async function emptyAhead(paths: Pick<CheckpointPaths, 'folder'>, round: number): Promise<void> {
  const images = aheadFolder(paths, round);
  for (const name of (await readdir(images)).filter((entry) => entry.startsWith('pages-'))) await truncate(join(images, name));
}

/** At the destination: joins the rounds that came to a chain that ends in `images/`. @param rounds those that count; 0: none does @throws HAUL_PROTOCOL */
export async function joinAhead(paths: CheckpointPaths, rounds: number): Promise<void> {
  const have = (await readdir(paths.folder)).filter((name) => name.startsWith(prefix));
  if (rounds === 0) {
    for (const name of have) await rm(join(paths.folder, name), { recursive: true });
    return;
  }
  if (rounds !== have.length) throw new HaulierError('HAUL_PROTOCOL', { reason: `${have.length} rounds of memory have come, not ${rounds}` });
  for (let round = 2; round <= rounds; round++) await symlink(parentOf(round - 1), join(aheadFolder(paths, round), parentLink));
  await symlink(parentOf(rounds), join(paths.images, parentLink));
}

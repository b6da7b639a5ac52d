/** What a suspend and a snapshot with memory share: whether criu may try, its dump of a container that stands frozen, and the record of it. */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { together, untilAborted } from '../../base/together.js';
import { cgroupPids } from '../cgroup.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { findLxcfs } from '../figures/lxcfs.js';
import { renewFigures } from '../figures/renew.js';
import { verdictOf } from '../verdict/verdict.js';
import type { GuestGroups } from './cgroup-groups.js';
import { keepConsole } from './console-image.js';
import { CriuGate } from './criu-gate.js';
import { runtimeCriuOptions } from './criu-options.js';
import { breaksOff, saysUnseizable, wordsOf } from './criu-log.js';
import { openPrograms } from './exe-image.js';
import { forgetLengths } from './figure-image.js';
import { readHostFacts, unfitCriu, type HostFacts } from './facts.js';
import { freeze, staysFrozen } from './freezer.js';
import { freeBytes, imageFiles, type CheckpointMeta, type CheckpointPaths } from './images.js';
import { criuMark } from './in-flight.js';
import { whileProgressing } from './progress.js';
import { parseDumpStats, readStatsFile } from './stats.js';

/** For a disk to answer, before a dump is tried again. */
const againMs = 250;
/** Beside the memory: criu's other files, and air for everybody else on that disk. */
const spareBytes = 32 * 1024 * 1024;

/** Before it is disturbed. @throws SUSPEND_FAILED where there is no criu, or one that this kernel is too new for, or a restore could not work */
export async function requireDumpable(parts: HostParts, id: string): Promise<HostFacts> {
  if ((await parts.store.readSpec(id))?.figures) { // criu asks every mount of the container
    const lxcfs = await findLxcfs(parts.options);
    await renewFigures(parts, id, typeof lxcfs === 'string' ? undefined : lxcfs);
  }
  const [host] = await together(requireCriu(parts), requireWayBack(parts, id));
  return host;
}

async function requireCriu(parts: HostParts): Promise<HostFacts> {
  const host = await readHostFacts(parts.options).catch((error: unknown) => {
    throw new HaulierError('SUSPEND_FAILED', { reason: messageOf(error) }, { cause: error });
  });
  const unfit = unfitCriu(host.criu, host.kernel);
  if (unfit !== undefined) throw new HaulierError('SUSPEND_FAILED', { reason: unfit });
  return host;
}

async function requireWayBack(parts: HostParts, id: string): Promise<void> {
  const trap = (await verdictOf(parts, id))?.findings.find(({ effect }) => effect === 'traps');
  if (trap) throw new HaulierError('SUSPEND_FAILED', { reason: `${trap.text}: it could not be resumed` });
}

/** @throws DISK_FULL if its memory cannot fit, before it is disturbed */
export async function requireSpace(parts: HostParts, id: string, folder: string): Promise<void> {
  const [need, free] = await Promise.all([memoryBytes(parts, id), freeBytes(folder)]);
  const mib = (bytes: number): number => Math.round(bytes / 1024 ** 2);
  if (need + spareBytes > free) throw new HaulierError('DISK_FULL', { path: folder, reason: `its memory takes ${mib(need)} MiB and ${mib(spareBytes)} MiB must stay free, but only ${mib(free)} MiB are` });
}

/** Memory that would be written: what no file holds, each page counted once. */
export async function memoryBytes(parts: Pick<HostParts, 'cgroups' | 'options'>, id: string): Promise<number> {
  const sizes = await Promise.all(cgroupPids(parts.cgroups, cgroupsPath(parts, id)).map(async (pid) => {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    return [...text.matchAll(/^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB$/gm)].reduce((sum, match) => sum + Number(match[1]) * 1024, 0);
  }));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/**
 * criu writes the images of a container that stands frozen, and leaves it so; what criu would not restore is mended in them.
 * Whether it locks the network is the caller's choice, made before (network-lock.ts). A dump that failed only because a process waited
 * for a disk just then is tried once more: criu had not begun to look into any.
 * @param more options of the runtime
 * @param how.frozenAnew before it is tried once more: criu has let it go, held by its tracer, and what was true of it as it stood may be
 *   true no longer; `ran` if it was found running, else criu has frozen it again before it let go of it (criu/seize.c, freezer_restore_state)
 * @param how.ready the first try is ready to begin
 * @throws SUSPEND_FAILED, the signal's reason
 */
export async function criuDump(parts: HostParts, id: string, paths: CheckpointPaths, parent: AbortSignal, more: readonly string[] = [], how: { readonly frozenAnew?: (ran: boolean) => Promise<void>; readonly ready?: ReadyDump } = {}): Promise<void> {
  const args = [...dumpOptions(paths), ...more];
  const once = (): Promise<void> => dumping(paths, whileProgressing(paths, parent, (signal) => parts.runc.checkpoint(id, args, signal, { [criuMark]: paths.folder })));
  const before = new Set(await readdir(paths.images));
  try {
    await (how.ready ? how.ready.run(parent) : once());
  } catch (error) {
    if (!isHaulierError(error, 'SUSPEND_FAILED') || !saysUnseizable(await readFile(paths.dumpLog, 'utf8').catch(() => ''))) throw error;
    parts.log.warn({ err: error, instance: id }, 'a process waited for a disk while criu wanted to hold it: trying once more');
    await sleep(againMs, undefined, { signal: parent });
    await Promise.all((await readdir(paths.images)).filter((name) => !before.has(name)).map((name) => rm(join(paths.images, name), { force: true })));
    await rm(paths.dumpLog, { force: true }); // what is there from now on is the next criu's
    const stood = await staysFrozen(parts, id, parent);
    if (!stood) await freeze(parts, id, parent);
    await how.frozenAnew?.(!stood);
    await once();
  }
}

/** A dump of a container that still runs, of which all is done but criu's own part. */
export class ReadyDump {
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  private constructor(parts: HostParts, id: string, private readonly paths: CheckpointPaths, more: readonly string[], private readonly gate: CriuGate) {
    this.#ended = parts.runc.checkpoint(id, [...dumpOptions(paths), ...more], this.#stop.signal, { ...gate.environment, [criuMark]: paths.folder });
    this.#ended.catch(() => undefined); // told by `run`
  }

  /** Starts the runtime. @param more its options @throws SUSPEND_FAILED if it ends before it has come to criu, the signal's reason */
  static async prepare(parts: HostParts, id: string, paths: CheckpointPaths, signal: AbortSignal, more: readonly string[] = []): Promise<ReadyDump> {
    const ready = new ReadyDump(parts, id, paths, more, await CriuGate.make(paths.work, parts.options.criu, parts.runc));
    try {
      await untilAborted(Promise.race([ready.gate.reached, explained(paths, ready.#ended)]), signal);
      return ready;
    } catch (error) {
      await ready.end();
      throw error;
    }
  }

  /** It stands frozen: criu begins. Returns when the dump is done. @throws as `criuDump` */
  async run(parent: AbortSignal): Promise<void> {
    this.gate.open();
    try {
      await dumping(this.paths, whileProgressing(this.paths, parent, async (signal) => {
        signal.addEventListener('abort', () => this.#stop.abort(signal.reason), { once: true });
        await this.#ended;
      }));
    } finally {
      await this.end();
    }
  }

  /** Ends what still waits. Idempotent, never throws. */
  async end(): Promise<void> {
    await this.gate.close();
    await this.#ended.catch(() => undefined);
  }
}

/** The runtime's options for a dump that leaves the container where it is. */
export function dumpOptions(paths: Pick<CheckpointPaths, 'images' | 'work'>): string[] {
  return [...runtimeCriuOptions, '--leave-running', '--image-path', paths.images, '--work-path', paths.work];
}

/** A failure in criu's own words. @throws SUSPEND_FAILED, the signal's reason */
export async function explained<T>(paths: CheckpointPaths, work: Promise<T>): Promise<T> {
  return await work.catch(async (error: unknown) => {
    if (!isHaulierError(error, 'RUNTIME_FAILED')) throw error; // given up, or come to a halt
    const killed = breaksOff(await readFile(paths.dumpLog, 'utf8').catch(() => ''));
    throw new HaulierError('SUSPEND_FAILED', { reason: await wordsOf(paths.dumpLog, String(error.details['reason'])), killed }, { cause: error });
  });
}

/** What is the same for every dump: criu's own words if it fails, mended images if it does not. @throws SUSPEND_FAILED, the signal's reason */
export async function dumping<T>(paths: CheckpointPaths, work: Promise<T>): Promise<T> {
  const result = await explained(paths, work);
  await keepConsole(paths.images);
  await openPrograms(paths.images);
  await forgetLengths(paths.images);
  return result;
}

/** The record of a dump that is done. */
export async function describeDump(paths: CheckpointPaths, about: { readonly host: HostFacts; readonly groups: GuestGroups; readonly startedAt: string | undefined; readonly watchdogSeconds: number | undefined }): Promise<CheckpointMeta> {
  const files = await imageFiles(paths);
  const stats = await readStatsFile(join(paths.work, 'stats-dump'), parseDumpStats);
  return { version: 1, at: new Date().toISOString(), host: about.host, files, bytes: Object.values(files).reduce((sum, size) => sum + size, 0), groups: about.groups, startedAt: about.startedAt, watchdogSeconds: about.watchdogSeconds, stats };
}

/**
 * Restores a container that another host has frozen. What the restore needs is made ready piece by piece while the container still
 * runs there and its memory is on its way; what is left for the end is the runtime's own work. Where the host can do it the restored
 * container stands frozen until `letRun`: whoever decides that it runs here decides before its first instruction.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../base/atomic.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { together } from '../../base/together.js';
import { cgroupMountPoint, isFrozen, removeCgroups } from '../cgroup.js';
import { removeRuntime } from '../cleanup.js';
import { makeFolderInside } from '../guest-tree.js';
import { cgroupsPath, type HostParts } from '../parts.js';
import { identify } from '../process.js';
import { startMonitor } from '../runtime/conmon.js';
import type { ContainerSpec } from '../spec.js';
import { applicationOf } from '../application/process.js';
import { monitorOptions, writeBundle } from '../start.js';
import { makeGroups, type GuestGroups } from './cgroup-groups.js';
import { canStayFrozen, stayFrozen, stayFrozenOption } from './cgroup-image.js';
import { haulCriuConfig, restoreCriuOptions } from './criu-options.js';
import { groupAbove, parentFrozen, requireOwnFreeze, thawParent } from './criu-apart.js';
import { CriuGate } from './criu-gate.js';
import { lostInRestore, whileCriuLives } from './criu-lost.js';
import { killFrozen } from './dump.js';
import { freeze, thaw } from './freezer.js';
import { checkpointPaths, ownImages, type CheckpointPaths } from './images.js';
import { criuMark } from './in-flight.js';
import { startPageDaemon, type PageSource } from './page-daemon.js';
import { recordResumed, restoreTimeoutMs, resumeFailure, stayOrEnd, wasResumed } from './restore.js';

/** For a restore that is given up before criu has begun. */
const endMs = 30_000;

/** Ahead of everything: runtime's leftovers, ports, bundle, control groups, the lower parts of its tree. Its folder is in its place. */
export async function prepareArrival(parts: HostParts, spec: ContainerSpec, idBase: number, signal: AbortSignal): Promise<void> {
  const { id } = spec;
  const store = parts.store.paths(id);
  await removeRuntime(parts, id, { inFlight: false });
  await rm(join(parts.exitFolder, id), { force: true });
  await together(
    parts.storage.mountAhead(id, idBase),
    removeCgroups(parts.cgroups, cgroupsPath(parts, id)).then(() => makeGroups(parts.cgroups, cgroupsPath(parts, id), idBase, {})),
    applicationOf(parts, id).then((application) => writeBundle(parts, spec, idBase, join(store.folder, 'rootfs'), { application, restored: { from: undefined } })).then(() => writeAtomic(store.criuConfig, haulCriuConfig)),
    (async () => { for (const vif of spec.vifs) await parts.plugger.plug(id, vif, false, signal); })(),
  );
}

/**
 * Mounts its file system with all that a restore puts into it: at the destination when it is whole; at the source before its files are
 * copied, so that the restore adds nothing to the copy, which may be compared once more after it was prepared.
 */
export async function mountWhole(parts: HostParts, id: string, idBase: number): Promise<void> {
  await makeFolderInside(await parts.storage.mount(id, idBase), cgroupMountPoint, { uid: idBase, gid: idBase });
}

/** When its images are whole. */
export async function takeImages(parts: HostParts, id: string, idBase: number, groups: GuestGroups): Promise<void> {
  const paths = checkpointPaths(parts.store.paths(id));
  await together(
    (canStayFrozen(parts.cgroups) ? stayFrozen(paths.images) : Promise.resolve()).then(() => ownImages(paths, idBase)),
    Object.values(groups).some((below) => below.length > 0) ? makeGroups(parts.cgroups, cgroupsPath(parts, id), idBase, groups) : Promise.resolve(), // its own are there
  );
}

/** How its memory comes in. */
export interface ArrivalMemory {
  /** Bytes of the images. */
  readonly bytes: number;
  /** Where the memory is that is not in the images. */
  readonly elsewhere?: PageSource | undefined;
}

/** A restore of which all is done but criu's own part: monitor and runtime wait for whole images. */
export class ReadyRestore {
  readonly #paths: CheckpointPaths;
  readonly #group: string;
  readonly #still: boolean;
  readonly #monitor: Promise<number>;
  readonly #stop = new AbortController();
  #limit: (ms: number) => void = () => undefined;
  #going: Promise<number> | undefined;

  private constructor(private readonly parts: HostParts, private readonly spec: ContainerSpec, private readonly lazy: boolean, private readonly gate: CriuGate, private readonly stoodStill: boolean) {
    this.#paths = checkpointPaths(parts.store.paths(spec.id));
    this.#group = cgroupsPath(parts, spec.id);
    this.#still = canStayFrozen(parts.cgroups);
    const runtimeOptions = [
      ...restoreCriuOptions.map((option) => (this.#still && option.startsWith('--manage-cgroups-mode=') ? stayFrozenOption : option)),
      `--work-path=${this.#paths.work}`, ...(lazy ? ['--lazy-pages'] : []),
    ];
    const timeoutMs = new Promise<number>((resolve) => { this.#limit = resolve; });
    const restore = { imagePath: this.#paths.images, runtimeOptions, timeoutMs, environment: { ...gate.environment, [criuMark]: this.#paths.folder } };
    this.#monitor = startMonitor(parts.options.conmon, parts.runc, { ...monitorOptions(parts, spec), restore }, this.#stop.signal);
    this.#monitor.catch(() => undefined); // told by `go`
  }

  /** Starts monitor and runtime. The file system is mounted, the groups are there, and so is the runtime's own image. @param lazy it goes on before all of its memory is read */
  static async start(parts: HostParts, spec: ContainerSpec, lazy: boolean): Promise<ReadyRestore> {
    const gate = await CriuGate.make(checkpointPaths(parts.store.paths(spec.id)).work, parts.options.criu, parts.runc);
    return new ReadyRestore(parts, spec, lazy, gate, await parentFrozen(parts.cgroups, cgroupsPath(parts, spec.id)));
  }

  /** When only criu is missing. @throws RESUME_FAILED if they end before */
  async ready(): Promise<void> {
    await Promise.race([this.gate.reached, this.#monitor]).catch((error: unknown) => { throw new HaulierError('RESUME_FAILED', { reason: messageOf(error) }, { cause: error }); });
  }

  /** Its file system is to change once more: takes monitor and runtime away. Another one can be prepared then. */
  async withdraw(idBase: number): Promise<void> {
    const { parts, spec: { id } } = this;
    await this.giveUp();
    await removeRuntime(parts, id, { inFlight: true });
    await makeGroups(parts.cgroups, this.#group, idBase, {});
  }

  /**
   * Its images are whole: restores it; it stands frozen then where that is possible (`canStayFrozen`).
   * @returns host pid of PID 1
   * @throws RESUME_FAILED: nothing of it runs
   */
  async go(memory: ArrivalMemory): Promise<number> {
    return await (this.#going ??= this.#go(memory));
  }

  /** It is not wanted, restored or not: none of its processes runs an instruction. Never throws. */
  async giveUp(): Promise<void> {
    await this.gate.close();
    this.#limit(endMs);
    await (this.#going ?? this.#monitor).catch(() => undefined);
    await this.#kill();
  }

  async #go({ bytes, elsewhere }: ArrivalMemory): Promise<number> {
    const { parts, spec } = this;
    try {
      if (this.lazy) await startPageDaemon(parts, spec.id, this.#paths, elsewhere);
      this.#limit(restoreTimeoutMs(bytes));
      this.gate.open(this.#still ? groupAbove(parts.cgroups, this.#group) : undefined);
      const pid = await whileCriuLives(this.#paths.folder, this.#paths.restoreLog, lostInRestore(), async (signal) => {
        signal.addEventListener('abort', () => this.#stop.abort(signal.reason), { once: true });
        return await this.#monitor;
      });
      if (this.#still) await requireOwnFreeze(parts.cgroups, this.#group);
      return pid;
    } catch (error) {
      await this.gate.close();
      await this.#kill();
      if (!this.stoodStill && (await parentFrozen(parts.cgroups, this.#group))) await thawParent(parts.cgroups, this.#group); // or no container of this host runs on
      await stayOrEnd(parts, spec, this.#paths, error);
      throw await resumeFailure(this.#paths, error);
    } finally {
      await this.gate.close();
    }
  }

  async #kill(): Promise<void> {
    const { parts, spec: { id } } = this;
    await killFrozen(parts, id).catch((failure: unknown) => parts.log.warn({ err: failure, instance: id }, `after a restore that is of no use: ${messageOf(failure)}`));
  }
}

/** PID 1 of a container that was restored here, maybe by an earlier life of the service; undefined if it does not run. */
export async function arrivedPid(parts: HostParts, id: string): Promise<number | undefined> {
  const pid = Number(await readFile(parts.store.paths(id).pidFile, 'utf8').catch(() => ''));
  const known = pid > 0 && (await wasResumed(checkpointPaths(parts.store.paths(id)))) && identify(pid) ? await parts.runc.state(id) : undefined;
  return known?.pid === pid && (known.status === 'running' || known.status === 'paused') ? pid : undefined;
}

/** It is this host's: lets it run, or stand if it was paused. Idempotent. */
export async function letRun(parts: HostParts, id: string, paused: boolean): Promise<void> {
  if (!paused) await thaw(parts, id);
  else if (!(await isFrozen(parts.cgroups, cgroupsPath(parts, id)))) await freeze(parts, id);
}

/** On record from now on. */
export async function recordArrived(parts: HostParts, id: string, pid: number | undefined, about: { readonly startedAt: string | undefined; readonly paused: boolean }): Promise<void> {
  if (pid !== undefined) await recordResumed(parts, id, pid, about.startedAt);
  await parts.store.update(id, { phase: 'ready', wanted: about.paused ? 'paused' : 'running', suspendedFor: undefined, exit: undefined });
}

/**
 * What this host remembers of each container: `<instancesPath>/<uuid>/` with `spec.json`, `state.json`, `bundle/`, `net/`, the disk
 * and `console.log`; and, in a tmpfs because it ends with the machine, which process is PID 1.
 */
import { chmod, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, writeJsonAtomic } from '../base/atomic.js';
import { HaulierError, messageOf } from '../base/errors.js';
import { KeyedLock } from '../base/lock.js';
import { bootId, isAlive, type ProcessId } from './process.js';
import type { ContainerSpec } from './spec.js';

/** How far a container's making or unmaking has come. All but `ready` are found only after a crash. `departing`: it stands frozen, and another host decides who has it. `arriving`: it is coming from another host, which still has it. */
export type Phase = (typeof phases)[number];
const phases = ['creating', 'ready', 'starting', 'suspending', 'resuming', 'dumping', 'departing', 'arriving', 'removing'] as const;

/** What was last asked for. */
const wishes = ['running', 'paused', 'suspended', 'stopped'] as const;

/** How PID 1 ended. */
export interface ExitRecord {
  /** Exit code, or 128 and the signal's number. */
  readonly code: number;
  readonly at: string;
  /** True if the service had asked for it. */
  readonly wanted: boolean;
}

/** `state.json`. */
export interface InstanceState {
  readonly version: 1;
  /** Whose container it is: an instances_path may be shared. Written by `InstanceStore`; undefined where the host has no name there. */
  readonly host?: string;
  readonly phase: Phase;
  /** First host id of its user namespace. */
  readonly idBase: number;
  /** What was last asked for. */
  readonly wanted: (typeof wishes)[number];
  /**
   * Who had it suspended: what `haulier host freeze` froze, `haulier host thaw` and the next start of the service bring back.
   * `boot`: nobody; it was made from a snapshot with memory, and its first start resumes it.
   */
  readonly suspendedFor?: 'user' | 'host' | 'boot' | undefined;
  readonly startedAt: string | undefined;
  readonly exit: ExitRecord | undefined;
  /** /etc/hosts and so on were written, which happens once: afterwards the tree belongs to the guest. */
  readonly guestFiles: boolean;
}

/** `running.json`: PID 1 of a container that was started since the machine booted. */
export interface RunningRecord extends ProcessId {
  readonly bootId: string;
  readonly startedAt: string;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const thisBoot = bootId();

/** Paths of one container. */
export interface InstancePaths {
  readonly folder: string;
  readonly spec: string;
  readonly state: string;
  readonly bundle: string;
  readonly config: string;
  /** Batch files of the network hook. */
  readonly network: string;
  /** systemd's drop-in, bound into the container. */
  readonly systemdConf: string;
  /** An application's tiny init, bound into the container. */
  readonly init: string;
  /** Files of its config drive, as JSON, and the folder that is bound into the container. */
  readonly configDrive: string;
  readonly configDriveFolder: string;
  /** criu's options for this container, read by the runtime at checkpoint and restore (annotation `org.criu.config`). */
  readonly criuConfig: string;
  readonly console: string;
  /** tmpfs: pid files. */
  readonly run: string;
  readonly running: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  readonly conmonLog: string;
}

/** The instance directories of one host. */
export class InstanceStore {
  readonly #lock = new KeyedLock();
  /** @param host whose containers these are, where others may lie in the same folder; undefined: all are */
  constructor(readonly instancesPath: string, readonly runPath: string, readonly host?: string) {}

  /** @throws BAD_ARGUMENT if `id` is no uuid: it becomes part of paths */
  paths(id: string): InstancePaths {
    if (!uuid.test(id)) throw new HaulierError('BAD_ARGUMENT', { method: 'container', argument: 'id', problem: `${id} is no uuid` });
    const folder = join(this.instancesPath, id);
    const run = join(this.runPath, 'containers', id);
    return {
      folder,
      spec: join(folder, 'spec.json'),
      state: join(folder, 'state.json'),
      bundle: join(folder, 'bundle'),
      config: join(folder, 'bundle', 'config.json'),
      network: join(folder, 'net'),
      systemdConf: join(folder, 'systemd'),
      init: join(folder, 'init'),
      configDrive: join(folder, 'config-drive.json'),
      configDriveFolder: join(folder, 'config-drive'),
      criuConfig: join(folder, 'criu.conf'),
      console: join(folder, 'console.log'),
      run,
      running: join(run, 'running.json'),
      pidFile: join(run, 'pid'),
      conmonPidFile: join(run, 'conmon.pid'),
      conmonLog: join(run, 'conmon.log'),
    };
  }

  /** Ids of all instance directories of this host, also of half-made ones. */
  async ids(): Promise<string[]> {
    const entries = await readdir(this.instancesPath, { withFileTypes: true }).catch(() => []);
    const ids = entries.filter((entry) => entry.isDirectory() && uuid.test(entry.name)).map((entry) => entry.name).sort();
    const foreign = await Promise.all(ids.map((id) => this.isForeign(id)));
    return ids.filter((_, index) => !foreign[index]);
  }

  /** True if another host that shares the folder has it; a damaged record says nothing. */
  async isForeign(id: string): Promise<boolean> {
    return this.host !== undefined && isAnothers(await this.readState(id).catch(() => undefined), this.host);
  }

  async exists(id: string): Promise<boolean> {
    return await stat(this.paths(id).folder).then(() => true, () => false);
  }

  /** Makes the directory and its folders; the mapped root needs to pass through, but not to list. */
  async makeFolders(id: string): Promise<void> {
    const paths = this.paths(id);
    for (const folder of [paths.folder, paths.bundle]) {
      await mkdir(folder, { recursive: true });
      await chmod(folder, 0o711);
    }
    await mkdir(paths.network, { recursive: true, mode: 0o700 });
    await mkdir(paths.systemdConf, { recursive: true, mode: 0o755 });
  }

  /** @returns undefined if there is none @throws STATE_DAMAGED */
  async readState(id: string): Promise<InstanceState | undefined> {
    const path = this.paths(id).state;
    const value = await readJson(path);
    if (value === undefined) return undefined;
    if (!isState(value)) throw new HaulierError('STATE_DAMAGED', { path, reason: 'not a state record' });
    return value;
  }

  /** Writes a first state. */
  async writeState(id: string, state: InstanceState): Promise<void> {
    await this.#lock.hold(id, () => writeJsonAtomic(this.paths(id).state, this.owned(state)));
  }

  /** The state as this host's. */
  owned(state: InstanceState): InstanceState {
    return this.host === undefined ? state : { ...state, host: this.host };
  }

  /** Changes the state; does nothing if there is none. */
  async update(id: string, change: Partial<InstanceState>): Promise<void> {
    await this.#lock.hold(id, async () => {
      const state = await this.readState(id);
      if (state) await writeJsonAtomic(this.paths(id).state, { ...state, ...change });
    });
  }

  /** @returns undefined if there is none @throws STATE_DAMAGED */
  async readSpec(id: string): Promise<ContainerSpec | undefined> {
    const path = this.paths(id).spec;
    const value = await readJson(path);
    if (value === undefined) return undefined;
    if (!isSpec(value)) throw new HaulierError('STATE_DAMAGED', { path, reason: 'not a container spec' });
    return value;
  }

  async writeSpec(spec: ContainerSpec): Promise<void> {
    await writeJsonAtomic(this.paths(spec.id).spec, spec);
  }

  /** Notes which process is PID 1. */
  async writeRunning(id: string, process: ProcessId, startedAt: string): Promise<void> {
    const record: RunningRecord = { ...process, bootId: thisBoot, startedAt };
    await writeJsonAtomic(this.paths(id).running, record);
  }

  /** PID 1, if it lives. */
  async running(id: string): Promise<RunningRecord | undefined> {
    const record = await this.lastRunning(id);
    return record && isAlive(record) ? record : undefined;
  }

  /** The last PID 1 of this boot, dead or alive; undefined if none was started or its end has been seen. */
  async lastRunning(id: string): Promise<RunningRecord | undefined> {
    try {
      const value = (await readJson(this.paths(id).running)) as RunningRecord | undefined;
      return value && value.bootId === thisBoot && Number.isInteger(value.pid) ? value : undefined;
    } catch (error) {
      if (error instanceof HaulierError) return undefined;
      throw new HaulierError('STATE_DAMAGED', { path: this.paths(id).running, reason: messageOf(error) });
    }
  }

  /** Forgets PID 1. */
  async clearRunning(id: string): Promise<void> {
    await rm(this.paths(id).running, { recursive: true, force: true }); // it may be anything, if it is damaged
  }
}

/** Whether a state is that of a container of another host than `host`. */
export function isAnothers(state: Pick<InstanceState, 'host'> | undefined, host: string | undefined): boolean {
  return host !== undefined && state?.host !== undefined && state.host !== host;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isState(value: unknown): value is InstanceState {
  if (!isObject(value)) return false;
  const { version, phase, idBase, wanted, exit, host } = value;
  return version === 1 && phases.some((known) => known === phase) && wishes.some((known) => known === wanted) && Number.isInteger(idBase) && Number(idBase) > 0
    && (host === undefined || typeof host === 'string') && (exit === undefined || (isObject(exit) && Number.isInteger(exit['code']) && typeof exit['wanted'] === 'boolean'));
}

function isSpec(value: unknown): value is ContainerSpec {
  return isObject(value) && typeof value['id'] === 'string' && typeof value['name'] === 'string' && typeof value['hostname'] === 'string'
    && isLimits(value['limits']) && Array.isArray(value['vifs']) && value['vifs'].every(isVif) && isObject(value['env']) && isObject(value['labels'])
    && (value['init'] === undefined || (Array.isArray(value['init']) && value['init'].every((word) => typeof word === 'string')));
}

function isLimits(value: unknown): boolean {
  return isObject(value) && ['vcpus', 'memoryMiB', 'swapMiB', 'pids', 'rootGiB'].every((name) => Number.isInteger(value[name]));
}

function isVif(value: unknown): boolean {
  return isObject(value) && ['id', 'hostDevice', 'guestDevice', 'mac'].every((name) => typeof value[name] === 'string') && isObject(value['plug'])
    && ['addresses', 'routes', 'dns'].every((name) => Array.isArray(value[name]));
}

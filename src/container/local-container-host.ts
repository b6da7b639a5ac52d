/** The door's implementation: the containers of this host, made with runc, conmon and the storage half of this room. */
import { mkdir } from 'node:fs/promises';
import { HaulierError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Operation } from '../base/operation.js';
import { probeAbilities, type Abilities } from './abilities.js';
import { giveBootData, hasCloudInit, type BootData } from './boot-data/boot-data.js';
import { setPassword } from './boot-data/password.js';
import { readCgroupLayout } from './cgroup.js';
import { keepConsole, readConsole } from './console.js';
import { openConsole, type ConsoleLine } from './console-line.js';
import type { ContainerExit, ContainerHost, ContainerHostOptions, Readiness, StopTiming } from './container-host.js';
import { Tally } from './checkpoint/tally.js';
import { checkContainer, createContainer } from './create.js';
import { renewAllFigures } from './figures/renew.js';
import { Ends, ExitListeners } from './ends.js';
import { Life } from './life.js';
import { LocalStorage } from './local-storage.js';
import { readKeyRing } from './memory-image/keys.js';
import { LocalMoves } from './move/local-moves.js';
import { announce } from './network/announce.js';
import { changePorts } from './network/change.js';
import { keepNames } from './network/guest-devices.js';
import { checkVif } from './network/plug.js';
import { makeParts, type HostParts } from './parts.js';
import { isQuiesced, QuiescedGuests } from './quiesce.js';
import { reconcile } from './reconcile.js';
import { SerialConsoles } from './serial-consoles.js';
import { snapshotContainer, type DiskSnapshot } from './snapshot/snapshot.js';
import type { ContainerSpec, ContainerStats, ContainerView, HostResources, ImagesFound, ImageSource, VifSpec } from './spec.js';
import { rootFsPaths } from './storage/root-fs.js';
import { InstanceStore } from './state.js';
import { readStats } from './stats.js';
import type { ContainerStorage } from './storage-port.js';
import { captureTemplate, markTemplate, type Captured } from './template/capture.js';
import { verdictOf, type Verdict } from './verdict/verdict.js';
import { existing, viewContainer } from './view.js';

/** One host's containers. Call `start` before anything else. */
export class LocalContainerHost implements ContainerHost {
  readonly moves = new LocalMoves(() => this.parts);
  /** How suspends and resumes went, for the metrics. */
  readonly tally = new Tally();
  readonly serial: SerialConsoles | undefined;
  readonly #options: ContainerHostOptions;
  readonly #log: Log;
  readonly #storage: ContainerStorage;
  readonly #exits: ExitListeners;
  readonly #quiesced = new QuiescedGuests();
  #parts: HostParts | undefined;
  #abilities: Promise<Abilities> | undefined;
  #ends: Ends | undefined;
  #life: Life | undefined;

  /** @param storage another storage than the one under `instancesPath`, for tests */
  constructor(options: ContainerHostOptions, log: Log, storage?: ContainerStorage) {
    this.#options = options;
    this.#log = log;
    this.#exits = new ExitListeners(log);
    this.serial = options.serial && new SerialConsoles(options.serial, new InstanceStore(options.instancesPath, options.runPath, options.host), (id) => this.openConsole(id), log);
    this.#storage = storage ?? new LocalStorage(options, new InstanceStore(options.instancesPath, options.runPath, options.host), log);
  }

  /** The parts, for the room above that moves containers. @throws RUNTIME_FAILED before `start` */
  get parts(): HostParts {
    if (!this.#parts) throw new HaulierError('RUNTIME_FAILED', { action: 'be used', reason: 'the container host was not started' });
    return this.#parts;
  }

  get #running(): Life {
    if (!this.#life) throw new HaulierError('RUNTIME_FAILED', { action: 'be used', reason: 'the container host was not started' });
    return this.#life;
  }

  async start(): Promise<void> {
    if (this.#ends) return;
    await mkdir(this.#options.runPath, { recursive: true, mode: 0o711 });
    await this.#storage.start();
    const parts = makeParts(this.#options, this.#storage, await readCgroupLayout(), this.#log);
    this.#parts = parts;
    const found = await reconcile(parts);
    this.#log.info({ running: found.running.length, halfMade: found.halfMade, damaged: found.damaged }, 'containers found');
    const ends = new Ends(parts, (exit) => this.#exits.tell(exit));
    for (const id of found.running) {
      await ends.watch(id);
      parts.pages.follow(id);
    }
    this.#ends = ends;
    this.#life = new Life(parts, ends, this.tally);
    await ends.start();
    await this.renewFigures((_id, work) => work()); // nothing else works on them yet
  }

  async stop(): Promise<void> {
    await this.#parts?.pages.stop();
    this.serial?.closeAll();
    if (this.#parts) await this.#quiesced.endAll(this.#parts);
    this.#ends?.stop();
    this.#ends = undefined;
    this.#life = undefined;
  }

  abilities(): Promise<Abilities> {
    return (this.#abilities ??= probeAbilities(this.#options));
  }

  async ensureImage(source: ImageSource, operation: Operation): Promise<boolean> {
    const cached = await this.#storage.ensureImage(source, operation);
    this.tally.image(cached);
    return cached;
  }

  images(): Promise<readonly string[]> {
    return this.#storage.images();
  }

  removeUnusedImages(idleMs: number): Promise<readonly string[]> {
    return this.#storage.removeUnusedImages(idleMs);
  }

  async plug(instance: string, vif: VifSpec, operation: Operation): Promise<void> {
    this.parts.store.paths(instance); // checks the id
    operation.undo(`plug port ${vif.id}`, () => this.unplug(instance, vif));
    await this.parts.plugger.plug(instance, vif, (await this.parts.store.running(instance)) !== undefined, operation.signal);
  }

  async replug(id: string): Promise<void> {
    if (!(await this.parts.store.running(id))) return;
    for (const vif of (await this.spec(id))?.vifs ?? []) await this.parts.plugger.replug(id, vif);
  }

  async unplug(instance: string, vif: VifSpec): Promise<void> {
    this.parts.store.paths(instance);
    await this.parts.plugger.unplug(instance, vif);
  }

  async check(spec: ContainerSpec): Promise<ImagesFound> {
    return await checkContainer(this.parts, spec);
  }

  async create(spec: ContainerSpec, operation: Operation): Promise<void> {
    await createContainer(this.parts, spec, operation);
  }

  async giveBootData(id: string, data: BootData, operation: Operation): Promise<void> {
    await giveBootData(this.parts, id, data, operation);
  }

  async hasCloudInit(id: string): Promise<boolean> {
    const state = await this.parts.store.readState(id);
    if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    return await hasCloudInit(await this.#storage.mount(id, state.idBase));
  }

  async setPassword(id: string, account: string, password: string): Promise<void> {
    if ((await existing(this.parts, id)).state !== 'running') throw new HaulierError('INSTANCE_NOT_RUNNING', { instance: id });
    const idBase = (await this.parts.store.readState(id))?.idBase ?? 0;
    try {
      await setPassword({ rootfs: rootFsPaths(this.parts.store.paths(id).folder).rootfs, idBase }, account, password);
    } catch (error) {
      throw new HaulierError('PASSWORD_FAILED', { instance: id, reason: messageOf(error) }, { cause: error });
    }
  }

  async renewFigures(inTurn: (id: string, work: () => Promise<void>) => Promise<void>): Promise<void> {
    if (this.#options.lxcfs !== undefined) await renewAllFigures(this.parts, inTurn);
  }

  async mount(id: string, operation: Operation): Promise<void> {
    operation.throwIfAborted();
    const state = await this.parts.store.readState(id);
    if (!state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    await this.#storage.mount(id, state.idBase);
  }

  async startContainer(id: string, operation: Operation, ready?: Readiness): Promise<void> {
    await this.#running.start(id, operation, ready);
  }

  async stopContainer(id: string, timing: StopTiming, operation: Operation): Promise<void> {
    await this.#running.stop(id, timing, operation);
  }

  async pause(id: string, operation: Operation): Promise<void> {
    await this.#running.pause(id, operation);
  }

  async unpause(id: string, operation: Operation): Promise<void> {
    await this.#running.unpause(id, operation);
  }

  async suspend(id: string, operation: Operation, wantedBy: 'user' | 'host' = 'user'): Promise<void> {
    await this.#running.suspend(id, operation, wantedBy);
  }

  async resume(id: string, operation: Operation, ready?: Readiness): Promise<void> {
    await this.#running.resume(id, operation, ready);
  }

  async crashDump(id: string, operation: Operation): Promise<string> {
    return await this.#running.crashDump(id, operation);
  }

  async snapshot(id: string, operation: Operation, memoryFor?: string): Promise<DiskSnapshot> {
    if (memoryFor !== undefined) await this.parts.pages.settled(id, operation.signal);
    return await snapshotContainer(this.parts, id, operation, memoryFor);
  }

  async requireSnapshotKey(): Promise<void> {
    await readKeyRing(this.#options.snapshotKey);
  }

  async quiesce(id: string, frozen: boolean, operation: Operation): Promise<void> {
    await this.#quiesced.begin(this.parts, id, frozen, operation);
  }

  isQuiesced(id: string): Promise<boolean> {
    return isQuiesced(this.parts, id);
  }

  async unquiesce(id: string): Promise<void> {
    await this.#quiesced.end(this.parts, id);
  }

  markTemplate(id: string, operation: Operation): Promise<number> {
    return markTemplate(this.parts, id, operation);
  }

  captureTemplate(id: string, file: string, keep: readonly string[], operation: Operation): Promise<Captured> {
    return captureTemplate(this.parts, id, file, keep, operation);
  }

  async verdict(id: string): Promise<Verdict> {
    const view = await existing(this.parts, id);
    const verdict = await verdictOf(this.parts, id);
    if (!verdict) throw new HaulierError('INSTANCE_STATE', { instance: id, state: view.state, action: 'judge' });
    return verdict;
  }

  announce(id: string): Promise<void> {
    return announce(this.parts, id);
  }

  async destroy(id: string, operation: Operation, ports: readonly VifSpec[] = []): Promise<void> {
    this.serial?.close(id);
    await this.#running.destroy(id, operation, ports);
  }

  async updateVifs(id: string, vifs: readonly VifSpec[]): Promise<void> {
    vifs.forEach(checkVif);
    const spec = await this.spec(id);
    if (!spec) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    await this.parts.store.writeSpec({ ...spec, vifs: keepNames(vifs, spec.vifs) });
  }

  async changeVifs(id: string, vifs: readonly VifSpec[], operation: Operation): Promise<void> {
    await changePorts(this.parts, id, vifs, operation.signal);
    void this.announce(id);
  }

  spec(id: string): Promise<ContainerSpec | undefined> {
    return this.parts.store.readSpec(id);
  }

  view(id: string): Promise<ContainerView> {
    return viewContainer(this.parts, id);
  }

  async list(): Promise<readonly ContainerView[]> {
    return await Promise.all((await this.parts.store.ids()).map((id) => this.view(id)));
  }

  async stats(id: string): Promise<ContainerStats> {
    return await readStats(this.parts, id);
  }

  async consoleLog(id: string, lines: number | undefined): Promise<string> {
    const path = this.parts.store.paths(id).console;
    await keepConsole(path, this.#options.consoleLogBytes);
    return await readConsole(path, lines, this.#options.consoleLogBytes);
  }

  openConsole(id: string): Promise<ConsoleLine> {
    return openConsole(this.parts.store, id);
  }

  onExit(listener: (exit: ContainerExit) => void): void {
    this.#exits.add(listener);
  }

  resources(): Promise<HostResources> {
    return this.#storage.resources();
  }

  /** Looks after a container's PID 1, and its images, from now on; for the room above, which restores containers too. */
  async watch(id: string): Promise<void> {
    await this.#running.watch(id);
  }

  /** It is another host's now; the room above has removed it. */
  async left(id: string): Promise<void> {
    await this.#running.left(id);
  }
}

/**
 * Fakes of the rooms below: containers and placement. They record each call in `Steps`, keep what was made, and can fail or
 * stand still at any call. They are for order, races and faults; that the real ones work is shown by the host and cloud tests.
 */
import type { SerialDoor } from '../../../src/container/serial-consoles.js';
import { Readable } from 'node:stream';
import { HaulierError } from '../../../src/base/errors.js';
import type { Operation } from '../../../src/base/operation.js';
import { featureTable, type Abilities } from '../../../src/container/abilities.js';
import type { BootData } from '../../../src/container/boot-data/boot-data.js';
import type { ContainerExit, ContainerHost, Readiness } from '../../../src/container/container-host.js';
import type { ContainerMoves } from '../../../src/container/container-moves.js';
import type { DiskSnapshot } from '../../../src/container/snapshot/snapshot.js';
import type { ContainerSpec, ContainerState, ContainerStats, ContainerView, HostResources, ImagesFound, ImageSource, LimitSpec, VifSpec } from '../../../src/container/spec.js';
import type { Verdict } from '../../../src/container/verdict/verdict.js';
import type { Inventory, Placement } from '../../../src/openstack/types.js';
import type { Steps } from './steps.js';

async function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    work.then(() => resolve(), reject);
  });
}

const gib = 1024 ** 3;

/** What is set aside, and how large every disk is. */
export class FakeMoves implements ContainerMoves {
  readonly aside = new Map<string, { spec: ContainerSpec; state: ContainerState }>();
  readonly marks = new Set<string>();
  /** Hosts that share instances_path see each other's marks. */
  foreignMarks: ReadonlySet<string> = new Set();

  constructor(readonly steps: Steps, readonly host: FakeContainers) {}

  #stopped(id: string): { spec: ContainerSpec; state: ContainerState } {
    const found = this.host.made.get(id);
    if (!found) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    if (found.state !== 'stopped') throw new HaulierError('INSTANCE_STATE', { instance: id, state: found.state, action: 'move' });
    return found;
  }
  async diskBytes(id: string): Promise<number> {
    const found = this.host.made.get(id);
    if (!found) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    return found.spec.limits.rootGiB * gib;
  }
  async resize(id: string, limits: LimitSpec, operation: Operation): Promise<void> {
    await this.steps.pass('moves.resize');
    const found = this.#stopped(id);
    operation.undo('restore', async () => { await this.restore(id); });
    this.aside.set(id, { ...found });
    this.host.made.set(id, { state: 'stopped', spec: { ...found.spec, limits } });
    await this.steps.pass('moves.resized');
  }
  async keep(id: string, operation: Operation): Promise<void> {
    await this.steps.pass('moves.keep');
    const found = this.#stopped(id);
    operation.undo('restore', async () => { await this.restore(id); });
    this.aside.set(id, found);
    this.host.made.delete(id);
  }
  async restore(id: string): Promise<boolean> {
    await this.steps.pass('moves.restore');
    const found = this.aside.get(id);
    if (!found) return false;
    this.host.made.set(id, found);
    this.host.plugged.delete(id);
    return this.aside.delete(id);
  }
  async drop(id: string): Promise<void> { await this.steps.pass('moves.drop'); this.aside.delete(id); }
  async kept(): Promise<readonly string[]> { return [...this.aside.keys()]; }
  async keptSpec(id: string): Promise<ContainerSpec | undefined> { return this.aside.get(id)?.spec; }
  async adopt(spec: ContainerSpec): Promise<void> {
    await this.steps.pass('moves.adopt');
    this.host.made.set(spec.id, { ...this.#stopped(spec.id), spec });
  }
  async abandon(id: string): Promise<void> {
    await this.steps.pass('moves.abandon');
    this.host.made.delete(id);
    this.host.plugged.delete(id);
  }
  async mark(id: string): Promise<string | undefined> {
    if (!this.host.made.has(id)) return undefined;
    this.marks.add(`/${id}/tmpmark`);
    return `/${id}/tmpmark`;
  }
  async sees(mark: string): Promise<boolean> { return this.marks.has(mark) || this.foreignMarks.has(mark); }
  async unmark(mark: string): Promise<void> { this.marks.delete(mark); }
}

export class FakeContainers implements ContainerHost {
  readonly moves: FakeMoves;
  readonly made = new Map<string, { spec: ContainerSpec; state: ContainerState }>();
  readonly cached = new Set<string>();
  /** Instance to ports whose host side is there. */
  readonly plugged = new Map<string, Set<string>>();
  /** Two state changes of one container at once: the door forbids it. */
  readonly clashes: string[] = [];
  readonly listeners: ((exit: ContainerExit) => void)[] = [];
  readonly #busy = new Map<string, string>();
  host: HostResources = { cpus: 8, memoryMiB: 16_000, memoryAvailableMiB: 9000, diskGiB: 100, diskFreeGiB: 80, architecture: 'x86_64', cpuModel: 'm', cpuVendor: 'v', cpuFlags: ['sse', 'avx2', 'unheard-of'], uptime: '1 day' };

  constructor(readonly steps: Steps) {
    this.moves = new FakeMoves(steps, this);
  }

  /** A container of an earlier life of the service. */
  put(id: string, state: ContainerState, vifs: readonly VifSpec[] = []): void {
    this.made.set(id, { state, spec: { id, name: id, hostname: id, imageId: 'i', limits: { vcpus: 1, cpuShares: 1024, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 64, swapMiB: 0, pids: 100, rootGiB: 1 }, vifs, init: undefined, env: {}, labels: {} } });
  }
  get leftovers(): unknown {
    return { containers: [...this.made.keys()], ports: [...this.plugged].filter(([, ports]) => ports.size > 0).map(([id]) => id) };
  }

  async #change<T>(what: string, id: string, work: () => Promise<T> | T): Promise<T> {
    const other = this.#busy.get(id);
    if (other) this.clashes.push(`${what} during ${other}`);
    this.#busy.set(id, what);
    try {
      await this.steps.pass(`containers.${what}`);
      return await work();
    } finally {
      this.#busy.delete(id);
    }
  }
  #ports(id: string): Set<string> {
    const ports = this.plugged.get(id) ?? new Set();
    this.plugged.set(id, ports);
    return ports;
  }
  #existing(id: string): { spec: ContainerSpec; state: ContainerState } {
    const found = this.made.get(id);
    if (!found) throw new HaulierError('INSTANCE_NOT_FOUND', { instance: id });
    return found;
  }

  async start(): Promise<void> { await this.steps.pass('containers.open'); }
  async stop(): Promise<void> { await this.steps.pass('containers.close'); }
  async ensureImage(source: ImageSource, operation: Operation): Promise<boolean> {
    await untilAborted(this.steps.pass('containers.ensureImage'), operation.signal);
    const had = this.cached.has(source.id);
    this.cached.add(source.id);
    return had;
  }
  async images(): Promise<readonly string[]> { return [...this.cached]; }
  async removeUnusedImages(_idleMs: number): Promise<readonly string[]> { return []; }
  async requireSnapshotKey(): Promise<void> { await this.steps.pass('containers.requireSnapshotKey'); }
  /** Images for which a snapshot with memory was asked. */
  readonly memoryFor: string[] = [];
  async snapshot(id: string, _operation: Operation, memoryFor?: string): Promise<DiskSnapshot> {
    return this.#change('snapshot', id, () => {
      const { state } = this.#existing(id);
      if (memoryFor !== undefined) this.memoryFor.push(memoryFor);
      const memory = memoryFor === undefined || state === 'stopped' ? undefined : { format: 1, criu: '4.2.1', architecture: 'x64', memoryMiB: 20 };
      return { stream: Readable.from([Buffer.from('tar')]), expectedBytes: 3, frozenMs: 0, memory, application: undefined, end: () => this.steps.pass('containers.snapshot.end') };
    });
  }
  async plug(instance: string, vif: VifSpec, operation: Operation): Promise<void> {
    operation.undo(`plug port ${vif.id}`, () => this.unplug(instance, vif));
    await this.steps.pass('containers.plug');
    operation.throwIfAborted();
    this.#ports(instance).add(vif.id);
  }
  async replug(id: string): Promise<void> { await this.steps.pass(`containers.replug ${id}`); }
  async unplug(instance: string, vif: VifSpec): Promise<void> {
    await this.steps.pass('containers.unplug');
    this.#ports(instance).delete(vif.id);
  }
  /** What the probe finds. */
  found: Abilities = { criu: '4.2.1', kernel: '6.18', problem: undefined, features: Object.fromEntries(featureTable.map(({ name }) => [name, name !== 'mem_dirty_track'])) as Abilities['features'] };
  async abilities(): Promise<Abilities> { await this.steps.pass('containers.abilities'); return this.found; }
  async announce(id: string): Promise<void> { await this.steps.pass(`containers.announce ${id}`); }
  async check(): Promise<ImagesFound> {
    await this.steps.pass('containers.check');
    return { cloudInit: this.cloudInit };
  }
  async create(spec: ContainerSpec, operation: Operation): Promise<void> {
    if (this.made.has(spec.id)) throw new HaulierError('INSTANCE_STATE', { instance: spec.id, state: 'ready', action: 'create' });
    operation.undo('create', () => this.destroy(spec.id));
    await this.#change('create', spec.id, () => {
      operation.throwIfAborted();
      this.made.set(spec.id, { spec, state: 'stopped' });
    });
  }
  /** What containers were given before their first start. */
  readonly bootData: BootData[] = [];
  async giveBootData(id: string, data: BootData): Promise<void> {
    await this.#change('giveBootData', id, () => {
      this.#existing(id);
      this.bootData.push(data);
    });
  }
  /** Whether the images have cloud-init. */
  cloudInit = false;
  async hasCloudInit(id: string): Promise<boolean> {
    this.#existing(id);
    return this.cloudInit;
  }
  /** Passwords that were set: `account:password`. */
  readonly passwords: string[] = [];
  async setPassword(id: string, account: string, password: string): Promise<void> {
    await this.#change('setPassword', id, () => {
      this.#existing(id);
      this.passwords.push(`${account}:${password}`);
    });
  }
  async renewFigures(inTurn: (id: string, work: () => Promise<void>) => Promise<void>): Promise<void> {
    for (const id of this.made.keys()) await inTurn(id, () => this.#change('renewFigures', id, () => undefined));
  }
  async mount(id: string, operation: Operation): Promise<void> {
    await this.#change('mount', id, () => {
      operation.throwIfAborted();
      this.#existing(id);
    });
  }
  async startContainer(id: string, operation: Operation, ready?: Readiness): Promise<void> {
    await this.#change('startContainer', id, async () => {
      const container = this.#existing(id);
      operation.throwIfAborted();
      try {
        for (const vif of container.spec.vifs) this.#ports(id).add(vif.id);
        if (ready) await untilAborted(typeof ready === 'function' ? ready() : ready, operation.signal);
        await this.steps.pass('containers.run');
        container.state = 'running';
      } catch (error) {
        this.#ports(id).clear();
        throw error;
      }
    });
  }
  async stopContainer(id: string, _timing: { timeoutMs: number; retryMs: number }, operation: Operation): Promise<void> {
    await this.#change('stopContainer', id, () => {
      const container = this.#existing(id);
      operation.throwIfAborted();
      if (container.state !== 'crashed') container.state = 'stopped';
      this.#ports(id).clear();
    });
  }
  async pause(id: string): Promise<void> { await this.#change('pause', id, () => { this.#existing(id).state = 'paused'; }); }
  async unpause(id: string): Promise<void> { await this.#change('unpause', id, () => { this.#existing(id).state = 'running'; }); }
  async suspend(id: string): Promise<void> {
    await this.#change('suspend', id, () => {
      this.#existing(id).state = 'suspended';
      this.#ports(id).clear();
    });
  }
  async resume(id: string): Promise<void> { await this.#change('resume', id, () => { this.#existing(id).state = 'running'; }); }
  async crashDump(id: string): Promise<string> {
    await this.#change('crashDump', id, () => { this.#existing(id); });
    return `/dumps/${id}`;
  }
  readonly quiesced: string[] = [];
  async quiesce(id: string, frozen: boolean): Promise<void> {
    await this.steps.pass('containers.quiesce');
    this.quiesced.push(`${frozen ? 'frozen' : 'hook'} ${id}`);
  }
  async isQuiesced(id: string): Promise<boolean> { return this.quiesced.some((entry) => entry.endsWith(id)) && !this.quiesced.at(-1)?.startsWith('goes on'); }
  async unquiesce(id: string): Promise<void> { this.quiesced.push(`goes on ${id}`); }
  async markTemplate(): Promise<number> { return 0; }
  async captureTemplate(): Promise<never> { throw new Error('not used'); }
  async verdict(): Promise<Verdict> { return { freezable: true, findings: [] }; }
  async destroy(id: string, _operation?: Operation, _ports: readonly VifSpec[] = []): Promise<void> {
    await this.#change('destroy', id, () => {
      this.made.delete(id);
      this.plugged.delete(id);
    });
  }
  async updateVifs(id: string, vifs: readonly VifSpec[]): Promise<void> {
    await this.steps.pass('containers.updateVifs');
    const container = this.#existing(id);
    container.spec = { ...container.spec, vifs };
  }
  async changeVifs(id: string, vifs: readonly VifSpec[]): Promise<void> {
    await this.#change('changeVifs', id, () => {
      const container = this.#existing(id);
      container.spec = { ...container.spec, vifs };
      if (container.state === 'running' || container.state === 'paused') this.plugged.set(id, new Set(vifs.map((vif) => vif.id)));
    });
  }
  async spec(id: string): Promise<ContainerSpec | undefined> { return this.made.get(id)?.spec; }
  async view(id: string): Promise<ContainerView> {
    return { id, name: id, state: this.made.get(id)?.state ?? 'missing', pid: undefined, exitCode: undefined, startedAt: undefined };
  }
  async list(): Promise<readonly ContainerView[]> { return Promise.all([...this.made.keys()].map((id) => this.view(id))); }
  async stats(): Promise<ContainerStats> {
    return { cpuNs: 5, memoryBytes: 3 << 20, memoryLimitBytes: 64 << 20, pids: 2, uptimeSeconds: 1, disk: { readBytes: 1, writeBytes: 2, readOps: 3, writeOps: 4 }, nics: [] };
  }
  serial: SerialDoor | undefined;
  async openConsole(): Promise<never> { throw new Error('not used'); }
  async consoleLog(_id: string, lines: number | undefined): Promise<string> { return `lög ${lines ?? 'all'}\n`; }
  onExit(listener: (exit: ContainerExit) => void): void { this.listeners.push(listener); }
  async resources(): Promise<HostResources> {
    await this.steps.pass('containers.resources');
    return this.host;
  }
}

export class FakePlacement implements Placement {
  readonly allocations = new Map<string, Record<string, Record<string, number>>>();
  readonly providers = new Map<string, string>();
  held: Record<string, Inventory> = {};
  readonly traits = new Set<string>();
  constructor(readonly steps: Steps) {}
  async ensureProvider(uuid: string, name: string): Promise<void> { await this.steps.pass('placement.ensureProvider'); this.providers.set(uuid, name); }
  async inventories(): Promise<Readonly<Record<string, Inventory>>> { return this.held; }
  async setInventories(_provider: string, inventories: Readonly<Record<string, Inventory>>): Promise<void> { await this.steps.pass('placement.setInventories'); this.held = { ...inventories }; }
  async setTraits(_provider: string, present: readonly string[], absent: readonly string[]): Promise<readonly string[]> {
    await this.steps.pass('placement.setTraits');
    present.forEach((trait) => this.traits.add(trait));
    absent.forEach((trait) => this.traits.delete(trait));
    return [];
  }
  async allocationsOf(provider: string): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>> {
    await this.steps.pass('placement.allocationsOf');
    return Object.fromEntries([...this.allocations].flatMap(([consumer, by]) => (by[provider] ? [[consumer, by[provider]]] : [])));
  }
  async moveAllocations(from: string, to: string): Promise<boolean> {
    await this.steps.pass('placement.moveAllocations');
    const moved = this.allocations.get(from);
    if (moved) this.allocations.set(to, moved);
    return this.allocations.delete(from);
  }
  async removeProviderFromAllocations(consumer: string, provider: string): Promise<void> {
    await this.steps.pass('placement.removeProviderFromAllocations');
    delete this.allocations.get(consumer)?.[provider];
  }
  async deleteAllocations(consumer: string): Promise<void> { await this.steps.pass('placement.deleteAllocations'); this.allocations.delete(consumer); }
}

/** The host that a running container comes to. */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HaulierError, messageOf } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { misfits, readHostFacts, type HostFacts } from '../../container/checkpoint/facts.js';
import { checkFiles, checkpointPaths, imageFiles, makeCheckpointFolders, writeMeta, type CheckpointMeta } from '../../container/checkpoint/images.js';
import { resumeContainer } from '../../container/checkpoint/restore.js';
import { destroyContainer } from '../../container/destroy.js';
import type { HostParts } from '../../container/parts.js';
import type { ContainerSpec, VifSpec } from '../../container/spec.js';
import { mountDisk } from '../../container/storage/disk.js';
import { rootFsPaths } from '../../container/storage/root-fs.js';
import { closeView, openView, viewPaths } from '../disk/layer-view.js';
import { receiveOwnFiles } from '../disk/own-files.js';
import { rebaseImages } from '../disk/rebase.js';
import { beginArrival, discardArrival, land, type Arrival, type ReceiveOptions } from '../disk/receive.js';
import { receiveRounds } from '../disk/rounds.js';
import type { HaulChannel } from '../wire/channel.js';
import { memoryAbilities, receiverFor, type MemoryReceiver } from './memory.js';
import { mutePorts, unmutePorts } from './mute.js';
import { announce, neighbourLines } from './neighbours.js';
import type { DestinationPhase, DestinationPort } from './protocol.js';
import type { HaulRecord, HaulRecords } from './record.js';
import { haulStep, settledStep } from './steps.js';

/** What a destination works with. */
export interface DestinationContext {
  readonly parts: HostParts;
  readonly records: HaulRecords;
  /** Looks after a container from now on. */
  readonly watch: (id: string) => Promise<void>;
}

/** One haul, seen from its destination; also of one that an earlier life of the service began. */
export class LiveDestination implements DestinationPort {
  #arrival: Arrival | undefined;
  #landed: boolean;
  #meta: CheckpointMeta | undefined;
  #memory: MemoryReceiver | undefined;
  #neighbours: unknown;

  /** @param from where it comes from; after a crash the phase that is on record: then only `settleDestination` works */
  constructor(private readonly context: DestinationContext, private readonly haul: Omit<Extract<HaulRecord, { role: 'destination' }>, 'phase'>, private readonly operation: Operation,
    private readonly from: { readonly channel: HaulChannel; readonly facts: HostFacts; readonly respec: ReceiveOptions['respec'] } | DestinationPhase) {
    this.#landed = from === 'restoring' || from === 'committed'; // or was about to
  }

  /** As it is on this host; undefined before it was offered. */
  get spec(): ContainerSpec | undefined {
    return this.#arrival?.spec;
  }

  async record(phase: DestinationPhase): Promise<void> {
    await this.context.records.write({ ...this.haul, phase });
    settledStep(this.operation, `haul.destination.${phase}`);
  }

  async forget(): Promise<void> {
    await this.context.records.remove(this.haul.haul, 'destination');
  }

  async receive(): Promise<void> {
    const { operation, from, context: { parts } } = this;
    const { instance } = this.haul;
    if (typeof from === 'string') throw new HaulierError('HAUL_LOST', { reason: 'there is no connection' });
    const { channel, facts, respec } = from;
    const { signal } = operation;
    const [reason] = misfits(facts, await readHostFacts(parts.options));
    if (reason) throw new HaulierError('HAUL_FAILED', { reason: `it could not go on here: ${reason}` });
    haulStep(operation, 'haul.destination.offer');
    const arrival = await beginArrival(parts, channel, { instance, ...(respec ? { respec } : {}) }, operation);
    this.#arrival = arrival;
    await receiveOwnFiles(channel, arrival.folder, signal);
    const upper = await openView(arrival.folder, signal);
    const { disk, layer } = rootFsPaths(arrival.folder);
    await mountDisk(disk, layer, arrival.idBase, signal); // ahead: it is found by the mount of the whole
    haulStep(operation, 'haul.destination.plug');
    for (const vif of arrival.spec.vifs) await parts.plugger.plug(instance, vif, false, signal);
    await mutePorts(arrival.spec.vifs, signal);
    const paths = checkpointPaths({ folder: arrival.folder });
    await makeCheckpointFolders(paths);
    haulStep(operation, 'haul.destination.prepared');
    channel.send({ type: 'prepared', memory: await memoryAbilities() });
    const { mode } = await channel.receive(['memory'], signal);
    const memory = receiverFor({ parts, instance, channel, operation, paths }, mode);
    this.#memory = memory;
    haulStep(operation, 'haul.destination.layer');
    const received = memory.receive(); // by streams of its own; the messages are the file system's until its last round
    received.catch((error: Error) => channel.abort(error)); // so that the rounds end too
    await receiveRounds(channel, upper, viewPaths(arrival.folder).view, signal);
    const { meta, neighbours } = await channel.receive(['images'], signal);
    haulStep(operation, 'haul.destination.memory');
    await received;
    const said = meta as CheckpointMeta;
    await rebaseImages(paths.images, arrival.idBase);
    await checkFiles(paths, said);
    this.#meta = { ...said, files: await imageFiles(paths) };
    this.#neighbours = neighbours;
    await channel.receive(['restore'], signal);
  }

  async restore(): Promise<void> {
    const { operation, context: { parts } } = this;
    const [arrival, meta] = [this.#arrival, this.#meta];
    if (!arrival || !meta) throw new HaulierError('HAUL_PROTOCOL', { reason: 'restore before all has come' });
    await writeMeta(checkpointPaths({ folder: arrival.folder }), meta);
    haulStep(operation, 'haul.destination.land');
    await land(parts, { ...arrival, offer: { ...arrival.offer, state: { ...arrival.offer.state, wanted: 'suspended', suspendedFor: 'user' } } }, 'ready');
    this.#landed = true;
    haulStep(operation, 'haul.destination.restore');
    const stats = await resumeContainer(parts, arrival.spec.id, operation, async () => {
      const lines = neighbourLines(this.#neighbours, arrival.spec.vifs);
      await appendFile(join(parts.store.paths(arrival.spec.id).network, 'inside'), lines.map((line) => `${line}\n`).join(''));
    });
    operation.log.info({ criu: stats }, 'restored');
    settledStep(operation, 'haul.destination.restored');
  }

  async runs(): Promise<boolean> {
    const { store } = this.context.parts;
    const state = await store.readState(this.haul.instance);
    return state?.phase === 'ready' && state.wanted === 'running' && (await store.running(this.haul.instance)) !== undefined;
  }

  async open(): Promise<void> {
    const { operation, context: { parts, watch } } = this;
    try {
      settledStep(operation, 'haul.destination.open');
      const { instance } = this.haul;
      const spec = await parts.store.readSpec(instance);
      await unmutePorts(spec?.vifs ?? [], parts.log);
      const running = await parts.store.running(instance);
      if (running) void announce(running.pid, spec?.vifs ?? [], parts.log);
      await watch(instance);
      if (spec) await closeView(parts.store.paths(instance).folder, parts.log);
    } catch (error) {
      parts.log.error({ err: error, instance: this.haul.instance }, `after a haul: ${messageOf(error)}`);
    }
  }

  async discard(): Promise<void> {
    const { operation, context: { parts } } = this;
    const { instance } = this.haul;
    await this.#memory?.end();
    const vifs = new Map<string, VifSpec>([...(this.#arrival?.spec.vifs ?? []), ...(await parts.plugger.plugged(instance))].map((vif) => [vif.id, vif]));
    const landed = this.#landed && (await parts.store.exists(instance));
    if (landed) await destroyContainer(parts, instance, operation);
    else if (this.#arrival) await discardArrival(parts, this.#arrival);
    if (!landed && vifs.size > 0) await parts.plugger.unplugAll(instance, [...vifs.values()]);
    await unmutePorts([...vifs.values()], parts.log);
  }
}

/**
 * A haul between hosts that share the container's folder. The disk is handed over where it is, so it may never be mounted on both: what
 * stands for the frozen container is a suspended one, its images and its unmounted disk, and the source resumes it if the haul is given up.
 * The destination works with a copy of the images, keeps what it restores frozen until the commit, and takes the folder's record over
 * when it begins (`InstanceState.host`); from then on only it writes there, until it has said that it has given up.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson, syncDirectory, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError, messageOf } from '../../base/errors.js';
import { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import { mountWhole, prepareArrival, ReadyRestore, takeImages } from '../../container/checkpoint/arrival.js';
import { canStayFrozen } from '../../container/checkpoint/cgroup-image.js';
import { requireDumpable, requireSpace } from '../../container/checkpoint/criu-dump.js';
import { killFrozen, suspendContainer } from '../../container/checkpoint/dump.js';
import { misfits, readHostFacts } from '../../container/checkpoint/facts.js';
import { checkFiles, checkpointPaths, readMeta } from '../../container/checkpoint/images.js';
import { removeRuntime, unmountBelow } from '../../container/cleanup.js';
import type { HostParts } from '../../container/parts.js';
import type { ContainerSpec } from '../../container/spec.js';
import { isAnothers, type InstanceState } from '../../container/state.js';
import { fetchLayers, serveLayers } from '../disk/base.js';
import { makeOffer, readOffer } from '../disk/offer.js';
import { rebaseCheckpoint, rebaseImages } from '../disk/rebase.js';
import type { HaulChannel } from '../wire/channel.js';
import { LiveDestination } from './destination.js';
import { memoryAbilities } from './memory.js';
import { mutePorts, unmutePorts } from './mute.js';
import { LiveSource } from './source.js';
import { haulStep, settledStep } from './steps.js';

const copyTimeoutMs = 600_000;

/** What the source leaves in the folder until the haul is over: its images, and its own spec and state. */
const sharedPaths = (parts: HostParts, id: string): { readonly folder: string; readonly images: string; readonly before: string; readonly checkpoint: string } => {
  const { folder } = parts.store.paths(id);
  return { folder, images: join(folder, 'haul-images'), before: join(folder, 'haul-before.json'), checkpoint: checkpointPaths({ folder }).folder };
};

interface Before {
  /** Of a source that comes back late another haul's may lie here. */
  readonly haul?: string;
  readonly spec: ContainerSpec;
  readonly state: InstanceState;
}

/** What a service leaves on its own host of a container that is another's. */
async function forgetHere(parts: HostParts, id: string): Promise<void> {
  await parts.storage.releaseIds(id);
  await rm(parts.store.paths(id).run, { recursive: true, force: true });
  await rm(join(parts.exitFolder, id), { force: true });
}

/** The host that it leaves. */
export class SharedSource extends LiveSource {
  #own: HaulChannel | undefined;

  override connect(channel: HaulChannel): void {
    super.connect(channel);
    this.#own = channel;
  }

  override async copy(): Promise<void> {
    const { operation, tracker, context: { parts, settings: { policy } } } = this;
    const { instance, haul, secret } = this.haul;
    const { signal } = operation;
    const channel = this.#own;
    if (!channel) throw new HaulierError('HAUL_LOST', { reason: 'there is no connection' });
    haulStep(operation, 'haul.source.offer');
    tracker.stage('preparing');
    const { spec, state } = await this.#running();
    const facts = await requireDumpable(parts, instance);
    await requireSpace(parts, instance, parts.store.paths(instance).folder);
    const layers = await parts.storage.layers(instance);
    channel.send({ type: 'begin', haul, secret, facts, shared: true, memory: await memoryAbilities(parts, policy) });
    channel.send({ type: 'offer', offer: makeOffer(spec, state, layers) });
    await serveLayers(channel, layers, signal);
    await channel.receive(['prepared'], signal);
    await parts.pages.settled(instance, signal);
    Object.assign(tracker, { mode: 'stop-and-copy', reason: 'both hosts see its disk, and its memory goes the same way' });
    haulStep(operation, 'haul.source.copy');
    tracker.stage('copying');
  }

  async #running(): Promise<Before> {
    const { store } = this.context.parts;
    const { instance } = this.haul;
    const [spec, state] = await Promise.all([store.readSpec(instance), store.readState(instance)]);
    if (!spec || !state) throw new HaulierError('INSTANCE_NOT_FOUND', { instance });
    if (spec.rescue) throw new HaulierError('INSTANCE_STATE', { instance, state: 'rescued', action: 'haul' }); // what it rescues lies beside it
    const runs = state.phase === 'ready' && (state.wanted === 'running' || state.wanted === 'paused') && (await store.running(instance));
    if (!runs) throw new HaulierError('INSTANCE_STATE', { instance, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'haul' });
    return { spec, state };
  }

  override async dump(): Promise<void> {
    const { operation, tracker, context: { parts } } = this;
    const { instance } = this.haul;
    const { folder, images, before, checkpoint } = sharedPaths(parts, instance);
    await rm(images, { recursive: true, force: true });
    await writeJsonAtomic(before, { haul: this.haul.haul, ...(await this.#running()) });
    haulStep(operation, 'haul.source.freeze');
    const account = tracker.begin('memory', 0, 0);
    tracker.freezes();
    tracker.frozen();
    const meta = await suspendContainer(parts, instance, operation, 'user');
    haulStep(operation, 'haul.source.dump');
    await rename(checkpoint, images);
    await syncDirectory(folder);
    account.end(meta?.bytes ?? 0);
    haulStep(operation, 'haul.source.memory');
  }

  override async thaw(): Promise<void> {
    const { parts, life } = this.context;
    const { instance } = this.haul;
    this.#own?.abort(new HaulierError('HAUL_ABORTED', { reason: 'the haul was given up' }));
    const { folder, images, before, checkpoint } = sharedPaths(parts, instance);
    const was = (await readJson(before)) as Before | undefined;
    if (!was) return;
    if (!(await parts.store.running(instance))) {
      try {
        await new Operation({ name: 'resume_again', instance, log: parts.log }).run(async (operation) => {
          if (existsSync(images)) {
            await rm(checkpoint, { recursive: true, force: true });
            await rename(images, checkpoint);
          }
          const idBase = await parts.storage.allocateIds(instance);
          await rebaseCheckpoint(folder, idBase);
          await parts.store.writeSpec(was.spec);
          await parts.store.writeState(instance, { ...was.state, phase: 'ready', wanted: 'suspended', suspendedFor: 'user', idBase });
          await life.resume(instance, operation);
          if (was.state.wanted === 'paused') await life.pause(instance, operation);
        });
      } catch (error) {
        parts.log.error({ err: error, instance }, `cannot resume the container after a haul that was given up; it stays suspended: ${messageOf(error)}`);
      }
    }
    await rm(before, { force: true });
  }

  override async remove(): Promise<void> {
    const { operation, context: { parts } } = this;
    const { instance } = this.haul;
    this.tracker.stage('settling');
    settledStep(operation, 'haul.source.kill');
    const { images, before } = sharedPaths(parts, instance);
    if (!(await parts.store.isForeign(instance)) && (await parts.store.exists(instance))) return; // it has come back since
    if (((await readJson(before)) as Before | undefined)?.haul === this.haul.haul) {
      await rm(images, { recursive: true, force: true });
      await rm(before, { force: true });
    }
    await forgetHere(parts, instance);
    settledStep(operation, 'haul.source.removed');
  }
}

/** The host that it goes to. */
export class SharedDestination extends LiveDestination {
  #spec: ContainerSpec | undefined;
  #taken = false;

  override get spec(): ContainerSpec | undefined {
    return this.#spec;
  }

  override async receive(): Promise<void> {
    const { operation, from, context: { parts, settings: { policy } } } = this;
    const { instance, peer } = this.haul;
    if (typeof from === 'string') throw new HaulierError('HAUL_LOST', { reason: 'there is no connection' });
    const { channel, facts, respec } = from;
    const { signal } = operation;
    const refuse = (reason: string): HaulierError => new HaulierError('HAUL_FAILED', { reason: `it could not go on here: ${reason}` });
    const [reason] = misfits(facts, await readHostFacts(parts.options));
    if (reason) throw refuse(reason);
    // what it did before the commit would be on the disk
    if (!canStayFrozen(parts.cgroups)) throw refuse('its disk is shared, and this host cannot keep what it restores frozen (that takes the freezer of cgroup v1)');
    haulStep(operation, 'haul.destination.offer');
    const offer = readOffer((await channel.receive(['offer'], signal))['offer'], instance);
    if ((await parts.store.readState(instance))?.host !== peer.host || parts.options.host === undefined) throw refuse(`its folder is not seen here, or is not ${peer.host}'s`);
    const spec = respec?.(offer.spec) ?? offer.spec;
    await fetchLayers(parts, channel, offer, operation);
    this.#spec = spec;
    if (offer.state.wanted === 'paused') this.haul = { ...this.haul, paused: true };
    haulStep(operation, 'haul.destination.plug');
    for (const vif of spec.vifs) await parts.plugger.plug(instance, vif, false, signal);
    await mutePorts(spec.vifs, signal);
    haulStep(operation, 'haul.destination.prepared');
    channel.send({ type: 'prepared', memory: await memoryAbilities(parts, policy) });
    await channel.receive(['restore'], signal);
  }

  override async restore(): Promise<void> {
    const { operation, context: { parts } } = this;
    const { instance } = this.haul;
    const { signal } = operation;
    const spec = this.#spec;
    const state = await parts.store.readState(instance);
    if (!spec || !state) throw new HaulierError('HAUL_PROTOCOL', { reason: 'restore before all has come' });
    const { images, checkpoint, folder } = sharedPaths(parts, instance);
    const paths = checkpointPaths({ folder });
    haulStep(operation, 'haul.destination.restore');
    const idBase = await parts.storage.allocateIds(instance);
    this.#taken = true;
    await parts.store.writeState(instance, { ...state, phase: 'arriving', wanted: 'suspended', suspendedFor: 'user', idBase });
    await parts.store.writeSpec(spec);
    await rm(checkpoint, { recursive: true, force: true });
    await run('cp', ['-a', '--sparse=always', '--reflink=auto', '-T', '--', images, checkpoint], { timeoutMs: copyTimeoutMs, signal });
    const meta = await readMeta(paths);
    if (!meta) throw new HaulierError('HAUL_PROTOCOL', { reason: 'no record of the dump' });
    await checkFiles(paths, meta);
    await rebaseImages(paths.images, idBase);
    await prepareArrival(parts, spec, idBase, signal);
    await mutePorts(spec.vifs, signal);
    haulStep(operation, 'haul.destination.mount');
    await mountWhole(parts, instance, idBase);
    haulStep(operation, 'haul.destination.memory');
    await takeImages(parts, instance, idBase, meta.groups);
    await (await ReadyRestore.start(parts, spec, false)).go({ bytes: meta.bytes });
    settledStep(operation, 'haul.destination.restored');
  }

  /** The images and the disk are the source's again, untouched but for a mount. */
  override async discard(): Promise<void> {
    const { context: { parts } } = this;
    const { instance } = this.haul;
    const state = await parts.store.readState(instance);
    const mine = !isAnothers(state, parts.store.host); // or the source has it back
    const taken = this.#taken || this.from === 'restoring' || (!isAnothers(state, parts.store.host) && state?.phase === 'arriving');
    if (!taken && state !== undefined && !isAnothers(state, parts.store.host)) return; // it is this host's
    const { folder, checkpoint, images } = sharedPaths(parts, instance);
    if (taken) {
      await killFrozen(parts, instance);
      await removeRuntime(parts, instance, { inFlight: true });
      await parts.storage.unmount(instance);
      await unmountBelow(folder);
      if (mine && existsSync(images)) await rm(checkpoint, { recursive: true, force: true });
    }
    const vifs = [...new Map([...(this.#spec?.vifs ?? []), ...(await parts.plugger.plugged(instance))].map((vif) => [vif.id, vif])).values()];
    await parts.plugger.unplugAll(instance, vifs);
    await unmutePorts(vifs, parts.log);
    await forgetHere(parts, instance);
    if (taken && mine) await parts.store.update(instance, { phase: 'ready', wanted: 'suspended', suspendedFor: 'user', exit: undefined });
  }
}

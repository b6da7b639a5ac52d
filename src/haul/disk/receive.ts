/**
 * The destination's side of a move: the container comes into a folder `_in-<random>` beside the others and becomes one of them by a
 * rename, when all of it is there and on the disk. A service that dies before leaves a folder that its next start removes.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeJsonAtomic } from '../../base/atomic.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import { run } from '../../base/run.js';
import { unmountBelow } from '../../container/cleanup.js';
import type { HostParts } from '../../container/parts.js';
import type { ContainerSpec } from '../../container/spec.js';
import type { InstanceState } from '../../container/state.js';
import type { HaulChannel } from '../wire/channel.js';
import { fetchLayers } from './base.js';
import { closeView, openView, viewPaths } from './layer-view.js';
import { readOffer, type Offer } from './offer.js';
import { receiveOwnFiles } from './own-files.js';
import { rebaseCheckpoint } from './rebase.js';
import { receiveRounds } from './rounds.js';

/** Fault points of an arrival, in order. */
export const diskHaulFaultPoints = ['haul.disk.written', 'haul.disk.landed'] as const;

/** Of this host's: others may share the folder. */
const prefixOf = ({ options: { host } }: HostParts): string => (host === undefined ? '_in-' : `_in-${host}-`);
const randomName = /^[0-9a-f]{16}$/;

/** A container that is coming. */
export interface Arrival {
  readonly offer: Offer;
  /** As it will be here. */
  readonly spec: ContainerSpec;
  readonly folder: string;
  readonly idBase: number;
}

/** How a move is received. */
export interface ReceiveOptions {
  readonly instance: string;
  /** What is different here: limits of another flavor, ports of this host. */
  readonly respec?: (spec: ContainerSpec) => ContainerSpec;
}

/**
 * Receives a container that does not run from `sendDisk`.
 * @returns the container as it is here now: stopped, or suspended
 * @throws INSTANCE_STATE if it is here already, DISK_FULL, HAUL_*: then nothing of it is left
 */
export async function receiveDisk(parts: HostParts, channel: HaulChannel, options: ReceiveOptions, operation: Operation): Promise<ContainerSpec> {
  const arrival = await beginArrival(parts, channel, options, operation);
  try {
    await receiveOwnFiles(channel, arrival.folder, operation.signal);
    await rebaseCheckpoint(arrival.folder, arrival.idBase);
    operation.step('haul.disk.layer');
    const upper = await openView(arrival.folder, operation.signal);
    await receiveRounds(channel, upper, viewPaths(arrival.folder).view, operation.signal);
    await closeView(arrival.folder, parts.log);
    operation.step('haul.disk.sync');
    await run('sync', ['--file-system', '--', arrival.folder], { timeoutMs: 600_000, signal: operation.signal });
    await land(parts, arrival, 'ready');
    channel.send({ type: 'landed' });
    return arrival.spec;
  } catch (error) {
    await discardArrival(parts, arrival);
    throw channel.abort(error as Error);
  }
}

/** Takes the offer, gets the image, makes folder, id range and an empty disk. @throws as `receiveDisk`; then nothing is left */
export async function beginArrival(parts: HostParts, channel: HaulChannel, options: ReceiveOptions, operation: Operation): Promise<Arrival> {
  const { instance, respec } = options;
  const folder = join(parts.options.instancesPath, `${prefixOf(parts)}${randomBytes(8).toString('hex')}`);
  let idBase: number | undefined;
  try {
    operation.step('haul.disk.offer');
    const offer = readOffer((await channel.receive(['offer'], operation.signal))['offer'], instance);
    const spec = respec?.(offer.spec) ?? offer.spec;
    if (await parts.store.exists(instance)) throw new HaulierError('INSTANCE_STATE', { instance, state: 'here already', action: 'receive' });
    await fetchLayers(parts, channel, offer, operation);
    idBase = await parts.storage.allocateIds(instance);
    await mkdir(folder, { mode: 0o711 });
    await parts.storage.prepareIn(folder, { imageId: offer.base.id, templates: (offer.templates ?? []).map((template) => template.id), rootGiB: spec.limits.rootGiB }, operation);
    return { offer, spec, folder, idBase };
  } catch (error) {
    await discardArrival(parts, { folder, ...(idBase === undefined ? {} : { spec: { id: instance } }) });
    throw channel.abort(error as Error);
  }
}

/** Makes it a container of this host. From here on it is found by its id. */
export async function land(parts: HostParts, arrival: Arrival, phase: InstanceState['phase']): Promise<void> {
  const { offer, spec, folder, idBase } = arrival;
  const state = parts.store.owned({ version: 1, ...offer.state, phase, idBase });
  await writeJsonAtomic(join(folder, 'spec.json'), spec);
  await writeJsonAtomic(join(folder, 'state.json'), state);
  faultPoint('haul.disk.written');
  if (await parts.store.exists(spec.id)) throw new HaulierError('INSTANCE_STATE', { instance: spec.id, state: 'here already', action: 'receive' });
  await rename(folder, parts.store.paths(spec.id).folder);
  await syncDirectory(parts.options.instancesPath);
  faultPoint('haul.disk.landed');
}

/** Takes away what has not landed. Never throws. */
export async function discardArrival(parts: HostParts, arrival: { readonly folder: string; readonly spec?: { readonly id: string } }): Promise<void> {
  try {
    await removeFolder(arrival.folder);
    if (arrival.spec && !(await parts.store.exists(arrival.spec.id))) await parts.storage.releaseIds(arrival.spec.id);
  } catch (error) {
    parts.log.error({ err: error, folder: arrival.folder }, `cannot remove what is left of a move: ${String(error)}`);
  }
}

/** At the service's start: moves that were cut short. */
export async function discardArrivals(parts: HostParts): Promise<void> {
  for (const name of await readdir(parts.options.instancesPath).catch(() => [])) {
    if (!name.startsWith(prefixOf(parts)) || (parts.options.host !== undefined && !randomName.test(name.slice(prefixOf(parts).length)))) continue;
    parts.log.warn({ folder: name }, 'removing what a move that was cut short left');
    await discardArrival(parts, { folder: join(parts.options.instancesPath, name) });
  }
}

async function removeFolder(folder: string): Promise<void> {
  await unmountBelow(folder);
  await run('rm', ['-rf', '--one-file-system', '--', folder], { timeoutMs: 600_000 });
}

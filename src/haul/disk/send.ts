/** The source's side of moving a container that does not run. It stays as it is: who asked for the move takes it away later. */
import { HaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import { checkpointPaths, readMeta } from '../../container/checkpoint/images.js';
import type { HostParts } from '../../container/parts.js';
import type { HaulChannel } from '../wire/channel.js';
import { serveLayers } from './base.js';
import { closeView, openView } from './layer-view.js';
import { makeOffer } from './offer.js';
import { sendOwnFiles } from './own-files.js';
import { LayerSender, type RoundStats } from './rounds.js';

/**
 * Sends a stopped or suspended container to the host at the other end, where `receiveDisk` waits. Returns when it is there, whole
 * and on its disk.
 * @throws INSTANCE_NOT_FOUND, INSTANCE_STATE if it runs, HAUL_ABORTED with the other side's reason, HAUL_LOST, HAUL_DAMAGED
 */
export async function sendDisk(parts: HostParts, channel: HaulChannel, id: string, operation: Operation): Promise<RoundStats> {
  const [spec, state] = await Promise.all([parts.store.readSpec(id), parts.store.readState(id)]);
  if (!spec || !state) throw channel.abort(new HaulierError('INSTANCE_NOT_FOUND', { instance: id }));
  const rests = state.phase === 'ready' && (state.wanted === 'stopped' || state.wanted === 'suspended') && !(await parts.store.running(id));
  if (!rests) throw channel.abort(new HaulierError('INSTANCE_STATE', { instance: id, state: state.phase === 'ready' ? state.wanted : state.phase, action: 'move' }));
  if (state.wanted === 'suspended' && (await readMeta(checkpointPaths(parts.store.paths(id))))?.from) {
    throw channel.abort(new HaulierError('HAUL_FAILED', { reason: 'its memory is still its image\'s: resume it once before it is moved' }));
  }
  const { folder } = parts.store.paths(id);
  const { signal } = operation;
  try {
    operation.step('haul.disk.offer');
    const layers = await parts.storage.layers(id);
    channel.send({ type: 'offer', offer: makeOffer(spec, state, layers) });
    await serveLayers(channel, layers, signal);
    operation.step('haul.disk.own');
    await sendOwnFiles(channel, folder, state.wanted === 'suspended', signal);
    operation.step('haul.disk.layer');
    const view = await openView(folder, signal);
    const stats = await new LayerSender(channel, view).round(true, signal);
    operation.step('haul.disk.landed');
    await channel.receive(['landed'], signal);
    return stats;
  } catch (error) {
    throw channel.abort(error as Error);
  } finally {
    await closeView(folder, parts.log);
  }
}

/** external_instance_event (contract C.14). Wakes who waits beside the instance's lock, which its holder waits under; what changes the container takes it. */
import type { Call, Compute } from '../compute.js';
import { uuidOf } from '../compute.js';
import { isNova } from '../failure-report.js';
import { prepareTerminate } from './terminate.js';
import { refreshVifs, saveVifs, storedVifs } from '../network/info-cache.js';
import { vifSpecs } from '../network/vif-spec.js';
import type { EventOutcome } from '../events.js';
import type { WireContext } from '../../messaging/types.js';
import { NovaObject } from '../../nova/object.js';

/** Delivers each event to its instance; a failure for one does not stop the others. */
export async function externalInstanceEvent(compute: Compute, call: Call): Promise<void> {
  const instances = objects(call.args['instances']);
  await Promise.all(objects(call.args['events']).map(async (event) => {
    const uuid = event.text('instance_uuid') ?? '';
    const instance = instances.find((item) => uuidOf(item) === uuid);
    if (!instance) return;
    if (instance.get('deleted') === true) return prepareTerminate(compute, uuid); // by the API alone: a build that waits for this event need not wait for its end
    try {
      await one(compute, call.context, uuid, event);
    } catch (error) {
      // an event of a server that has been deleted meanwhile
      const level = isNova(error, 'InstanceInfoCacheNotFound', 'InstanceNotFound') ? 'debug' : 'warn';
      compute.log[level]({ err: error, instance: uuid, event: event.text('name') }, 'cannot handle the event');
    }
  }));
}

function objects(value: unknown): NovaObject[] {
  return Array.isArray(value) ? value.filter((item): item is NovaObject => item instanceof NovaObject) : [];
}

async function one(compute: Compute, context: WireContext, uuid: string, event: NovaObject): Promise<void> {
  const name = event.text('name') ?? '';
  const tag = event.text('tag') ?? '';
  switch (name) {
    case 'network-changed':
      await networkChanged(compute, context, uuid, tag || undefined);
      return;
    case 'network-vif-deleted':
      await vifDeleted(compute, context, uuid, tag);
      return;
    default: {
      const woken = compute.events.deliver(uuid, name, tag, (event.text('status') ?? 'completed') as EventOutcome);
      // a port that is wired after its guest began (start, reboot, resume wait for none): what the guest said before was not heard
      if (woken === 0 && name === 'network-vif-plugged' && event.text('status') === 'completed') await compute.containers.announce(uuid);
      else if (woken === 0) compute.log.debug({ instance: uuid, event: name, tag }, 'nobody waits for this event');
    }
  }
}

const afterBuild = new WeakMap<Compute, Set<string>>();

/**
 * Brings the cache in step. During a build the events are mostly the echo of its own changes to its ports, and neutron has enough to
 * do: one look at all ports when it is over serves for them all.
 */
async function networkChanged(compute: Compute, context: WireContext, uuid: string, port: string | undefined): Promise<void> {
  const runs = (name: string): boolean => compute.operations.running.some((operation) => operation.instance === uuid && operation.name === name);
  if (runs('terminate_instance')) return; // the echo of its own deletes; the cache goes with the server
  if (!runs('build_and_run_instance')) {
    await refreshVifs(compute, context, uuid, port);
    return;
  }
  const waiting = afterBuild.get(compute) ?? new Set<string>();
  afterBuild.set(compute, waiting);
  if (waiting.has(uuid)) return;
  waiting.add(uuid);
  await compute.locks.hold(uuid, async () => void waiting.delete(uuid)); // the build holds this lock
  if (await compute.containers.spec(uuid)) await refreshVifs(compute, context, uuid); // else it failed or is deleted already
}

/** The port is gone in neutron: out of the cache, and off the host. After what works on the server now: mostly that is what has deleted the port. */
async function vifDeleted(compute: Compute, context: WireContext, uuid: string, port: string): Promise<void> {
  await compute.locks.hold(uuid, () => compute.cacheLocks.hold(uuid, async () => {
    const vifs = await storedVifs(compute, context, uuid);
    const gone = vifs.find((vif) => vif.id === port);
    if (!gone) return;
    const rest = vifs.filter((vif) => vif.id !== port);
    await saveVifs(compute, context, uuid, rest);
    if (await compute.containers.spec(uuid)) await compute.operations.run({ name: 'vif_deleted', instance: uuid }, (operation) => compute.containers.changeVifs(uuid, vifSpecs(rest), operation));
    else await compute.containers.unplug(uuid, vifSpecs([gone])[0]!);
  }));
}

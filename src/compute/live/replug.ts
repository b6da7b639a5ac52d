/**
 * Ports of a server whose live migration was taken back. neutron's Open vSwitch agent takes a port out of its switch when the port's
 * binding becomes another host's (`process_deactivated_bindings`), some time after it hears of it, and nobody puts it back when the
 * binding comes home. So it is put back, again and again as long as the agent may still be at it.
 */
import type { Compute } from '../compute.js';
import { messageOf } from '../../base/errors.js';

const spacingMs = 1000;
/** The agent looks every two seconds, and may have much to do. */
const rounds = 60;

async function replug(compute: Compute, uuid: string): Promise<void> {
  await compute.containers.replug(uuid).catch((error: unknown) => compute.log.warn({ err: error, instance: uuid }, `cannot put the ports back into the switch: ${messageOf(error)}`));
}

/** Does so at once, under the server's lock, which the caller holds, and then for a while beside it. */
export async function keepPlugged(compute: Compute, uuid: string): Promise<void> {
  await replug(compute, uuid);
  const again = (round: number): void => {
    if (round >= rounds) return;
    setTimeout(() => {
      // whoever works on the server now sees to its ports himself
      const done = compute.locks.held(uuid) ? Promise.resolve() : compute.locks.hold(uuid, () => replug(compute, uuid));
      void done.finally(() => again(round + 1));
    }, spacingMs).unref();
  };
  again(1);
}

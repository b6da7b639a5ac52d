/**
 * A server's ports on their way (nova/network/neutron.py `migrate_instance_finish`): bound to this host, the same addresses and MAC,
 * plugged ahead of the start. Nova's cold moves make no second binding, so there is none to activate or to delete.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { plugEarly } from '../boot/build.js';
import { VifWait } from '../boot/vif-wait.js';
import { rebindNetworks } from '../network/allocate.js';
import { cachedVifs, preservedPorts } from '../network/info-cache.js';
import { withAttribute } from '../instance-state.js';
import { isHaulierError } from '../../base/errors.js';
import type { Operation } from '../../base/operation.js';
import type { VifInfo } from '../../nova/network-info.js';

/** Ports that are here. */
export interface ArrivedPorts {
  readonly vifs: readonly VifInfo[];
  /** Resolves when neutron has wired them, or does not in time, which is logged: the guest was running before, and runs without. */
  readonly wired: () => Promise<void>;
  /** Must be called in the end. */
  readonly drop: () => void;
}

/** Binds the server's ports to this host and stores them in its cache. @param plug plugs them too, for a start */
export async function bringPorts(compute: Compute, call: InstanceCall, operation: Operation, plug: boolean): Promise<ArrivedPorts> {
  const { context, instance, uuid } = call;
  await withAttribute(compute, call, 'info_cache');
  const preserved = preservedPorts(cachedVifs(instance));
  const wait = new VifWait(compute, uuid);
  try {
    const vifs = await rebindNetworks(compute, {
      context, instance, operation,
      ...(plug ? { onBound: (vif: VifInfo, place: number) => plugEarly(compute, uuid, operation, wait, vif, place) } : {}),
    }, preserved);
    return {
      vifs,
      drop: () => wait.drop(),
      wired: async () => {
        try {
          await wait.ready(operation);
        } catch (error) {
          if (!isHaulierError(error, 'VIF_PLUG_TIMEOUT', 'VIF_PLUG_FAILED')) throw error;
          operation.log.warn({ err: error }, 'starting a moved server without the wired port');
        }
      },
    };
  } catch (error) {
    wait.drop();
    throw error;
  }
}

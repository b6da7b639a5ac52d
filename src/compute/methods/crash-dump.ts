/** trigger_crash_dump (nova/compute/manager.py): core files of a server's processes for the operator; neither states nor guest change. */
import type { Compute, InstanceCall } from '../compute.js';
import { requireContainer } from '../instance-state.js';

/** trigger_crash_dump. Where a VM gets an NMI and dumps itself, a container is dumped from outside and goes on. */
export async function triggerCrashDump(compute: Compute, call: InstanceCall): Promise<void> {
  compute.notifier.instance('trigger_crash_dump.start', call.context, call.instance);
  await requireContainer(compute, call.uuid);
  await compute.containers.crashDump(call.uuid, call.operation);
  compute.notifier.instance('trigger_crash_dump.end', call.context, call.instance);
}

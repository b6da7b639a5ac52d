/** quiesce_instance, unquiesce_instance, and what snapshots do of the same (nova/compute/manager.py; nova/virt/libvirt/driver.py `quiesce`). */
import type { Compute, InstanceCall } from '../compute.js';
import { requireContainer, withAttribute } from '../instance-state.js';
import { isHaulierError, messageOf } from '../../base/errors.js';

/** quiesce_instance: the API snapshots volumes next, and unquiesces afterwards. */
export async function quiesceInstance(compute: Compute, call: InstanceCall): Promise<void> {
  await requireContainer(compute, call.uuid);
  await compute.containers.quiesce(call.uuid, true, call.operation);
}

/** unquiesce_instance. Snapshots of volumes (`mapping`) that are still being made are not waited for: Haulier knows no volumes. */
export async function unquiesceInstance(compute: Compute, call: InstanceCall): Promise<void> {
  await compute.containers.unquiesce(call.uuid);
}

const isYes = (value: string | undefined): boolean => /^(yes|true|1|on)$/i.test(value ?? '');

/**
 * Takes a snapshot with the guest's own freeze hook around it, if the image asks for it: `os_require_quiesce=yes` refuses the snapshot
 * when the hook fails, `hw_qemu_guest_agent=yes` goes on without.
 * @throws QUIESCE_FAILED, and what `take` throws
 */
export async function withFreezeHook<T>(compute: Compute, call: InstanceCall, take: () => Promise<T>): Promise<T> {
  await withAttribute(compute, call, 'system_metadata');
  const metadata = call.instance.strings('system_metadata');
  const required = isYes(metadata['image_os_require_quiesce']);
  if (!required && !isYes(metadata['image_hw_qemu_guest_agent'])) return await take();
  if ((await compute.containers.view(call.uuid)).state !== 'running') return await take(); // it stands still anyway
  try {
    await compute.containers.quiesce(call.uuid, false, call.operation);
  } catch (error) {
    if (required || !isHaulierError(error, 'QUIESCE_FAILED')) throw error;
    call.operation.log.warn({ err: error }, `the snapshot is taken without the guest's freeze hook: ${messageOf(error)}`);
    return await take();
  }
  try {
    return await take();
  } finally {
    await compute.containers.unquiesce(call.uuid);
  }
}

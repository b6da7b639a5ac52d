/**
 * Messages that come late, or a second time: the API sets a task state before it asks a host for something, so where the stored server has
 * another one, what the message asks for has been done, given up, or is somebody else's by now. What an operation saves at its end is refused
 * then, but its guest would have been stopped, frozen, replaced or thrown away before.
 */
import type { Compute, InstanceCall } from './compute.js';
import type { NovaObject } from '../nova/object.js';

/** Of what changes the guest before it saves anything: the task states in which it is wanted (nova/compute/api.py). */
const tasks: Readonly<Record<string, readonly string[]>> = {
  pause_instance: ['pausing'],
  reboot_instance: ['rebooting', 'reboot_pending', 'reboot_started', 'rebooting_hard', 'reboot_pending_hard', 'reboot_started_hard'],
  rebuild_instance: ['rebuilding'],
  rescue_instance: ['rescuing'],
  restore_instance: ['restoring'],
  resume_instance: ['resuming'],
  revert_resize: ['resize_reverting'],
  set_admin_password: ['updating_password'],
  shelve_instance: ['shelving'],
  shelve_offload_instance: ['shelving', 'shelving_offloading'], // the first of a server that boots from a volume
  soft_delete_instance: ['soft-deleting'],
  start_instance: ['powering-on'],
  stop_instance: ['powering-off'],
  suspend_instance: ['suspending'],
  unpause_instance: ['unpausing'],
  unrescue_instance: ['unrescuing'],
  unshelve_instance: ['unshelving'],
};

/** The states of a server whose guest may end by itself, and of one that is known to have. Others that have no guest mean something by it. */
const endsByItself = ['active', 'paused', 'stopped'];

/** Whether nobody wants it any more. To be asked under the server's lock. @throws InstanceNotFound (RemoteFailure) if it is deleted */
export async function isLate(compute: Compute, { method, context, uuid }: InstanceCall): Promise<boolean> {
  const wanted = tasks[method];
  if (!wanted) return false;
  const stored = (await compute.conductor.classCall(context, 'Instance', 'get_by_uuid', [uuid], { expected_attrs: [] })) as NovaObject;
  const task = stored.text('task_state');
  if (task !== undefined && wanted.includes(task)) return false;
  if (method === 'stop_instance' && task === undefined && endsByItself.includes(stored.text('vm_state') ?? '')) { // a message that waited while its guest ended by itself (contract D.5): only the record is left to do
    const { state } = await compute.containers.view(uuid);
    if (state === 'stopped' || state === 'crashed') return false;
  }
  compute.log.warn({ instance: uuid, method, task: task ?? null }, 'a message that nobody waits for any more: nothing is done');
  return true;
}

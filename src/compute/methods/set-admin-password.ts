/** set_admin_password (nova/compute/manager.py): sets the password of the running guest's administrator. */
import { adminUser } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { readPowerState, withAttribute } from '../instance-state.js';
import { HaulierError, isHaulierError } from '../../base/errors.js';

/** The password is in no message, whatever happens: what is not known to be harmless is told in the log only, as in Nova. */
export async function setAdminPassword(compute: Compute, call: InstanceCall): Promise<void> {
  const { args, context, instance, operation, uuid } = call;
  const { state } = await compute.containers.view(uuid);
  if (state !== 'running') throw new HaulierError('PASSWORD_FAILED', { instance: uuid, reason: `instance ${uuid} is not running` });
  await withAttribute(compute, call, 'system_metadata');
  try {
    await compute.containers.setPassword(uuid, adminUser(instance), String(args['new_pass'] ?? ''));
  } catch (error) {
    if (isHaulierError(error, 'PASSWORD_FAILED')) throw error;
    operation.log.error({ err: error, instance: uuid }, 'cannot set the admin password');
    throw new HaulierError('PASSWORD_FAILED', { instance: uuid, reason: 'error setting admin password' }, { cause: error });
  }
  await readPowerState(compute, instance, uuid);
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance, { taskState: ['updating_password'] });
}

/** Whether two hosts have the same instances_path (nova/compute/manager.py `_is_instance_storage_shared`): one puts a mark there, the other looks for it. */
import type { Call, Compute } from '../compute.js';
import { askSeesMark } from './other-computes.js';
import { messageOf } from '../../base/errors.js';
import type { WireContext } from '../../messaging/types.js';

/** What is known of the other host: it shares the directory, does not, or could not be asked. */
export type Sharing = 'shared' | 'apart' | 'unknown';

/** Asks `host` whether it sees the directory of a container of this host. */
export async function isSharedWith(compute: Compute, context: WireContext, uuid: string, host: string): Promise<Sharing> {
  const mark = await compute.containers.moves.mark(uuid);
  if (mark === undefined) return 'apart';
  try {
    return (await askSeesMark(compute, context, host, mark)) ? 'shared' : 'apart';
  } catch (error) {
    compute.log.warn({ err: error, instance: uuid, host }, `cannot ask whether it shares this host's instances: ${messageOf(error)}`);
    return 'unknown';
  } finally {
    await compute.containers.moves.unmark(mark);
  }
}

/** check_instance_shared_storage: the other half. */
export async function checkInstanceSharedStorage(compute: Compute, { args }: Call): Promise<boolean> {
  const data = args['data'] as Readonly<Record<string, unknown>> | null | undefined;
  const mark = data?.['filename'];
  return typeof mark === 'string' && compute.containers.moves.sees(mark);
}

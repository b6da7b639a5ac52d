/** What surrounds an operation on an instance: action event, fault, migration and task state (contract C.2), for RPCs and for what recovery repeats. */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { finishEvent, isNova, isStopping, recordFault, startEvent } from './failure-report.js';
import type { Wrapper } from './method-table.js';
import type { WireContext } from '../messaging/types.js';
import type { NovaObject } from '../nova/object.js';

/** One operation as its wrappers see it. */
export interface Wrapped {
  readonly method: string;
  readonly wrappers: readonly Wrapper[];
  readonly context: WireContext;
  readonly instance: NovaObject;
  /** For M. */
  readonly migration?: NovaObject;
}

/** Runs `work` inside its wrappers. @throws what `work` throws, after it was told to Nova */
export async function insideWrappers<T>(compute: Compute, about: Wrapped, work: () => Promise<T>): Promise<T> {
  const uuid = uuidOf(about.instance);
  const event = about.wrappers.includes('E') ? `compute_${about.method}` : undefined;
  const started = event ? startEvent(compute, about.context, uuid, event) : undefined;
  try {
    const result = await work();
    await started;
    if (event) await finishEvent(compute, about.context, uuid, event);
    return result;
  } catch (error) {
    await started;
    await failed(compute, about, error);
    if (event) await finishEvent(compute, about.context, uuid, event, error);
    throw error;
  }
}

/** Fault, migration and task state after a failure, innermost first as Nova's decorators. */
async function failed(compute: Compute, { method, wrappers, context, instance, migration }: Wrapped, error: unknown): Promise<void> {
  const gone = isNova(error, 'InstanceNotFound');
  // a delete that the service's end interrupted, also one that still waited for its turn, is done at the next start (init_host)
  if (isStopping(error) && method === 'terminate_instance') {
    compute.log.info({ method, instance: uuidOf(instance) }, 'the delete is finished at the next start');
    return;
  }
  compute.log.error({ err: error, method, instance: uuidOf(instance) }, 'operation failed');
  if (wrappers.includes('F') && !gone) await recordFault(compute, context, instance, error);
  if (wrappers.includes('M') && migration) {
    migration.set('status', 'error');
    await compute.conductor.objectCall(context, migration, 'save').catch((failure: unknown) => compute.log.warn({ err: failure }, 'cannot set the migration to error'));
  }
  // somebody else's state is not ours to clear
  if (!wrappers.includes('T') || gone || isNova(error, 'UnexpectedTaskStateError', 'UnexpectedDeletingTaskStateError')) return;
  instance.set('task_state', null);
  await compute.conductor.saveInstance(context, instance).catch((failure: unknown) => {
    if (!isNova(failure, 'InstanceNotFound')) compute.log.error({ err: failure, instance: uuidOf(instance) }, 'cannot clear the task state');
  });
}

/** The compute 6.x endpoint: validates, wraps and dispatches each RPC (contract A.9, C.2). */
import type { Call, Compute, InstanceCall } from './compute.js';
import { uuidOf } from './compute.js';
import { finishEvent, isNova, recordFault, startEvent } from './failure-report.js';
import { methodTable, type Handler, type Method } from './method-table.js';
import { refuse } from './refusal.js';
import { requestIdOf } from '../nova/context.js';
import { NovaObject, parseValue, toWire } from '../nova/object.js';
import { validateRpc } from '../nova/validate.js';
import type { Endpoint, RpcRequest } from '../messaging/types.js';

/** Version that the endpoint speaks: a higher minor of the server accepts all lower ones, so it is the same on every release. */
export const computeRpcVersion = '6.5';

/** Makes the endpoint of nova-compute's own methods. */
export function computeEndpoint(compute: Compute): Endpoint {
  return {
    namespace: undefined,
    version: computeRpcVersion,
    has: (method) => Object.hasOwn(methodTable, method),
    handle: (request) => handle(compute, request),
  };
}

async function handle(compute: Compute, request: RpcRequest): Promise<unknown> {
  const row = methodTable[request.method];
  if (!row) throw new Error(`no method ${request.method}`);
  validateRpc(request.method, request.args);
  const args = parseValue(request.args) as Record<string, unknown>;
  const instance = args['instance'] instanceof NovaObject ? args['instance'] : undefined;
  const requestId = requestIdOf(request.context);
  const init = { name: request.method, ...(requestId ? { requestId } : {}), ...(instance ? { instance: uuidOf(instance) } : {}) };
  return toWire(await compute.operations.run(init, (operation) => wrapped(compute, row, { method: request.method, context: request.context, args, operation }, instance, request)));
}

async function wrapped(compute: Compute, row: Method, call: Call, instance: NovaObject | undefined, request: RpcRequest): Promise<unknown> {
  if (!instance) return row.does.state === 'done' ? dispatch(compute, row.does, call, undefined) : refuse(compute, request, call.args, row.does);
  const uuid = uuidOf(instance);
  const event = row.wrappers.includes('E') ? `compute_${call.method}` : undefined;
  const started = event ? startEvent(compute, call.context, uuid, event) : undefined;
  try {
    const result = await (row.does.state === 'done' ? dispatch(compute, row.does, call, instance) : refuse(compute, request, call.args, row.does));
    await started;
    if (event) await finishEvent(compute, call.context, uuid, event);
    return result;
  } catch (error) {
    await started;
    await failed(compute, row, call, instance, error);
    if (event) await finishEvent(compute, call.context, uuid, event, error);
    throw error;
  }
}

async function dispatch(compute: Compute, handler: Handler, call: Call, instance: NovaObject | undefined): Promise<unknown> {
  if ('host' in handler) return handler.host(compute, call);
  if (!instance) throw new Error(`${call.method} came without an instance`);
  const uuid = uuidOf(instance);
  const instanceCall: InstanceCall = { ...call, instance, uuid };
  handler.before?.(compute, uuid);
  if (handler.locked === false) return handler.instance(compute, instanceCall);
  return compute.locks.hold(uuid, () => {
    call.operation.throwIfAborted();
    return handler.instance(compute, instanceCall);
  });
}

/** Fault, migration and task state after a failure, innermost first as Nova's decorators (contract C.2). */
async function failed(compute: Compute, row: Method, call: Call, instance: NovaObject, error: unknown): Promise<void> {
  const gone = isNova(error, 'InstanceNotFound');
  compute.log.error({ err: error, method: call.method, instance: uuidOf(instance) }, 'operation failed');
  if (row.wrappers.includes('F') && !gone) await recordFault(compute, call.context, instance, error);
  const migration = call.args['migration'];
  if (row.wrappers.includes('M') && migration instanceof NovaObject) {
    migration.set('status', 'error');
    await compute.conductor.objectCall(call.context, migration, 'save').catch((failure: unknown) => compute.log.warn({ err: failure }, 'cannot set the migration to error'));
  }
  // somebody else's state is not ours to clear
  if (!row.wrappers.includes('T') || gone || isNova(error, 'UnexpectedTaskStateError', 'UnexpectedDeletingTaskStateError')) return;
  instance.set('task_state', null);
  await compute.conductor.saveInstance(call.context, instance).catch((failure: unknown) => {
    if (!isNova(failure, 'InstanceNotFound')) compute.log.error({ err: failure, instance: uuidOf(instance) }, 'cannot clear the task state');
  });
}

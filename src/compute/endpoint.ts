/** The compute 6.x endpoint: validates, wraps and dispatches each RPC (contract A.9, C.2). */
import type { Call, Compute, InstanceCall } from './compute.js';
import { uuidOf } from './compute.js';
import { isLate } from './late.js';
import { methodTable, type Handler, type Method } from './method-table.js';
import { refuse } from './refusal.js';
import { insideWrappers } from './wrappers.js';
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
  const work = (): Promise<unknown> => (row.does.state === 'done' ? dispatch(compute, row.does, call, instance) : refuse(compute, request, call.args, row.does));
  if (!instance) return work();
  const migration = call.args['migration'] instanceof NovaObject ? call.args['migration'] : undefined;
  return insideWrappers(compute, { method: call.method, wrappers: row.wrappers, context: call.context, instance, migration }, work);
}

async function dispatch(compute: Compute, handler: Handler, call: Call, instance: NovaObject | undefined): Promise<unknown> {
  if ('host' in handler) return handler.host(compute, call);
  if (!instance) throw new Error(`${call.method} came without an instance`);
  const uuid = uuidOf(instance);
  const instanceCall: InstanceCall = { ...call, instance, uuid };
  handler.before?.(compute, uuid);
  if (handler.locked === false) return handler.instance(compute, instanceCall);
  return compute.locks.hold(uuid, async () => {
    call.operation.throwIfAborted();
    return (await isLate(compute, instanceCall)) ? null : await handler.instance(compute, instanceCall);
  });
}

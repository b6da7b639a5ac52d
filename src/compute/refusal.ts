/** Refuses a method that Haulier does not do, and takes back what its sender prepared, so that the server stays usable. */
import type { Compute } from './compute.js';
import type { Refusal } from './method-table.js';
import { HaulierError, type NovaClass } from '../base/errors.js';
import { RemoteFailure, type RpcRequest } from '../messaging/types.js';
import { NovaObject } from '../nova/object.js';

/** Thrown for a refused method: carries the exception that its row names. */
export class RefusedMethod extends HaulierError {
  readonly #nova: NovaClass | undefined;
  constructor(method: string, nova: NovaClass | undefined) {
    super('UNSUPPORTED', { what: method });
    this.#nova = nova;
  }
  override get nova(): NovaClass {
    return this.#nova ?? super.nova;
  }
}

/** Repairs and throws. @throws RefusedMethod always */
export async function refuse(compute: Compute, request: RpcRequest, args: Readonly<Record<string, unknown>>, refusal: Refusal): Promise<never> {
  try {
    await repair(compute, request, args, refusal.repair);
  } catch (error) {
    compute.log.error({ err: error, method: request.method }, `cannot ${refusal.repair} after a refusal`);
  }
  throw new RefusedMethod(request.method, refusal.error);
}

async function repair(compute: Compute, request: RpcRequest, args: Readonly<Record<string, unknown>>, what: Refusal['repair']): Promise<void> {
  switch (what) {
    case undefined:
      return;
    case 'detach volume': {
      const device = args['bdm'] instanceof NovaObject ? args['bdm'] : undefined;
      if (device) await compute.conductor.objectCall(request.context, device, 'destroy').catch((error: unknown) => { if (!(error instanceof RemoteFailure)) throw error; });
    }
  }
}

/** What a failed operation leaves at Nova: a fault and an action event (contract C.2). Nothing here throws: the operation's own error matters. */
import type { Compute } from './compute.js';
import { uuidOf } from './compute.js';
import { isHaulierError } from '../base/errors.js';
import { createFault, finishEvent as finish, startEvent as start } from '../nova/faults.js';
import { RemoteFailure, type WireContext } from '../messaging/types.js';
import type { NovaObject } from '../nova/object.js';

/** True if a conductor call failed with one of the named Nova exceptions. */
export function isNova(error: unknown, ...classes: string[]): boolean {
  return error instanceof RemoteFailure && classes.includes(error.className);
}

/** True if an operation was given up because the service stops. */
export function isStopping(error: unknown): boolean {
  return isHaulierError(error, 'CANCELLED') && error.details['by'] === 'stop';
}

async function quietly(compute: Compute, instance: string, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isNova(error, 'InstanceNotFound', 'InstanceActionEventNotFound')) compute.log.warn({ err: error, instance }, `cannot ${what}`);
  }
}

/** Writes the fault that `server show` prints. */
export async function recordFault(compute: Compute, context: WireContext, instance: NovaObject, error: unknown): Promise<void> {
  await quietly(compute, uuidOf(instance), 'record the fault', () => createFault(compute.conductor, context, uuidOf(instance), compute.settings.host, error));
}

/** Opens the action event `name`. */
export async function startEvent(compute: Compute, context: WireContext, uuid: string, name: string): Promise<void> {
  await quietly(compute, uuid, `start the event ${name}`, () => start(compute.conductor, context, uuid, name, compute.settings.host));
}

/** Closes the action event `name`, as failed if there is an error. */
export async function finishEvent(compute: Compute, context: WireContext, uuid: string, name: string, error?: unknown): Promise<void> {
  await quietly(compute, uuid, `finish the event ${name}`, () => finish(compute.conductor, context, uuid, name, error));
}

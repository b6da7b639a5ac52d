/** The `Service` record: our place in the cloud (contract D.2, D.3). `disabled*`, `forced_down` and zones belong to the API. */
import { MessagingTimeout, RemoteFailure, type WireContext } from '../messaging/types.js';
import { NovaObject } from './object.js';
import type { Conductor } from './types.js';

const binary = 'nova-compute';

/** The record of `host`, undefined if there is none. */
export async function findService(conductor: Conductor, context: WireContext, host: string): Promise<NovaObject | undefined> {
  const found = await conductor.classCall(context, 'Service', 'get_by_host_and_binary', [host, binary]);
  return found instanceof NovaObject ? found : undefined;
}

/**
 * Lowest version of all `nova-compute` records of the cell; 0 if there is none.
 * A service may not report less (`ServiceTooOld`).
 */
export async function minimumComputeVersion(conductor: Conductor, context: WireContext): Promise<number> {
  const version = await conductor.classCall(context, 'Service', 'get_minimum_version', [binary]);
  return typeof version === 'number' ? version : 0;
}

/** Makes the record; if another start, or our own lost call, was faster, the one that it made. */
export async function createService(conductor: Conductor, context: WireContext, host: string): Promise<NovaObject> {
  const service = conductor.create('Service', { host, binary, topic: 'compute', report_count: 0, version: conductor.serviceVersion });
  try {
    await conductor.objectCall(context, service, 'create');
    return service;
  } catch (error) {
    const exists = error instanceof RemoteFailure && ['ServiceBinaryExists', 'ServiceTopicExists'].includes(error.className);
    if (!exists && !(error instanceof MessagingTimeout)) throw error;
    const existing = await findService(conductor, context, host);
    if (!existing) throw error;
    return existing;
  }
}

/** Stores the version that we report, if the record has another. */
export async function updateServiceVersion(conductor: Conductor, context: WireContext, service: NovaObject): Promise<void> {
  if (service.number('version') === conductor.serviceVersion) return;
  service.set('version', conductor.serviceVersion);
  await conductor.objectCall(context, service, 'save');
}

/**
 * One heartbeat: raises `report_count` and saves a sparse record. Only an increase makes the database stamp `last_seen_up`.
 * @throws MessagingTimeout, RemoteFailure (`ServiceNotFound`: the record was deleted); the next beat is the repetition
 */
export async function beat(conductor: Conductor, context: WireContext, service: NovaObject): Promise<void> {
  const sparse = new NovaObject('Service', service.version);
  for (const field of ['id', 'uuid', 'host', 'binary', 'version']) if (service.has(field)) sparse.load(field, service.get(field));
  const count = (service.number('report_count') ?? 0) + 1;
  sparse.set('report_count', count);
  service.load('report_count', count);
  await conductor.objectCall(context, sparse, 'save');
  for (const field of sparse.fields()) service.load(field, sparse.get(field));
}

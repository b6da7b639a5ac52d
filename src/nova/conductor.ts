/** The conductor's client: ping, release, class and object calls, saves of instances (contract A.11, B.3 to B.5). */
import { setTimeout as sleep } from 'node:timers/promises';
import { HaulierError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { adminContext } from '../messaging/context.js';
import { MessagingTimeout, RemoteFailure, type CallOptions, type RpcClient, type Target, type WireContext } from '../messaging/types.js';
import { attributesToCompare, isStored, saveArguments, sparseInstance } from './instance-save.js';
import { applyUpdates, sentChanges, type SentChanges } from './merge.js';
import { NovaObject, parseValue, toWire } from './object.js';
import { hasField, isRemotable, manifest, objectVersion, releaseOf } from './registry.js';
import type { Conductor, Release, SaveExpectation } from './types.js';

const objects: Target = { topic: 'conductor', version: '3.0' };
const baseapi: Target = { topic: 'conductor', namespace: 'baseapi', version: '1.0' };
const computeTask: Target = { topic: 'conductor', namespace: 'compute_task', version: '1.19' };
const scheduler: Target = { topic: 'scheduler', version: '4.2' };

/** First pings are short, the later ones long (nova/conductor/api.py `wait_until_ready`). */
const shortPing = { tries: 10, timeoutMs: 10_000 };
const longPingMs = 60_000;
/** `long_rpc_timeout`. */
const longCallMs = 1_800_000;
const pauseAfterErrorMs = 1000;
/** Yoga: the oldest control plane that Zed's objects fit. */
const oldestVersion = 61;

/**
 * Methods that may be sent again after a time-out because doing them twice is doing them once: reads, deletions by key, saves of
 * rows that hold nothing but what we write. Not: `create`, `authorize`, `event_start` (they would add a second row),
 * `Instance.save` (see `saveInstance`), `Service.save` (the next heartbeat is its repetition), `destroy` (fails the second time).
 */
function isRepeatable(object: string, method: string): boolean {
  if (/^_?get_/.test(method) || ['refresh', 'drop_migration_context', 'event_finish_with_failure', 'delete_by_instance_uuid'].includes(method)) return true;
  if (method.startsWith('clean_')) return true;
  return method === 'save' && ['ComputeNode', 'Migration', 'InstanceInfoCache', 'BlockDeviceMapping'].includes(object);
}

/** `Conductor` over an RPC client. */
export class NovaConductor implements Conductor {
  readonly #rpc: RpcClient;
  readonly #log: Log;
  #release: Release | undefined;
  #serviceVersion = 0;

  /** @param rpc client whose default time-out (`rpc_response_timeout`) holds for every call */
  constructor(rpc: RpcClient, log: Log) {
    this.#rpc = rpc;
    this.#log = log;
  }

  get release(): Release {
    if (this.#release === undefined) throw new Error('the conductor is not connected yet');
    return this.#release;
  }
  get serviceVersion(): number {
    return this.#serviceVersion;
  }

  /** @throws UNSUPPORTED if the control plane is older than Yoga; the signal's reason */
  async connect(signal: AbortSignal): Promise<void> {
    await this.#untilAnswered(signal, 'ping', (options) => this.#rpc.call(baseapi, 'ping', { arg: '1.21 GigaWatts' }, adminContext(), options));
    let version = await this.#minimumVersion(signal, 'nova-conductor');
    if (version === 0) version = await this.#minimumVersion(signal, 'nova-compute'); // no conductor in this cell's database
    if (version !== 0 && version < oldestVersion) throw new HaulierError('UNSUPPORTED', { what: `a control plane of service version ${version}` });
    this.#serviceVersion = version || 64;
    this.#release = releaseOf(this.#serviceVersion);
    this.#log.info({ release: this.#release, serviceVersion: this.#serviceVersion }, version ? 'conductor answers' : 'no service version found, taking Zed');
  }

  async #minimumVersion(signal: AbortSignal, binary: string): Promise<number> {
    const args = { objname: 'Service', objmethod: 'get_minimum_version', object_versions: { Service: '1.22' }, args: [binary], kwargs: {} };
    const answer = await this.#untilAnswered(signal, 'get_minimum_version', (options) => this.#rpc.call(objects, 'object_class_action_versions', args, adminContext(), options));
    return typeof answer === 'number' ? answer : 0;
  }

  /** Calls until there is an answer. Every error but the signal's is logged and tried again: the service waits for its conductor. */
  async #untilAnswered(signal: AbortSignal, what: string, call: (options: CallOptions) => Promise<unknown>): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted();
      try {
        return await call({ timeoutMs: tries <= shortPing.tries ? shortPing.timeoutMs : longPingMs, signal });
      } catch (error) {
        signal.throwIfAborted();
        this.#log.warn({ err: error, tries }, `no conductor yet (${what})`);
        if (!(error instanceof MessagingTimeout)) await sleep(pauseAfterErrorMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
  }

  async classCall(context: WireContext, object: string, method: string, args: readonly unknown[], kwargs: Record<string, unknown> = {}): Promise<unknown> {
    if (!isRemotable(object, method, 'class')) throw new HaulierError('UNSUPPORTED', { what: `${object}.${method}` });
    const message = { objname: object, objmethod: method, object_versions: manifest(object, this.release), args: toWire(args), kwargs: toWire(kwargs) };
    return parseValue(await this.#send(context, 'object_class_action_versions', message, isRepeatable(object, method)));
  }

  async objectCall(context: WireContext, object: NovaObject, method: string, kwargs: Record<string, unknown> = {}, args: readonly unknown[] = []): Promise<unknown> {
    const message = { objinst: object.toPrimitive(), objmethod: method, args: toWire(args), kwargs: toWire(kwargs) };
    return this.#action(context, object, sentChanges(object), message, isRepeatable(object.name, method));
  }

  create(name: string, fields: Record<string, unknown>): NovaObject {
    const object = new NovaObject(name, objectVersion(name, this.release));
    for (const [field, value] of Object.entries(fields)) if (hasField(name, field, this.release)) object.set(field, value);
    return object;
  }

  async saveInstance(context: WireContext, instance: NovaObject, expected?: SaveExpectation): Promise<void> {
    const sparse = sparseInstance(instance);
    const kwargs = saveArguments(expected);
    if (!sparse.isChanged() && Object.keys(kwargs).length === 0) return;
    const sent = sentChanges(instance);
    const message = { objinst: sparse.toPrimitive(), objmethod: 'save', args: [], kwargs };
    try {
      await this.#action(context, instance, sent, message, false);
      return;
    } catch (error) {
      if (!(error instanceof MessagingTimeout)) throw error;
      this.#log.warn({ err: error, instance: instance.text('uuid') }, 'Instance.save was not answered, repeating it');
    }
    try {
      await this.#action(context, instance, sent, message, false);
    } catch (error) {
      if (!(error instanceof RemoteFailure) || error.className !== 'UnexpectedTaskStateError') throw error;
      const wanted = NovaObject.from(message.objinst);
      const stored = await this.classCall(context, 'Instance', 'get_by_uuid', [instance.get('uuid')], { expected_attrs: attributesToCompare(wanted) });
      if (!(stored instanceof NovaObject) || !isStored(wanted, stored)) throw error;
      applyUpdates(instance, sent, Object.fromEntries([...stored.fields()].map((field) => [field, stored.get(field)])));
    }
  }

  async buildInstances(context: WireContext, args: Record<string, unknown>): Promise<void> {
    await this.#rpc.cast(computeTask, 'build_instances', toWire(args) as Record<string, unknown>, context);
  }

  async migrateServer(context: WireContext, args: Record<string, unknown>): Promise<void> {
    await this.#rpc.call({ ...computeTask, version: '1.20' }, 'migrate_server', toWire(args) as Record<string, unknown>, context, { timeoutMs: longCallMs, monitorMs: longPingMs });
  }

  async schedulerFanout(context: WireContext, method: 'update_instance_info' | 'delete_instance_info' | 'sync_instance_info', args: Record<string, unknown>): Promise<void> {
    await this.#rpc.fanout(scheduler, method, toWire(args) as Record<string, unknown>, context);
  }

  /** Sends `object_action`; the updates go to `object`, of which `sent` are the changes that the message carries. */
  async #action(context: WireContext, object: NovaObject, sent: SentChanges, message: Record<string, unknown>, repeatable: boolean): Promise<unknown> {
    const answer = await this.#send(context, 'object_action', message, repeatable);
    if (!Array.isArray(answer) || answer.length !== 2) throw new HaulierError('BAD_ARGUMENT', { method: 'object_action', argument: 'result', problem: 'is no pair of updates and result' });
    applyUpdates(object, sent, answer[0] as Record<string, unknown>);
    return parseValue(answer[1]);
  }

  async #send(context: WireContext, method: string, args: Record<string, unknown>, repeatable: boolean): Promise<unknown> {
    try {
      return await this.#rpc.call(objects, method, args, context);
    } catch (error) {
      if (!repeatable || !(error instanceof MessagingTimeout)) throw error;
      this.#log.warn({ err: error, object: args['objname'], method: args['objmethod'] }, 'the conductor did not answer, asking once more');
      return this.#rpc.call(objects, method, args, context);
    }
  }
}

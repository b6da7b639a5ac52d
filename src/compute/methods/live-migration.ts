/**
 * live_migration, on the source (contract C.9; nova/compute/manager.py `live_migration`, `_do_live_migration`). Nova ends the action's
 * event as soon as the migration waits in the queue; here it ends with the migration, so that it can say why one has failed.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { finishEvent, startEvent } from '../failure-report.js';
import { stopTiming, withAttribute } from '../instance-state.js';
import { activateBindings } from '../live/bindings.js';
import { hostsOf, migrateDataOf, takeTicket } from '../live/migrate-data.js';
import { askToPrepare } from '../live/other-end.js';
import { postLiveMigration } from '../live/post.js';
import type { LiveEntry } from '../live/queue.js';
import { MigrationRecord } from '../live/record.js';
import { rollbackLiveMigration } from '../live/rollback.js';
import { completionSeconds } from '../live/timeout.js';
import { migrationOf, storedInstance } from '../moves/migration.js';
import { cachedVifs } from '../network/info-cache.js';
import { VifWait } from '../boot/vif-wait.js';
import { HaulierError, isHaulierError, messageOf } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import { Operation } from '../../base/operation.js';
import type { HaulResult } from '../../haul/progress.js';
import type { NovaObject } from '../../nova/object.js';

/** Event of a migration that is none of a running server: its memory is lost. */
const restartEvent = 'compute_live_migration_by_restart';

/** One migration, with what it needs on its way. */
interface Live {
  readonly call: InstanceCall;
  readonly migration: NovaObject;
  readonly record: MigrationRecord;
  readonly entry: LiveEntry;
  readonly destination: string;
}

/** live_migration. A failure leaves the server running here; the migration says `failed`, or `cancelled` where somebody asked for it. */
export async function liveMigration(compute: Compute, call: InstanceCall): Promise<void> {
  const migration = migrationOf(call);
  const { context, instance, uuid, args } = call;
  const record = new MigrationRecord(compute, context, migration, instance);
  const entry = compute.live.enter(uuid, migration.number('id'));
  const live: Live = { call, migration, record, entry, destination: String(args['dest'] ?? migration.text('dest_compute') ?? '') };
  migration.load('dest_compute', live.destination);
  const data = migrateDataOf(args, call.method);
  try {
    await record.status('queued');
    faultPoint('live.queued');
    try {
      await entry.turn();
    } catch (error) {
      return await giveUp(compute, live, data, false, error);
    }
    await compute.locks.hold(uuid, () => migrate(compute, live, data));
  } finally {
    entry.end();
  }
}

async function migrate(compute: Compute, live: Live, sent: NovaObject): Promise<void> {
  const { call, migration, record, entry } = live;
  const { context, uuid, args } = call;
  let data = sent;
  let switched: Promise<void> | undefined;
  let result: HaulResult | undefined;
  let begun = false;
  const restart = new RestartEvent(compute, call);
  try {
    await requireMigrating(compute, call);
    await record.status('preparing');
    await withAttribute(compute, call, 'info_cache');
    await withAttribute(compute, call, 'flavor');
    const signal = AbortSignal.any([call.operation.signal, entry.signal]);
    begun = true;
    data = await prepare(compute, live, sent, signal);
    const ticket = takeTicket(data, live.destination);
    signal.throwIfAborted();
    await record.status('running');
    faultPoint('live.running');
    result = await new Operation({ name: 'haul', instance: uuid, log: call.operation.log, parent: signal }).run((operation) => inTime(compute, live, operation, (force) =>
      compute.hauls.haul(uuid, live.destination, ticket, operation, {
        force,
        ...(compute.settings.haulPermitRestart ? { restart: stopTiming(compute, call.instance, true) } : {}),
        onProgress: (progress) => {
          record.note(progress);
          if (progress.mode === 'restart') restart.begin();
        },
        // neutron's agents switch while the rest of the memory travels; if it fails the rollback switches back
        onFrozen: () => { switched ??= activate(compute, live); },
      })));
  } catch (error) {
    await switched;
    const fate = begun ? await compute.hauls.fate(uuid) : 'here';
    if (fate === 'here') {
      await restart.end(error);
      return await giveUp(compute, live, data, begun, error);
    }
    call.operation.log.error({ err: error }, `the haul ended with an error: ${messageOf(error)}`);
    if (fate === 'open') throw error; // it stands frozen; the next start of the service asks on
  }
  await switched;
  await restart.end();
  entry.release();
  faultPoint('live.hauled');
  await record.finish(result);
  await postLiveMigration(compute, { context, instance: call.instance, migration, blockMigration: args['block_migration'], signal: call.operation.signal });
}

/** Says in the action that the server is stopped and started anew. */
class RestartEvent {
  #begun: Promise<void> | undefined;
  constructor(private readonly compute: Compute, private readonly call: InstanceCall) {}

  begin(): void {
    this.#begun ??= startEvent(this.compute, this.call.context, this.call.uuid, restartEvent);
  }

  async end(error?: unknown): Promise<void> {
    if (!this.#begun) return;
    await this.#begun;
    await finishEvent(this.compute, this.call.context, this.call.uuid, restartEvent, error);
  }
}

/** The message may have waited until its migration was given up by a restart of this service. */
async function requireMigrating(compute: Compute, { context, uuid, method }: InstanceCall): Promise<void> {
  const stored = await storedInstance(compute, context, uuid);
  const state = stored?.text('task_state') ?? 'no task';
  if (state !== 'migrating' || stored?.text('host') !== compute.settings.host) throw new HaulierError('INSTANCE_STATE', { instance: uuid, state, action: method });
}

/** Has the destination prepare itself, and waits for neutron where that tells (hybrid ports) and the destination wants it. */
async function prepare(compute: Compute, { call, destination }: Live, data: NovaObject, signal: AbortSignal): Promise<NovaObject> {
  const { context, instance, uuid, operation } = call;
  const hosts = hostsOf(data);
  if (!hosts) throw new HaulierError('LIVE_MIGRATION_REFUSED', { reason: `${destination} is no Haulier host` });
  const wait = new VifWait(compute, uuid);
  try {
    for (const vif of cachedVifs(instance)) if (vif.details['ovs_hybrid_plug'] === true) wait.expect({ id: vif.id, active: false });
    const prepared = await askToPrepare(compute, context, destination, { instance, disk: null, migrate_data: data }, signal);
    faultPoint('live.prepared');
    if (prepared.flag('wait_for_vif_plugged')) await wait.ready(operation);
    return prepared;
  } finally {
    wait.drop();
  }
}

/** Runs the haul with the operator's time limit: then it is given up, or hurried (nova/virt/libvirt/migration.py `should_trigger_timeout_action`). */
async function inTime<T>(compute: Compute, { call, entry }: Live, operation: Operation, work: (force: AbortSignal) => Promise<T>): Promise<T> {
  const seconds = await completionSeconds(compute, call);
  const hurry = new AbortController();
  const late = new HaulierError('DEADLINE', { what: 'the live migration', seconds });
  const timer = seconds > 0 ? setTimeout(() => {
    const { liveMigrationTimeoutAction: action } = compute.settings;
    call.operation.log.warn({ seconds, action }, 'the live migration takes longer than live_migration_completion_timeout allows');
    if (action === 'force_complete') hurry.abort(late);
    else operation.abort(late);
  }, Math.min(seconds * 1000, 2 ** 31 - 1)).unref() : undefined;
  try {
    return await work(AbortSignal.any([entry.force, hurry.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** Never throws: the ports are activated again after the haul. */
async function activate(compute: Compute, { call, destination }: Live): Promise<void> {
  const began = performance.now();
  try {
    await activateBindings(compute, call.context, call.instance, destination);
    call.operation.log.info({ ms: Math.round(performance.now() - began) }, 'ports switched over');
  } catch (error) {
    call.operation.log.warn({ err: error }, `cannot switch the ports over yet: ${messageOf(error)}`);
  }
}

/**
 * The migration ends as `failed` also where its destination could not be prepared: Nova says `error` while it takes it back, and `failed`
 * then (nova/compute/manager.py `_cleanup_pre_live_migration`, `_rollback_live_migration`).
 * @throws the reason, unless a user asked for it
 */
async function giveUp(compute: Compute, { call, migration, record, entry }: Live, data: NovaObject, prepared: boolean, error: unknown): Promise<void> {
  const { context, instance, uuid } = call;
  await record.finish();
  await rollbackLiveMigration(compute, { context, instance, migration, data, prepared });
  const cancelled = entry.signal.aborted || call.operation.signal.aborted || isHaulierError(error, 'DEADLINE');
  await record.status(cancelled ? 'cancelled' : 'failed').catch((failure: unknown) => compute.log.error({ err: failure, instance: uuid }, 'cannot say that a live migration is off'));
  if (entry.signal.aborted && isHaulierError(entry.signal.reason, 'CANCELLED') && entry.signal.reason.details['by'] === 'user') {
    compute.log.info({ instance: uuid }, 'live migration cancelled');
    return;
  }
  throw error;
}

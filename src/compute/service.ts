/** The compute service's life: start, run, graceful stop (nova/cmd/compute.py, nova/service.py; contract D.1, D.7). */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { AloneWatch, requireAlone } from './alone.js';
import type { Compute } from './compute.js';
import { computeEndpoint } from './endpoint.js';
import { EventWaiters } from './events.js';
import { ageImages } from './image-source.js';
import type { LiveHauls } from './live/hauls.js';
import { LiveQueue } from './live/queue.js';
import { Heartbeat } from './heartbeat.js';
import { initHost } from './init-host.js';
import { nodeIdentity } from './node-identity.js';
import { Notifier } from './notifier.js';
import { Operations } from './operations.js';
import { baseEndpoint, v5Endpoint } from './other-endpoints.js';
import { PeriodicTasks } from './periodic.js';
import { handleExit, syncPowerStates } from './power-sync.js';
import { failLostBuilds, reapDeleted, reclaimDeleted, tellSchedulers } from './reaper.js';
import { offloadShelved } from './methods/shelve.js';
import { confirmOldResizes } from './moves/auto-confirm.js';
import { reapKept } from './moves/recover.js';
import type { DiskTransport } from './moves/transport.js';
import { healInfoCaches } from './network/heal.js';
import { ResourceTracker } from './resource-tracker.js';
import type { ComputeSettings } from './settings.js';
import { HaulierError } from '../base/errors.js';
import { KeyedLock, Semaphore } from '../base/lock.js';
import type { Log } from '../base/log.js';
import type { ContainerExit, ContainerHost } from '../container/container-host.js';
import type { Messaging } from '../messaging/messaging.js';
import type { RpcServer } from '../messaging/types.js';
import { NovaConductor } from '../nova/conductor.js';
import { adminContext } from '../nova/context.js';
import type { Notifier as NovaNotifier } from '../nova/notifications.js';
import { findService, minimumComputeVersion } from '../nova/service.js';
import type { Glance, Neutron, Placement } from '../openstack/types.js';

/** What the service is made of. */
export interface ServiceParts {
  readonly settings: ComputeSettings;
  readonly log: Log;
  readonly messaging: Messaging;
  readonly containers: ContainerHost;
  readonly hauls: LiveHauls & { stop(): Promise<void> };
  /** Undefined where this host takes part in no hauls. */
  readonly transport?: DiskTransport | undefined;
  readonly placement: Placement;
  readonly neutron: Neutron;
  readonly glance: Glance;
  readonly notifications: NovaNotifier;
  /** Logs in ahead of the first request. */
  readonly prefetch?: () => Promise<unknown>;
}

const schedulerSyncSeconds = 120;
const figuresSeconds = 30;
const aloneSeconds = 60;
/** A broker that is away keeps nobody from looking after the containers. */
const brokerGraceMs = 10_000;
const lostBuildsSeconds = 600;
const retryMs = 2000;

/** Methods that never wait behind others: what a running operation waits for, and reads. */
const unlimited = new Set(['external_instance_event', 'terminate_instance', 'get_console_output', 'get_serial_console', 'validate_console_port', 'get_host_uptime', 'set_host_enabled', 'live_migration', 'live_migration_abort', 'live_migration_force_complete', 'ping']);

/** One host's compute service. */
export class ComputeService {
  readonly #parts: ServiceParts;
  readonly #conductor: NovaConductor;
  readonly #heartbeat: Heartbeat;
  #compute: Compute | undefined;
  #server: RpcServer | undefined;
  #periodic: PeriodicTasks | undefined;
  #upkeep: PeriodicTasks | undefined;
  readonly #alone: AloneWatch;
  #ready = false;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    this.#conductor = new NovaConductor(parts.messaging.client, parts.log);
    this.#alone = new AloneWatch(parts.messaging, parts.settings.host, parts.log);
    this.#heartbeat = new Heartbeat(this.#conductor, parts.settings.host, parts.settings.reportInterval, parts.log);
  }

  /** Undefined until the node is known. */
  get compute(): Compute | undefined {
    return this.#compute;
  }
  /** Seconds since the last stored sign of life; undefined before the first. */
  get heartbeatAge(): number | undefined {
    const { lastBeat } = this.#heartbeat;
    return lastBeat === undefined ? undefined : (performance.now() - lastBeat) / 1000;
  }
  /** Why it is not ready; empty when it is. */
  get notReady(): readonly string[] {
    return [
      ...(this.#ready ? [] : ['still starting']),
      ...(this.#parts.messaging.healthy ? [] : ['no connection to the message broker']),
      ...(this.#alone.problem === undefined ? [] : [this.#alone.problem]),
      ...(this.#ready && (this.heartbeatAge ?? 0) > this.#parts.settings.serviceDownTime ? [`Nova has stored no sign of life for ${Math.round(this.heartbeatAge ?? 0)} s`] : []),
    ];
  }

  /**
   * Starts in Nova's order: conductor, records, recovery, audit, and only then the RPC server.
   * @throws IDENTITY, CONFIG_INVALID, UNSUPPORTED, KEYSTONE_REFUSED: what waiting does not cure; the signal's reason
   */
  async start(signal: AbortSignal): Promise<void> {
    const { settings, log, containers, messaging } = this.#parts;
    void this.#parts.prefetch?.().catch((error: unknown) => log.warn({ err: error }, 'keystone does not answer yet'));
    // what ended while nobody looked is found by `containers.start`; it is followed when the recovery is through
    const early: ContainerExit[] = [];
    let follow = (exit: ContainerExit): void => void early.push(exit);
    containers.onExit((exit) => follow(exit));
    const alone = requireAlone(messaging, settings.host, log, signal);
    const waited = new AbortController();
    await Promise.race([alone, sleep(brokerGraceMs, undefined, { signal: waited.signal }).catch(() => undefined)]).finally(() => waited.abort());
    await Promise.all([alone.then(() => this.#conductor.connect(signal)), containers.start()]);
    const open = await this.#parts.hauls.start();
    const context = adminContext();
    const [minimum, service] = await Promise.all([minimumComputeVersion(this.#conductor, context), findService(this.#conductor, context, settings.host)]);
    if (minimum > this.#conductor.serviceVersion) log.warn({ minimum, ours: this.#conductor.serviceVersion }, 'every other nova-compute of this cell is newer than its conductor');
    const node = await nodeIdentity(this.#conductor, context, settings, service, (await containers.list()).length);
    const compute = this.#makeCompute(node);
    this.#compute = compute;
    await this.#heartbeat.register(service);
    await untilItWorks(() => compute.tracker.audit(context), signal, log, 'the first audit');
    const instances = await initHost(compute, open);
    follow = (exit) => {
      void handleExit(compute, exit).catch((error: unknown) => log.error({ err: error, instance: exit.id }, 'cannot follow the end of a container'));
    };
    early.forEach(follow);
    const current = computeEndpoint(compute);
    this.#server = await messaging.serve({ topics: ['compute', 'compute-alt'], server: settings.host, endpoints: [current, v5Endpoint(current), baseEndpoint], unlimited, signal });
    this.#heartbeat.start();
    compute.notifier.schedulerAll(context, instances, 'whole');
    this.#periodic = new PeriodicTasks(periodicTasks(compute, this.#heartbeat), settings.periodicFuzzyDelay, log);
    if (settings.periodicEnable) this.#periodic.start();
    this.#upkeep = new PeriodicTasks([
      { name: 'renew_figures', spacing: figuresSeconds, run: () => containers.renewFigures((id, work) => (compute.locks.held(id) ? Promise.resolve() : compute.locks.hold(id, work))) },
      { name: 'look_for_another', spacing: aloneSeconds, run: () => this.#alone.look() },
    ], 0, log);
    this.#upkeep.start();
    this.#ready = true;
    // beside the service: it takes a second, and nothing waits for it
    void compute.tracker.tellAbilities().catch((error: unknown) => log.warn({ err: error }, 'cannot tell placement what criu can do; the next audit does'));
    log.info({ host: settings.host, node: node.uuid, release: this.#conductor.release, serviceVersion: this.#conductor.serviceVersion, instances: instances.length }, 'ready');
  }

  #makeCompute(node: Compute['node']): Compute {
    const { settings, log, containers, placement, neutron, glance, messaging } = this.#parts;
    const conductor = this.#conductor;
    const tracker = new ResourceTracker({ settings, log, conductor, containers, placement, node, service: () => this.#heartbeat.service });
    return {
      settings, log, conductor, rpc: messaging.client, containers, transport: this.#parts.transport, hauls: this.#parts.hauls, placement, neutron, glance, node, tracker,
      locks: new KeyedLock(), cacheLocks: new KeyedLock(), builds: new Semaphore(settings.maxConcurrentBuilds),
      snapshots: new Semaphore(settings.maxConcurrentSnapshots), live: new LiveQueue(settings.maxConcurrentLiveMigrations), destroys: new Semaphore(4 * availableParallelism()),
      events: new EventWaiters(), operations: new Operations(log), cloudNow: () => this.#heartbeat.cloudNow,
      notifier: new Notifier(log, conductor, settings.host, settings.trackInstanceChanges, this.#parts.notifications, settings.instanceNameTemplate),
    };
  }

  /** Stops taking work, lets what runs finish for `graceMs`, gives the rest up cleanly. Containers run on. */
  async stop(graceMs: number): Promise<void> {
    this.#ready = false;
    this.#periodic?.stop();
    this.#upkeep?.stop();
    this.#heartbeat.stop();
    this.#compute?.tracker.stop();
    const gone = new HaulierError('CANCELLED', { what: 'the operation', reason: `the compute service of ${this.#parts.settings.host} is stopping`, by: 'stop' });
    // nobody brings events any more: a boot that waits for one is given to another host
    this.#compute?.events.close(`the compute service of ${this.#parts.settings.host} is stopping`);
    this.#compute?.live.close(gone);
    // the server stops consuming at once; its handlers end with the operations
    await Promise.all([this.#server?.stop(graceMs + 12_000), this.#compute?.operations.drain(graceMs, gone)]);
    await this.#parts.hauls.stop();
    await this.#parts.containers.stop();
  }
}

function periodicTasks(compute: Compute, heartbeat: Heartbeat): ConstructorParameters<typeof PeriodicTasks>[0] {
  const { settings } = compute;
  return [
    { name: 'update_available_resource', spacing: settings.updateResourcesInterval, run: async () => { await heartbeat.refresh(); await compute.tracker.audit(adminContext()); } },
    { name: 'sync_power_states', spacing: settings.syncPowerStateInterval, immediately: true, run: () => syncPowerStates(compute) },
    { name: 'heal_instance_info_cache', spacing: settings.healInfoCacheInterval, run: () => healInfoCaches(compute) },
    { name: 'cleanup_running_deleted_instances', spacing: settings.runningDeletedPollInterval, immediately: true, run: () => reapDeleted(compute) },
    { name: 'poll_unconfirmed_resizes', spacing: settings.resizeConfirmWindow > 0 ? 0 : -1, run: () => confirmOldResizes(compute) },
    { name: 'cleanup_incomplete_migrations', spacing: settings.instanceDeleteInterval, run: () => reapKept(compute, adminContext()) },
    { name: 'reclaim_queued_deletes', spacing: settings.reclaimInstanceInterval > 0 ? 0 : -1, run: () => reclaimDeleted(compute) },
    { name: 'fail_lost_builds', spacing: lostBuildsSeconds, run: () => failLostBuilds(compute) },
    { name: 'poll_shelved_instances', spacing: settings.shelvedOffloadTime > 0 ? settings.shelvedPollInterval : -1, run: () => offloadShelved(compute) },
    { name: 'run_image_cache_manager_pass', spacing: settings.removeUnusedImages ? settings.imageCacheInterval : -1, run: () => ageImages(compute) },
    { name: 'cleanup_expired_console_auth_tokens', spacing: settings.instanceDeleteInterval, run: async () => void (await compute.conductor.classCall(adminContext(), 'ConsoleAuthToken', 'clean_expired_console_auths', [])) },
    { name: 'sync_scheduler_instance_info', spacing: settings.trackInstanceChanges ? schedulerSyncSeconds : -1, run: () => tellSchedulers(compute) },
  ];
}

/** Tries again while a service of the control plane is away; gives up on what waiting does not cure. */
async function untilItWorks(work: () => Promise<void>, signal: AbortSignal, log: Log, what: string): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    try {
      await work();
      return;
    } catch (error) {
      if (error instanceof HaulierError && ['IDENTITY', 'CONFIG_INVALID', 'KEYSTONE_REFUSED'].includes(error.code)) throw error;
      log.warn({ err: error }, `${what} failed; trying again`);
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

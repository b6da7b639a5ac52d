/** One compute service over the fakes, with the recorded boot as its first message. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeyedLock, Semaphore } from '../../../src/base/lock.js';
import { silentLog } from '../../../src/base/log.js';
import { packageRoot } from '../../../src/base/package-root.js';
import type { Compute } from '../../../src/compute/compute.js';
import { computeEndpoint } from '../../../src/compute/endpoint.js';
import { EventWaiters } from '../../../src/compute/events.js';
import { Notifier } from '../../../src/compute/notifier.js';
import type { LiveHauls } from '../../../src/compute/live/hauls.js';
import { LiveQueue } from '../../../src/compute/live/queue.js';
import type { DiskTransport } from '../../../src/compute/moves/transport.js';
import { Operations } from '../../../src/compute/operations.js';
import { ResourceTracker } from '../../../src/compute/resource-tracker.js';
import type { ComputeSettings } from '../../../src/compute/settings.js';
import type { WireContext } from '../../../src/messaging/types.js';
import { NovaConductor } from '../../../src/nova/conductor.js';
import { Notifier as NovaNotifier } from '../../../src/nova/notifications.js';
import type { Primitive } from '../../../src/nova/object.js';
import type { VifInfo } from '../../../src/nova/network-info.js';
import { HaulierError } from '../../../src/base/errors.js';
import type { Glance, GlanceImage, Network, Subnet } from '../../../src/openstack/types.js';
import { FakeHauls } from './fake-hauls.js';
import { FakeContainers, FakePlacement } from './fakes.js';
import { FakeNeutron } from './fake-neutron.js';
import { FakeNova, wire } from './fake-nova.js';
import { Steps } from './steps.js';

const folder = join(packageRoot, 'test/contract/wire');

interface Message { readonly method: string; readonly args: Record<string, unknown> & { objinst?: Primitive; objmethod?: string } & Record<string, unknown> }

/** Recorded messages of a flow. */
export function messages(flow: string): Message[] {
  return readFileSync(join(folder, `${flow}.jsonl`), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { body: { 'oslo.message': Message } }).body['oslo.message']);
}
/** Recorded REST exchanges of a flow. */
export function rest(flow: string): { method: string; url: string; response: Record<string, unknown[]> & Record<string, unknown> }[] {
  return readFileSync(join(folder, 'http', `${flow}.jsonl`), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as ReturnType<typeof rest>[number]);
}
/** The answer to the first recorded request whose address has `part` in it. */
export function answer<T>(flow: string, method: string, part: string, member: string): T {
  const found = rest(flow).find((item) => item.method === method && item.url.includes(part) && item.response[member] !== undefined);
  if (!found) throw new Error(`no ${method} ${part} in ${flow}`);
  return found.response[member] as T;
}

const boot = messages('boot').find((message) => message.method === 'build_and_run_instance')!;
export const host = 'fake2';
export const uuid = '56cab1b6-6fb9-447f-9482-9f3e2e18a7e3';
export const nodeUuid = '0e44df4e-ca18-47e3-9ee5-a8252ce22b06';
export const context: WireContext = Object.fromEntries(Object.entries(boot).filter(([key]) => key.startsWith('_context_')).map(([key, value]) => [key.slice('_context_'.length), value]));

export const settings: ComputeSettings = {
  host, hypervisorHostname: host, myIp: '192.0.2.2', statePath: '/nowhere', instancesPath: '/nowhere', configDirs: [], instanceNameTemplate: 'instance-%08x',
  reportInterval: 10, serviceDownTime: 60, updateResourcesInterval: 0, syncPowerStateInterval: 600, healInfoCacheInterval: -1, runningDeletedAction: 'reap', runningDeletedPollInterval: 1800,
  runningDeletedTimeout: 0, instanceDeleteInterval: 300, reclaimInstanceInterval: 0, periodicFuzzyDelay: 0, resumeGuestsOnHostBoot: false,
  reservedCpus: 1, reservedMemoryMb: 512, reservedDiskMb: 1500, cpuAllocationRatio: undefined, ramAllocationRatio: undefined, diskAllocationRatio: undefined,
  initialCpuAllocationRatio: 4, initialRamAllocationRatio: 1, initialDiskAllocationRatio: 1, vifPluggingTimeout: 300, vifPluggingIsFatal: true, maxConcurrentBuilds: 10, maxConcurrentSnapshots: 5, maxConcurrentLiveMigrations: 1, liveMigrationWaitForVifPlug: true, liveMigrationCompletionTimeout: 800, liveMigrationTimeoutAction: 'abort', haulPermitRestart: false, liveLookMs: 30_000, shelvedOffloadTime: 0, shelvedPollInterval: 3600,
  resizeConfirmWindow: 0, shutdownTimeout: 60, ovsBridge: 'br-int', trackInstanceChanges: false, disableGroupPolicyCheck: false, disableServiceVersionCheck: false, pidsLimit: 4096, rescueImageId: undefined, serialBaseUrl: 'ws://127.0.0.1:6083/', consoleTokenTtl: 600, dhcpDomain: '', forceConfigDrive: false, configDriveSkipVersions: ['1.0'], vendorData: { providers: ['StaticJSON'], file: undefined, targets: [], failureFatal: false },
 periodicEnable: true, imageCacheInterval: -1, removeUnusedImages: true, removeUnusedImagesSeconds: 86_400,
};

/** Has what `records` has. */
export class FakeGlance implements Glance {
  constructor(readonly steps: Steps) {}
  readonly records: GlanceImage[] = [];
  async image(_scope: unknown, id: string): Promise<GlanceImage> {
    await this.steps.pass(`glance.image ${id}`);
    const found = this.records.find((record) => record.id === id);
    if (!found) throw new HaulierError('IMAGE_NOT_FOUND', { image: id });
    return found;
  }
  async images(_scope: unknown, { name }: Readonly<Record<string, string>>): Promise<readonly GlanceImage[]> { return this.records.filter((record) => record.name === name); }
  async updateImage(_scope: unknown, id: string): Promise<void> { await this.steps.pass(`glance.updateImage ${id}`); }
  async upload(_scope: unknown, id: string): Promise<void> { await this.steps.pass(`glance.upload ${id}`); }
  async deleteImage(_scope: unknown, id: string): Promise<void> { await this.steps.pass(`glance.deleteImage ${id}`); }
  async download(): Promise<never> { throw new Error('not used'); }
}

export interface World {
  readonly steps: Steps;
  readonly nova: FakeNova;
  readonly containers: FakeContainers;
  readonly placement: FakePlacement;
  readonly neutron: FakeNeutron;
  readonly glance: FakeGlance;
  readonly compute: Compute;
  /** The recorded boot's arguments, fresh. */
  bootArgs(change?: Record<string, unknown>): Record<string, unknown>;
  send(method: string, args: Record<string, unknown>, context?: WireContext): Promise<unknown>;
  /** The recorded boot until the server is active; neutron's event comes as soon as it is waited for. */
  boot(): Promise<void>;
  /** The instance as a message carries it. */
  instance(change?: Record<string, unknown>): Primitive;
  /** An event of neutron for the instance. */
  event(name: string, port: string, status?: string): Promise<unknown>;
  cache(): VifInfo[];
  /** Delivers network-vif-plugged when the container waits. */
  plugWhenAsked(): void;
}

/** A compute service over the fakes. */
export async function makeCompute(cloud: Pick<World, 'steps' | 'nova' | 'placement' | 'neutron'>, containers: FakeContainers, all: ComputeSettings, identity: { id: number; uuid: string }, transport?: DiskTransport, glance = new FakeGlance(cloud.steps), hauls: LiveHauls = new FakeHauls(cloud.steps, all.host), log = silentLog()): Promise<Compute> {
  const { nova, placement, neutron } = cloud;
  const conductor = new NovaConductor(nova, log);
  await conductor.connect(new AbortController().signal);
  const node = { ...identity, hypervisorHostname: all.hypervisorHostname };
  const service = { id: 4, disabled: false };
  return {
    settings: all, log, conductor, rpc: nova, containers, transport, hauls, live: new LiveQueue(all.maxConcurrentLiveMigrations), placement, neutron, glance, node,
    locks: new KeyedLock(), cacheLocks: new KeyedLock(), builds: new Semaphore(all.maxConcurrentBuilds), snapshots: new Semaphore(all.maxConcurrentSnapshots), destroys: new Semaphore(4), events: new EventWaiters(), operations: new Operations(log), cloudNow: () => Date.now(),
    tracker: new ResourceTracker({ settings: all, log, conductor, containers, placement, node, service: () => service }),
    notifier: new Notifier(log, conductor, all.host, all.trackInstanceChanges, new NovaNotifier(undefined, { host: all.host, format: 'unversioned', topics: [], versionedTopics: [] }, log), all.instanceNameTemplate),
  };
}

/** A world in which the API and the scheduler have just placed the recorded server here. */
export async function world(change: Partial<ComputeSettings> = {}, serviceVersion = 68, log = silentLog()): Promise<World> {
  const steps = new Steps();
  const nova = new FakeNova(steps, serviceVersion);
  const containers = new FakeContainers(steps);
  const placement = new FakePlacement(steps);
  const neutron = new FakeNeutron(steps);
  neutron.networkList = answer<Network[]>('boot', 'GET', '/v2.0/networks?id', 'networks');
  neutron.subnetList = answer<Subnet[]>('boot', 'GET', '/v2.0/subnets', 'subnets');
  const all = { ...settings, ...change };
  const glance = new FakeGlance(steps);
  const compute = await makeCompute({ steps, nova, placement, neutron }, containers, all, { id: 7, uuid: nodeUuid }, undefined, glance, undefined, log);
  const sent = structuredClone((boot.args['instance'] as Primitive)['nova_object.data']);
  nova.instances.set(uuid, { ...sent });
  nova.caches.set(uuid, '[]');
  placement.allocations.set(uuid, { [nodeUuid]: { VCPU: 1, MEMORY_MB: 128, DISK_GB: 1 } });
  steps.clear();
  const endpoint = computeEndpoint(compute);
  const send: World['send'] = (method, args, about = context) =>
    endpoint.handle({ method, namespace: undefined, version: '6.0', args: structuredClone(args), context: about, isCall: true, signal: new AbortController().signal });
  const instance: World['instance'] = (fields = {}) => {
    const row = nova.row(uuid);
    const cache = wire('InstanceInfoCache', '1.5', { instance_uuid: uuid, network_info: nova.caches.get(uuid) ?? null });
    return wire('Instance', '2.8', structuredClone({ ...row, info_cache: cache, ...fields }));
  };
  const event: World['event'] = (name, port, status = 'completed') => send('external_instance_event', {
    instances: [instance()], events: [wire('InstanceExternalEvent', '1.5', { name, status, tag: port, instance_uuid: uuid })],
  });
  const plugWhenAsked = (): void => {
    steps.whenever('containers.startContainer', () => void Promise.resolve().then(() => Promise.all([...neutron.stored.keys()].map((port) => event('network-vif-plugged', port)))));
  };
  return {
    steps, nova, containers, placement, neutron, glance, compute, send, instance, event, plugWhenAsked,
    bootArgs: (fields = {}) => structuredClone({ ...boot.args, ...fields }),
    boot: async () => {
      plugWhenAsked();
      await send('build_and_run_instance', boot.args);
      if (nova.row(uuid)['vm_state'] !== 'active') throw new Error(`not booted: ${JSON.stringify(nova.faults)}`);
    },
    cache: () => JSON.parse(nova.caches.get(uuid) ?? '[]') as VifInfo[],
  };
}

/** What an ended or failed build must not leave; empty if nothing is left. */
export function leftovers(w: World, own: readonly string[] = []): string[] {
  return [
    ...[...w.containers.made.keys()].map((id) => `container ${id}`),
    ...[...w.containers.plugged].flatMap(([, ports]) => [...ports].map((port) => `device of ${port}`)),
    ...[...w.neutron.stored.values()].filter((port) => !own.includes(port.id) || port.device_id !== '').map((port) => `port ${port.id} of ${port.device_id}`),
    ...[...w.placement.allocations.keys()].map((consumer) => `allocation of ${consumer}`),
    ...w.nova.vifs.map((vif) => `virtual interface ${String(vif['uuid'])}`),
    ...(w.nova.caches.get(uuid) && w.nova.caches.get(uuid) !== '[]' ? ['cache'] : []),
    ...w.containers.clashes.map((clash) => `clash: ${clash}`),
    ...w.compute.operations.running.map((operation) => `operation ${operation.name}`),
    ...(w.compute.locks.held(uuid) || w.compute.cacheLocks.held(uuid) ? ['lock'] : []),
    ...w.nova.events.filter((item) => !item.done).map((item) => `open event ${item.name}`),
  ];
}

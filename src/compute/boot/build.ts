/**
 * build_and_run_instance: a server becomes a running container (nova/compute/manager.py `_do_build_and_run_instance`,
 * contract C.3). Ports, image and root file system are made side by side; the container's PID 1 waits for the wired ports.
 */
import { bootRequest, giveDrive, giveTree } from '../boot-data/boot-data.js';
import type { Compute, InstanceCall } from '../compute.js';
import { buildRequest, type BuildRequest } from './build-request.js';
import { settleFailedBuild } from './build-failure.js';
import { checkGroupPolicy } from './group-policy.js';
import { VifWait } from './vif-wait.js';
import { containerSpec } from '../container-spec.js';
import { finishEvent, startEvent, isNova } from '../failure-report.js';
import { imageSource } from '../image-source.js';
import { ensureImages } from '../templates.js';
import { allocateNetworks, lookUpNetworks, rebindNetworks, type NetworkDemand, type NetworkWish } from '../network/allocate.js';
import { vifSpecs } from '../network/vif-spec.js';
import { powerStateOf } from '../states.js';
import { novaTime } from '../../nova/context.js';
import { NovaObject } from '../../nova/object.js';
import { placeHere } from '../placing.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { VifInfo } from '../../nova/network-info.js';

const eventName = 'compute__do_build_and_run_instance';

/** Fault points of a boot; tests kill the service at each. In order, but `boot.created` comes beside the four before it. */
export const bootFaultPoints = ['boot.claimed', 'boot.port-created', 'boot.port-bound', 'boot.plugged', 'boot.networked', 'boot.created', 'boot.started', 'boot.saved'] as const;

/**
 * Handler of the RPC: queues behind the instance's lock and `max_concurrent_builds`. Never throws: state, fault and event tell.
 * That option is there to spare the host, so a build that only waits for neutron any more makes room for the next one.
 */
export async function buildAndRunInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const request = buildRequest(call);
  await compute.locks.hold(call.uuid, async () => {
    const makeRoom = await compute.builds.take();
    await build(compute, call, request, makeRoom).finally(makeRoom);
  });
}

async function build(compute: Compute, call: InstanceCall, request: BuildRequest, makeRoom: () => void): Promise<void> {
  const started = startEvent(compute, call.context, call.uuid, eventName);
  let failure: unknown;
  let claimed = false;
  try {
    await call.operation.run((operation) => bootOnce(compute, request, operation, { makeRoom, claimed: () => { claimed = true; } }));
  } catch (error) {
    // what fails after an abort fails because of it, whatever it says
    failure = call.operation.signal.aborted ? call.operation.signal.reason : error;
    // as in Nova, only a build that was given up for good is an error of the action: one that goes to another host is not over, a deleted one is nobody's failure
    if ((await settleFailedBuild(compute, request, failure, claimed)) !== 'abort') failure = undefined;
  }
  await started;
  await finishEvent(compute, call.context, call.uuid, eventName, failure);
}

/** What a build says on its way. */
interface Milestones {
  /** The instance is stored as being built here. */
  readonly claimed: () => void;
  /** It only waits any more. */
  readonly makeRoom: () => void;
}

async function bootOnce(compute: Compute, request: BuildRequest, operation: Operation, milestones: Milestones): Promise<void> {
  const { context, instance, uuid } = request;
  operation.step('claim');
  checkSupported(request);
  if (request.node !== compute.node.hypervisorHostname) throw new HaulierError('NO_RESOURCES', { reason: `node ${request.node} is not of this host` });
  const flavor = instance.object('flavor');
  const source = imageSource(compute, context, request.image, flavor?.number('root_gb') ?? 0);
  if (await compute.containers.spec(uuid)) throw new HaulierError('INSTANCE_STATE', { instance: uuid, state: 'built', action: 'build it a second time' });
  const rebind = instance.strings('system_metadata')['network_allocated'] === 'True';
  const demand = { context, instance, operation, requests: request.requestedNetworks, securityGroups: request.securityGroups };
  const wish = rebind ? undefined : lookUpNetworks(compute, demand); // only looks, so it need not wait for the claim
  // the claim, the building state and `networking` go in one save: nobody can tell, and it saves two round trips
  instance.set('vm_state', 'building');
  instance.set('task_state', 'networking');
  placeHere(compute, instance);
  instance.set('system_metadata', { ...instance.strings('system_metadata'), ...request.memoryHints, boot_roles: (context['roles'] as string[] | undefined ?? []).join(',') });
  const claimed = compute.conductor.saveInstance(context, instance, { taskState: ['scheduling', null], vmState: ['building'] });
  compute.tracker.claim(uuid, instance);
  operation.undo('drop the claim', () => compute.tracker.drop(uuid));
  await claimed;
  milestones.claimed();
  faultPoint('boot.claimed');
  await checkGroupPolicy(compute, context, uuid, request.groupHint);
  compute.notifier.instance('create.start', context, instance);

  operation.step('network and image');
  const wait = new VifWait(compute, uuid);
  try {
    const [vifs] = await inParallel(
      network(compute, request, { ...demand, onBound: (vif, place) => plugEarly(compute, uuid, operation, wait, vif, place), onAllBound: () => saveSpawning(compute, request) }, wish).catch((error: unknown) => {
        operation.abort(error as Error); // a download that may take minutes has no use any more
        throw error;
      }),
      ensureImages(compute, request, request.image, source, operation).then((templates) => create(compute, request, operation, source.id, templates)),
    );
    await spawn(compute, request, operation, vifs, () => {
      milestones.makeRoom();
      return wait.ready(operation);
    });
  } finally {
    wait.drop();
  }
}

/** What Haulier cannot do must not be left out in silence. @throws UNSUPPORTED */
function checkSupported({ instance, requestedNetworks, args }: BuildRequest): void {
  const devices = args['block_device_mapping'] instanceof NovaObject ? args['block_device_mapping'].objects() : [];
  const what = instance.object('trusted_certs') ? 'booting with trusted image certificates'
    : [...requestedNetworks, ...devices].some((item) => item.text('tag') !== undefined) ? 'booting with tagged devices'
      : devices.some((device) => device.text('destination_type') === 'volume') ? 'booting with a volume' : undefined;
  if (what !== undefined) throw new HaulierError('UNSUPPORTED', { what });
}

async function network(compute: Compute, request: BuildRequest, demand: NetworkDemand, wish: NetworkWish | undefined): Promise<VifInfo[]> {
  const vifs = await (wish ? allocateNetworks(compute, demand, wish) : rebindNetworks(compute, demand, request.requestedPorts));
  faultPoint('boot.networked');
  return vifs;
}

/** Plugs a port as soon as it is bound: neutron's agent wires it while the rest is made. Its addresses come later, with the container. */
export async function plugEarly(compute: Compute, uuid: string, operation: Operation, wait: VifWait, vif: VifInfo, place: number): Promise<void> {
  const [spec] = vifSpecs([vif], place);
  if (!spec) return;
  wait.expect(vif);
  operation.undo(`unplug ${spec.id}`, () => compute.containers.unplug(uuid, spec));
  await compute.containers.plug(uuid, spec, operation);
  operation.step('plugged');
  faultPoint('boot.plugged');
}

/** `spawning`, when the ports are plugged: beside what is left to store of them. */
async function saveSpawning(compute: Compute, { context, instance }: BuildRequest): Promise<void> {
  instance.set('task_state', 'spawning');
  await compute.conductor.saveInstance(context, instance, { taskState: ['networking'] });
}

/** The container without its ports, which are being made meanwhile. */
async function create(compute: Compute, { args, context, instance, uuid }: BuildRequest, operation: Operation, imageId: string, templates: readonly string[]): Promise<void> {
  await compute.containers.create(containerSpec(compute, instance, imageId, [], templates), operation);
  await compute.containers.mount(uuid, operation);
  await giveTree(compute, { context, instance, operation }, bootRequest(args));
  faultPoint('boot.created');
}

async function spawn(compute: Compute, request: BuildRequest, operation: Operation, vifs: readonly VifInfo[], wired: () => Promise<void>): Promise<void> {
  const { context, instance, uuid } = request;
  operation.step('spawn');
  await compute.containers.updateVifs(uuid, vifSpecs(vifs));
  await giveDrive(compute, { context, instance, operation }, vifs, bootRequest(request.args));
  await compute.containers.startContainer(uuid, operation, wired);
  faultPoint('boot.started');

  operation.step('save');
  const metadata = instance.strings('system_metadata');
  delete metadata['network_allocated'];
  instance.set('system_metadata', metadata);
  instance.set('power_state', powerStateOf((await compute.containers.view(uuid)).state));
  instance.set('vm_state', 'active');
  instance.set('task_state', null);
  instance.set('launched_at', novaTime());
  await compute.conductor.saveInstance(context, instance, { taskState: ['spawning'] });
  operation.commit();
  faultPoint('boot.saved');
  // from the RPC to the saved result; of it, waiting for a slot, and for nothing but neutron's event
  compute.log.info({ instance: uuid, ms: operation.ageMs, queued: operation.steps['claim'], waited: operation.between('container.start.ready', 'container.start.run'), steps: operation.steps }, 'server built');
  compute.tracker.built(uuid, instance);
  compute.notifier.instance('create.end', context, instance);
  compute.notifier.scheduler('update_instance_info', context, instance);
}

/** Waits for both, also when one fails, so that nothing is made behind the rollback's back; then throws the first failure. */
export async function inParallel<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const settled = await Promise.allSettled([a, b]);
  // the conductor's refusal (deleted meanwhile) says more than what it made fail beside it; of the rest, the image's problem says most
  const failed = settled.filter((result) => result.status === 'rejected').reverse();
  const refusal = failed.find((result) => isNova(result.reason, 'UnexpectedDeletingTaskStateError', 'InstanceNotFound', 'UnexpectedTaskStateError', 'UnexpectedVMStateError')) ?? failed[0];
  if (refusal) throw refusal.reason;
  return Promise.all([a, b]);
}

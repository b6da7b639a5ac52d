/**
 * build_and_run_instance: a server becomes a running container (nova/compute/manager.py `_do_build_and_run_instance`,
 * contract C.3). Ports, image and root file system are made side by side; the container's PID 1 waits for the wired ports.
 */
import type { Compute, InstanceCall } from '../compute.js';
import { buildRequest, type BuildRequest } from './build-request.js';
import { settleFailedBuild } from './build-failure.js';
import { checkGroupPolicy } from './group-policy.js';
import { VifWait } from './vif-wait.js';
import { containerSpec } from '../container-spec.js';
import { finishEvent, startEvent, isNova } from '../failure-report.js';
import { imageSource } from '../image-source.js';
import { allocateNetworks, rebindNetworks } from '../network/allocate.js';
import { vifSpecs } from '../network/vif-spec.js';
import { powerStateOf } from '../states.js';
import { novaTime } from '../../nova/context.js';
import { HaulierError } from '../../base/errors.js';
import { faultPoint } from '../../base/fault-points.js';
import type { Operation } from '../../base/operation.js';
import type { VifInfo } from '../../nova/network-info.js';

const eventName = 'compute__do_build_and_run_instance';

/** Fault points of a boot, in order; tests kill the service at each. */
export const bootFaultPoints = ['boot.claimed', 'boot.port-created', 'boot.port-bound', 'boot.networked', 'boot.plugged', 'boot.created', 'boot.started', 'boot.saved'] as const;

/** Handler of the RPC: queues behind `max_concurrent_builds` and the instance's lock. Never throws: state, fault and event tell. */
export async function buildAndRunInstance(compute: Compute, call: InstanceCall): Promise<void> {
  const request = buildRequest(call);
  await compute.locks.hold(call.uuid, () => compute.builds.use(() => build(compute, call, request)));
}

async function build(compute: Compute, call: InstanceCall, request: BuildRequest): Promise<void> {
  const started = startEvent(compute, call.context, call.uuid, eventName);
  let failure: unknown;
  try {
    await call.operation.run((operation) => bootOnce(compute, request, operation));
  } catch (error) {
    failure = error;
    await settleFailedBuild(compute, request, error);
  }
  await started;
  await finishEvent(compute, call.context, call.uuid, eventName, failure);
}

async function bootOnce(compute: Compute, request: BuildRequest, operation: Operation): Promise<void> {
  const { context, instance, uuid } = request;
  operation.step('claim');
  if (instance.object('trusted_certs')) throw new HaulierError('UNSUPPORTED', { what: 'booting with trusted image certificates' });
  if (request.node !== compute.node.hypervisorHostname) throw new HaulierError('NO_RESOURCES', { reason: `node ${request.node} is not of this host` });
  const flavor = instance.object('flavor');
  const source = imageSource(compute, context, request.image, flavor?.number('root_gb') ?? 0);
  if (await compute.containers.spec(uuid)) throw new HaulierError('INSTANCE_STATE', { instance: uuid, state: 'built', action: 'build it a second time' });
  // the claim, the building state and `networking` go in one save: nobody can tell, and it saves two round trips
  instance.set('vm_state', 'building');
  instance.set('task_state', 'networking');
  instance.set('host', compute.settings.host);
  instance.set('launched_on', compute.settings.host);
  instance.set('node', compute.node.hypervisorHostname);
  if (compute.conductor.release !== 'zed') instance.set('compute_id', compute.node.id);
  instance.set('system_metadata', { ...instance.strings('system_metadata'), boot_roles: (context['roles'] as string[] | undefined ?? []).join(',') });
  const claimed = compute.conductor.saveInstance(context, instance, { taskState: ['scheduling', null], vmState: ['building'] });
  compute.tracker.claim(uuid, instance);
  operation.undo('drop the claim', () => compute.tracker.drop(uuid));
  await claimed;
  faultPoint('boot.claimed');
  await checkGroupPolicy(compute, context, uuid, request.groupHint);
  compute.notifier.instance('create.start', context, instance);

  operation.step('network and image');
  const early: { wait: VifWait | undefined } = { wait: undefined };
  const networked = network(compute, request, operation, early);
  const imaged = compute.containers.ensureImage(source, operation);
  try {
    const [network, image] = await Promise.allSettled([networked, imaged]);
    // both ended before anything is undone, so that nothing is made behind the rollback's back
    if (image.status === 'rejected') throw image.reason;
    if (network.status === 'rejected') throw network.reason;
    await spawn(compute, request, operation, source.id, network.value, early.wait);
  } finally {
    early.wait?.drop();
  }
}

/** Allocates the ports and plugs them at once: neutron wires them while the rest is made. */
async function network(compute: Compute, request: BuildRequest, operation: Operation, early: { wait: VifWait | undefined }): Promise<VifInfo[]> {
  const { context, instance, uuid } = request;
  const vifs = instance.strings('system_metadata')['network_allocated'] === 'True'
    ? await rebindNetworks(compute, { context, instance, operation }, request.requestedPorts)
    : await allocateNetworks(compute, { context, instance, operation, requests: request.requestedNetworks, securityGroups: request.securityGroups });
  faultPoint('boot.networked');
  early.wait = new VifWait(compute, uuid, vifs);
  await Promise.all(vifSpecs(vifs).map(async (vif) => {
    operation.undo(`unplug ${vif.id}`, () => compute.containers.unplug(uuid, vif));
    await compute.containers.plug(uuid, vif, operation);
  }));
  faultPoint('boot.plugged');
  return vifs;
}

async function spawn(compute: Compute, request: BuildRequest, operation: Operation, imageId: string, vifs: readonly VifInfo[], wait: VifWait | undefined): Promise<void> {
  const { context, instance, uuid } = request;
  operation.step('spawn');
  instance.set('task_state', 'spawning');
  await inParallel(
    compute.conductor.saveInstance(context, instance, { taskState: ['networking'] }),
    compute.containers.create(containerSpec(compute, instance, imageId, vifs), operation),
  );
  faultPoint('boot.created');
  await compute.containers.startContainer(uuid, operation, wait?.ready(operation));
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
  compute.tracker.built(uuid, instance);
  compute.notifier.instance('create.end', context, instance);
  compute.notifier.scheduler('update_instance_info', context, instance);
}

/** Waits for both, also when one fails, then throws the first failure. */
async function inParallel(...works: readonly Promise<unknown>[]): Promise<void> {
  const settled = await Promise.allSettled(works);
  // the conductor's refusal (deleted meanwhile) says more than what it made fail beside it
  const failed = settled.filter((result) => result.status === 'rejected');
  const refusal = failed.find((result) => isNova(result.reason, 'UnexpectedDeletingTaskStateError', 'InstanceNotFound', 'UnexpectedTaskStateError', 'UnexpectedVMStateError')) ?? failed[0];
  if (refusal) throw refusal.reason;
}

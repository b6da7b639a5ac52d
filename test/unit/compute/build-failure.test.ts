import test from 'ava';
import { HaulierError, type ErrorCode } from '../../../src/base/errors.js';
import { endOf, type BuildEnd } from '../../../src/compute/boot/build-failure.js';
import type { Primitive } from '../../../src/nova/object.js';
import { failure } from '../nova/fake-rpc.js';
import { wire } from './fake-nova.js';
import { host, leftovers, uuid, world, type World } from './world.js';

const event = 'compute__do_build_and_run_instance';
const retry = { retry: { num_attempts: 1, hosts: [[host, host]] } };
const hostFields = (w: World): unknown[] => ['host', 'node', 'launched_on', 'compute_id', 'availability_zone'].map((field) => w.nova.row(uuid)[field]);

const classes: [string, unknown, boolean, Record<string, unknown>, BuildEnd][] = [
  ['the row is gone', failure('InstanceNotFound'), true, retry, 'deleted'],
  ['deleted meanwhile', failure('UnexpectedDeletingTaskStateError'), true, retry, 'deleted'],
  ['aborted by the delete', new HaulierError('CANCELLED', { by: 'delete' }), true, retry, 'deleted'],
  ['aborted by the stop', new HaulierError('CANCELLED', { by: 'stop' }), true, retry, 'reschedule'],
  ['aborted by the stop, no retry', new HaulierError('CANCELLED', { by: 'stop' }), true, {}, 'abort'],
  ['replayed message', failure('UnexpectedTaskStateError'), false, retry, 'superseded'],
  ['replayed message, active already', failure('UnexpectedVMStateError'), false, retry, 'superseded'],
  ['replayed message, container there', new HaulierError('INSTANCE_STATE', {}), false, retry, 'superseded'],
  ['state reset while it was built', failure('UnexpectedTaskStateError'), true, retry, 'abort'],
  ['a container in a wrong state', new HaulierError('INSTANCE_STATE', {}), true, retry, 'reschedule'],
  ...(['IMAGE_UNACCEPTABLE', 'IMAGE_NOT_FOUND', 'IMAGE_TOO_LARGE', 'PORT_IN_USE', 'PORT_NOT_FOUND', 'NETWORK_NOT_FOUND', 'NETWORK_AMBIGUOUS', 'NETWORK_FAILED', 'UNSUPPORTED', 'VIF_PLUG_TIMEOUT', 'VIF_PLUG_FAILED'] as ErrorCode[])
    .map((code): typeof classes[number] => [code, new HaulierError(code), true, retry, 'abort']),
  ...(['DISK_FULL', 'RUNTIME_FAILED', 'NO_RESOURCES', 'PORT_BINDING_FAILED', 'COMMAND_FAILED', 'REST_UNREACHABLE', 'DEADLINE', 'STATE_DAMAGED', 'VIF_UNSUPPORTED'] as ErrorCode[])
    .map((code): typeof classes[number] => [code, new HaulierError(code), true, retry, 'reschedule']),
  ['anything else', new TypeError('x'), true, retry, 'reschedule'],
  ['anything else, no retry', new TypeError('x'), true, {}, 'abort'],
];
for (const [name, error, claimed, filters, end] of classes) test(`end of a build: ${name}`, (t) => t.is(endOf(error, filters, claimed), end));

const points = ['neutron.networks', 'neutron.createPort', 'neutron.bind', 'VirtualInterface.create', 'containers.plug', 'neutron.subnets', 'InstanceInfoCache.save', 'containers.ensureImage', 'containers.create', 'Instance.save -/spawning', 'containers.updateVifs', 'containers.startContainer', 'containers.run', 'Instance.save active/null'];

for (const point of points) {
  test(`${point} fails for good: error, fault, nothing left`, async (t) => {
    const w = await world();
    w.plugWhenAsked();
    w.steps.fail(point, new HaulierError('IMAGE_UNACCEPTABLE', { image: 'i', reason: 'of the test' }));
    await w.send('build_and_run_instance', w.bootArgs());
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], ...hostFields(w)], ['error', null, null, null, null, null, null]);
    t.deepEqual(w.nova.faults.map((fault) => fault['message']), ['Image i is unacceptable: of the test']);
    t.deepEqual(leftovers(w), []);
    t.deepEqual(w.nova.events, [{ uuid, name: event, error: 'Image i is unacceptable: of the test', done: true }]);
    t.deepEqual(w.nova.casts, []);
  });

  test(`${point} fails on this host: rescheduled, nothing left`, async (t) => {
    const w = await world();
    w.plugWhenAsked();
    w.steps.fail(point, new HaulierError('RUNTIME_FAILED', { action: 'x', reason: 'y' }));
    await w.send('build_and_run_instance', w.bootArgs());
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], ...hostFields(w)], ['building', 'scheduling', null, null, null, null, null]);
    t.deepEqual(leftovers(w), []);
    t.deepEqual(w.nova.casts.map((cast) => cast.method), ['build_instances']);
    t.deepEqual(w.nova.events, [{ uuid, name: event, error: null, done: true }], 'as in Nova: the action is not over, and no error');
    t.deepEqual(w.nova.faults, [], 'the conductor writes one if no host is left');
    // the allocation goes before the conductor claims another host
    t.deepEqual(w.steps.of('placement.deleteAllocations', 'Instance.save building/scheduling', 'cast build_instances'), ['placement.deleteAllocations', 'Instance.save building/scheduling', 'cast build_instances']);
  });

  test(`deleted by the user during ${point}: nothing left, the state is not touched`, async (t) => {
    const w = await world();
    w.plugWhenAsked();
    const blocked = w.steps.block(point);
    const built = w.send('build_and_run_instance', w.bootArgs());
    await blocked.reached;
    w.nova.row(uuid)['task_state'] = 'deleting';
    const deleted = w.send('terminate_instance', { instance: w.instance(), bdms: wire('BlockDeviceMappingList', '1.18', { objects: [] }) });
    blocked.release();
    await built;
    await deleted;
    const row = w.nova.row(uuid);
    t.deepEqual([row['vm_state'], row['task_state'], row['deleted']], ['deleted', null, true]);
    t.deepEqual(leftovers(w), []);
    t.deepEqual([w.nova.faults, w.nova.casts], [[], []]);
    t.is(w.steps.seen.filter((step) => /Instance.save (error|building\/scheduling)/.test(step)).length, 0);
    t.deepEqual(w.nova.events.map((item) => item.name).sort(), [event, 'compute_terminate_instance']);
  });

  test(`the row vanishes during ${point} (deleted by the API alone): nothing left`, async (t) => {
    const w = await world();
    w.plugWhenAsked();
    const blocked = w.steps.block(point);
    const built = w.send('build_and_run_instance', w.bootArgs());
    await blocked.reached;
    Object.assign(w.nova.row(uuid), { deleted: true });
    w.nova.caches.delete(uuid);
    blocked.release();
    await built;
    t.deepEqual(leftovers(w), []);
    t.deepEqual(w.nova.casts, []);
  });

  test(`the service stops during ${point}: given to another host, nothing left`, async (t) => {
    const w = await world();
    if (point === 'containers.run' || point.includes('active')) w.plugWhenAsked();
    const blocked = w.steps.block(point);
    const built = w.send('build_and_run_instance', w.bootArgs());
    await blocked.reached;
    const reason = new HaulierError('CANCELLED', { what: 'it', reason: 'the service stops', by: 'stop' });
    w.compute.events.close('the service stops');
    const drained = w.compute.operations.drain(0, reason);
    blocked.release();
    await built;
    await drained;
    if (point === 'Instance.save active/null') {
      t.is(w.nova.row(uuid)['vm_state'], 'active'); // the last step: it is done
      return;
    }
    t.deepEqual(leftovers(w), []);
    t.deepEqual(w.nova.casts.map((cast) => cast.method), ['build_instances']);
  });
}

test('rescheduling sends everything back as it came, but for the retry', async (t) => {
  const w = await world();
  w.steps.fail('containers.create', new HaulierError('DISK_FULL', { path: '/x', reason: 'full' }));
  await w.send('build_and_run_instance', w.bootArgs());
  const { args } = w.nova.casts[0]!;
  const sent = w.bootArgs();
  for (const name of ['image', 'admin_password', 'injected_files', 'security_groups', 'request_spec', 'block_device_mapping', 'requested_networks']) t.deepEqual(args[name], sent[name], name);
  t.deepEqual(args['host_lists'], [sent['host_list']]);
  const filters = args['filter_properties'] as { retry: Record<string, unknown>; limits: unknown };
  t.deepEqual([filters.limits, filters.retry['hosts'], filters.retry['num_attempts'], filters.retry['exc_reason']], [{}, [[host, host]], 1, 'No space left on /x: full']);
  t.is((filters.retry['exc'] as unknown[]).length, 1);
  t.is((args['instances'] as Primitive[])[0]?.['nova_object.data']['host'], null);
});

test('no reschedule for a server that was deleted while the failure was settled', async (t) => {
  const w = await world();
  w.steps.fail('containers.create', new HaulierError('DISK_FULL', { path: '/x', reason: 'full' }));
  w.steps.before('Instance.save building/scheduling', () => { w.nova.row(uuid)['deleted'] = true; });
  await w.send('build_and_run_instance', w.bootArgs());
  t.deepEqual(w.nova.casts, []);
});

test('what fails after a delete fails because of it, whatever it says', async (t) => {
  const w = await world();
  let deleted: Promise<unknown> | undefined;
  w.steps.before('containers.create', () => {
    w.nova.row(uuid)['task_state'] = 'deleting';
    deleted = w.send('terminate_instance', { instance: w.instance(), bdms: wire('BlockDeviceMappingList', '1.18', { objects: [] }) });
    throw new HaulierError('COMMAND_FAILED', { command: 'tar', outcome: 'SIGTERM', stderr: '' });
  });
  await w.send('build_and_run_instance', w.bootArgs());
  await deleted;
  t.deepEqual([w.nova.casts, w.nova.faults, leftovers(w)], [[], [], []]);
});

test('a state that was reset while the server was built: error, for its container is gone', async (t) => {
  const w = await world();
  w.plugWhenAsked();
  w.steps.before('containers.run', () => { Object.assign(w.nova.row(uuid), { vm_state: 'active', task_state: null }); });
  await w.send('build_and_run_instance', w.bootArgs());
  t.deepEqual([w.nova.row(uuid)['vm_state'], leftovers(w)], ['error', []]);
});

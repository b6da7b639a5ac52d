import test, { type ExecutionContext } from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { initHost } from '../../../src/compute/init-host.js';
import { handleExit, syncPowerState, syncPowerStates } from '../../../src/compute/power-sync.js';
import { failLostBuilds, reapDeleted, reclaimDeleted } from '../../../src/compute/reaper.js';
import type { ContainerState } from '../../../src/container/spec.js';
import { failure } from '../nova/fake-rpc.js';
import { host, leftovers, nodeUuid, uuid, world, type World } from './world.js';

interface Found { readonly vm: string; readonly task: string | null; readonly container: ContainerState; readonly power?: number; readonly more?: Record<string, unknown> }

/** A world after a boot, whose service ended and starts again. */
async function restarted(found: Found, settings: Parameters<typeof world>[0] = {}): Promise<World> {
  const w = await world(settings);
  await w.boot();
  if (found.container === 'missing') {
    w.containers.made.clear();
    w.containers.plugged.clear();
  } else w.containers.made.get(uuid)!.state = found.container;
  Object.assign(w.nova.row(uuid), { vm_state: found.vm, task_state: found.task, power_state: found.power ?? 1, ...found.more });
  w.steps.clear();
  w.nova.events.length = 0;
  return w;
}
const states = (w: World): unknown[] => ['vm_state', 'task_state', 'power_state'].map((field) => w.nova.row(uuid)[field]);
const made = (w: World): string[] => w.steps.seen.filter((step) => /^containers\.(?!resources|updateVifs|unplug|announce)/.test(step));

const rows: [string, Found, unknown[], string[]][] = [
  ['soft-delete', { vm: 'soft-delete', task: null, container: 'stopped', power: 4 }, ['soft-delete', null, 4], []],
  ['error', { vm: 'error', task: 'spawning', container: 'stopped', power: 0 }, ['error', 'spawning', 0], []],
  ['rebuild task, active', { vm: 'active', task: 'rebuilding', container: 'running' }, ['error', null, 1], []],
  ['rebuild task, stopped', { vm: 'stopped', task: 'rebuild_spawning', container: 'stopped', power: 4 }, ['error', null, 4], []],
  ['snapshot', { vm: 'active', task: 'image_uploading', container: 'running' }, ['active', null, 1], []],
  ['resize_prep', { vm: 'stopped', task: 'resize_prep', container: 'stopped', power: 4 }, ['stopped', null, 4], []],
  ['reboot asked for, not begun', { vm: 'active', task: 'rebooting', container: 'running' }, ['active', null, 1], ['containers.stopContainer', 'containers.startContainer', 'containers.run']],
  ['reboot pending', { vm: 'active', task: 'reboot_pending', container: 'running' }, ['active', null, 1], ['containers.stopContainer', 'containers.startContainer', 'containers.run']],
  ['hard reboot pending', { vm: 'active', task: 'reboot_pending_hard', container: 'running' }, ['active', null, 1], ['containers.stopContainer', 'containers.startContainer', 'containers.run']],
  ['reboot started, running', { vm: 'active', task: 'reboot_started', container: 'running' }, ['active', null, 1], []],
  ['reboot started, not running', { vm: 'active', task: 'reboot_started_hard', container: 'stopped' }, ['active', null, 1], ['containers.stopContainer', 'containers.startContainer', 'containers.run']],
  ['pausing, running', { vm: 'active', task: 'pausing', container: 'running' }, ['active', null, 1], []],
  ['pausing, paused', { vm: 'active', task: 'pausing', container: 'paused' }, ['paused', null, 3], []],
  ['unpausing, running', { vm: 'paused', task: 'unpausing', container: 'running', power: 3 }, ['active', null, 1], []],
  ['unpausing, paused', { vm: 'paused', task: 'unpausing', container: 'paused', power: 3 }, ['active', null, 1], ['containers.unpause']],
  ['unpausing, dead', { vm: 'paused', task: 'unpausing', container: 'crashed', power: 3 }, ['paused', null, 6], []],
  ['suspending, running', { vm: 'active', task: 'suspending', container: 'running' }, ['suspended', null, 7], ['containers.suspend']],
  ['suspending, suspended', { vm: 'active', task: 'suspending', container: 'suspended' }, ['suspended', null, 7], ['containers.suspend']],
  ['suspending, ended with its host', { vm: 'active', task: 'suspending', container: 'stopped' }, ['active', null, 1], []],
  ['resuming, suspended', { vm: 'suspended', task: 'resuming', container: 'suspended', power: 7 }, ['active', null, 1], ['containers.resume']],
  ['resuming, running', { vm: 'suspended', task: 'resuming', container: 'running', power: 7 }, ['active', null, 1], ['containers.resume']],
  ['suspended', { vm: 'suspended', task: null, container: 'suspended', power: 7 }, ['suspended', null, 7], []],
  ['frozen with the host', { vm: 'active', task: null, container: 'suspended' }, ['active', null, 1], ['containers.resume']],
  ['frozen with the host, rescued', { vm: 'rescued', task: null, container: 'suspended' }, ['rescued', null, 1], ['containers.resume']],
  ['powering-off', { vm: 'active', task: 'powering-off', container: 'running' }, ['stopped', null, 4], ['containers.stopContainer']],
  ['powering-off, off', { vm: 'active', task: 'powering-off', container: 'stopped' }, ['stopped', null, 4], ['containers.stopContainer']],
  ['powering-on', { vm: 'stopped', task: 'powering-on', container: 'stopped', power: 4 }, ['active', null, 1], ['containers.startContainer', 'containers.run']],
  ['resize_migrating', { vm: 'active', task: 'resize_migrating', container: 'running' }, ['active', null, 1], []],
  ['migrating', { vm: 'active', task: 'migrating', container: 'running' }, ['active', null, 1], []],
  ['nothing', { vm: 'active', task: null, container: 'running' }, ['active', null, 1], []],
  ['was running, is not: left to the power sync', { vm: 'active', task: null, container: 'stopped' }, ['active', null, 1], []],
  ['another host\'s', { vm: 'active', task: 'powering-off', container: 'running', more: { host: 'other' } }, ['active', 'powering-off', 1], []],
];
for (const [name, found, after, calls] of rows) {
  test(`init_host: ${name}`, async (t) => {
    const w = await restarted(found);
    await initHost(w.compute);
    t.deepEqual(states(w), after);
    t.deepEqual(made(w), calls);
    t.true(w.nova.events.every((event) => event.done));
    t.false(w.compute.locks.held(uuid));
  });
}

test('init_host: guests are resumed if the operator wants it', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' }, { resumeGuestsOnHostBoot: true });
  await initHost(w.compute);
  t.deepEqual([states(w), await w.containers.view(uuid).then((view) => view.state)], [['active', null, 1], 'running']);
});

for (const task of ['scheduling', 'networking', 'block_device_mapping', 'spawning', null]) {
  test(`init_host: a build that was cut short at ${String(task)} leaves an error and nothing else`, async (t) => {
    const w = await restarted({ vm: 'building', task, container: 'stopped' });
    await initHost(w.compute);
    t.deepEqual(states(w).slice(0, 2), ['error', null]);
    t.regex(String(w.nova.faults[0]?.['message']), /the compute service of fake2 ended in between/);
    t.deepEqual(leftovers(w), []);
  });
}

test('init_host: a build that cannot be cleaned is in error all the same', async (t) => {
  const w = await restarted({ vm: 'building', task: 'spawning', container: 'stopped' });
  w.steps.fail('neutron.ports', new Error('neutron is away'));
  w.steps.fail('containers.destroy', new Error('busy'));
  await initHost(w.compute);
  t.deepEqual(states(w).slice(0, 2), ['error', null]);
});

test('init_host: a delete goes on, also of a server in error; one that was saved is completed', async (t) => {
  for (const vm of ['active', 'error', 'building', 'soft-delete']) {
    const w = await restarted({ vm, task: 'deleting', container: 'running' });
    await initHost(w.compute);
    t.true(w.nova.row(uuid)['deleted'], vm);
    t.deepEqual(leftovers(w), []);
  }
  const w = await restarted({ vm: 'deleted', task: null, container: 'missing' });
  await initHost(w.compute);
  t.deepEqual([w.nova.row(uuid)['deleted'], w.placement.allocations.size], [true, 0]);
});

test('init_host: a delete that fails stays to be done; it keeps nobody from starting', async (t) => {
  const w = await restarted({ vm: 'active', task: 'deleting', container: 'running' });
  w.steps.fail('neutron.ports', new Error('neutron is away'));
  await initHost(w.compute);
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state']], ['error', 'deleting']);
  await initHost(w.compute);
  t.true(w.nova.row(uuid)['deleted']);
});

for (const [task, vm, point] of [['powering-off', 'active', 'containers.stopContainer'], ['powering-on', 'stopped', 'containers.startContainer'], ['unpausing', 'paused', 'containers.unpause']] as const) {
  test(`init_host: ${task} that fails leaves a fault and no task state`, async (t) => {
    const w = await restarted({ vm, task, container: task === 'unpausing' ? 'paused' : task === 'powering-on' ? 'stopped' : 'running' });
    w.steps.fail(point, new HaulierError('RUNTIME_FAILED', { action: 'x', reason: 'y' }));
    await initHost(w.compute);
    t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row(uuid)['task_state'], w.nova.faults.length], [vm, null, 1]);
  });
}

test('init_host: frozen with the whole host: it goes on; where that fails it is suspended, for another try, or stays rescued, to be unrescued', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'suspended' });
  await initHost(w.compute);
  t.deepEqual([states(w), w.containers.made.get(uuid)?.state, w.nova.faults.length], [['active', null, 1], 'running', 0]);
  const other = await restarted({ vm: 'active', task: null, container: 'suspended' });
  other.steps.fail('containers.resume', new HaulierError('RESUME_FAILED', { reason: 'y' }));
  await initHost(other.compute);
  t.deepEqual([states(other), other.containers.made.get(uuid)?.state, other.nova.faults.length], [['suspended', null, 7], 'suspended', 1]);
  const rescued = await restarted({ vm: 'rescued', task: null, container: 'suspended' });
  rescued.steps.fail('containers.resume', new HaulierError('RESUME_FAILED', { reason: 'y' }));
  await initHost(rescued.compute);
  t.deepEqual([states(rescued), rescued.containers.made.get(uuid)?.state, rescued.nova.faults.length], [['rescued', null, 7], 'suspended', 1]);
});

test('init_host: a reboot that fails with the guest down is an error', async (t) => {
  const w = await restarted({ vm: 'active', task: 'reboot_started', container: 'stopped' });
  w.steps.fail('containers.startContainer', new HaulierError('RUNTIME_FAILED', { action: 'x', reason: 'y' }));
  await initHost(w.compute);
  t.deepEqual(states(w).slice(0, 2), ['error', null]);
});

test('init_host: evacuated servers go, back or under way they are not recovered here', async (t) => {
  for (const [status, where, gone] of [['done', 'other', true], ['done', host, false], ['accepted', host, true], ['pre-migrating', host, true]] as const) {
    const w = await restarted({ vm: 'active', task: status === 'done' ? null : 'rebuilding', container: 'running', more: { host: where } });
    w.nova.migrations.push({ id: 3, uuid: 'm', status, instance_uuid: uuid, source_compute: host, migration_type: 'evacuation' });
    await initHost(w.compute);
    t.is(!w.containers.made.has(uuid), gone, `${status} ${where}`);
    t.is(w.placement.allocations.get(uuid)?.[nodeUuid] === undefined, gone);
    t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.migrations[0]?.['status']], ['active', 'completed']);
  }
});

test('init_host: one server that cannot be recovered does not stop the others', async (t) => {
  const w = await restarted({ vm: 'active', task: 'powering-off', container: 'running' });
  w.nova.instances.set('b', { ...structuredClone(w.nova.row(uuid)), uuid: 'b', id: 9 });
  await initHost(w.compute);
  t.deepEqual([w.nova.row(uuid)['vm_state'], w.nova.row('b')['task_state']], ['stopped', null]);
});

test('a lost build message: error after ten minutes, not before, and never while it is handled', async (t) => {
  const old = '2020-01-01T00:00:00Z';
  for (const [change, lost] of [[{ created_at: old }, true], [{ created_at: old, updated_at: new Date().toISOString() }, false], [{ created_at: old, host: 'other' }, false], [{ created_at: old, task_state: 'deleting' }, false]] as [Record<string, unknown>, boolean][]) {
    const w = await world();
    Object.assign(w.nova.row(uuid), change);
    await initHost(w.compute);
    t.is(w.nova.row(uuid)['vm_state'], 'building');
    await w.compute.locks.hold(uuid, () => failLostBuilds(w.compute));
    t.is(w.nova.row(uuid)['vm_state'], 'building');
    await failLostBuilds(w.compute);
    t.deepEqual([w.nova.row(uuid)['vm_state'] === 'error', w.placement.allocations.size === 0, w.nova.faults.length], [lost, lost, lost ? 1 : 0]);
  }
});

const syncs: [string, Found, unknown[], string[]][] = [
  ['active, stopped by itself', { vm: 'active', task: null, container: 'stopped' }, ['stopped', null, 4], ['containers.stopContainer']],
  ['active, crashed', { vm: 'active', task: null, container: 'crashed' }, ['stopped', null, 6], ['containers.stopContainer']],
  ['paused, crashed', { vm: 'paused', task: null, container: 'crashed', power: 3 }, ['stopped', null, 6], ['containers.stopContainer']],
  ['active, paused', { vm: 'active', task: null, container: 'paused' }, ['active', null, 3], []],
  ['active, missing', { vm: 'active', task: null, container: 'missing' }, ['active', null, 0], []],
  ['stopped, running', { vm: 'stopped', task: null, container: 'running', power: 4 }, ['stopped', null, 1], ['containers.stopContainer']],
  ['stopped, crashed', { vm: 'stopped', task: null, container: 'crashed', power: 4 }, ['stopped', null, 6], []],
  ['error, stopped', { vm: 'error', task: null, container: 'stopped' }, ['error', null, 4], []],
  ['with a task', { vm: 'active', task: 'pausing', container: 'stopped' }, ['active', 'pausing', 1], []],
  ['of another host', { vm: 'active', task: null, container: 'stopped', more: { host: 'other' } }, ['active', null, 1], []],
];
for (const [name, found, after, calls] of syncs) {
  test(`power sync: ${name}`, async (t) => {
    const w = await restarted(found);
    await syncPowerStates(w.compute);
    t.deepEqual(states(w), after);
    t.deepEqual(made(w), calls);
  });
}

test('power sync: a stop by itself is an action with its event, under one request', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' });
  await handleExit(w.compute, { id: uuid, state: 'stopped', exitCode: 0, rebootRequested: false });
  t.deepEqual(w.nova.actions, ['stop']);
  t.deepEqual(w.nova.events, [{ uuid, name: 'compute_stop_instance', error: null, done: true }]);
});

test('power sync: a stop that fails leaves no task state, and is tried again', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' });
  w.steps.fail('containers.stopContainer', new HaulierError('RUNTIME_FAILED', { action: 'x', reason: 'y' }));
  await syncPowerStates(w.compute);
  t.deepEqual(states(w), ['active', null, 4]);
  await syncPowerStates(w.compute);
  t.deepEqual(states(w), ['stopped', null, 4]);
});

test('power sync: does not wait behind an operation, and one failure does not stop the rest', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' });
  await w.compute.locks.hold(uuid, () => syncPowerStates(w.compute));
  t.deepEqual(states(w), ['active', null, 1]);
  w.steps.fail('Instance.get_by_uuid', failure('DBError'));
  await t.notThrowsAsync(syncPowerStates(w.compute));
});

test('power sync: a user\'s operation in the same moment wins', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' });
  w.steps.before('Instance.save -/powering-off', () => { w.nova.row(uuid)['task_state'] = 'rebooting_hard'; });
  await t.throwsAsync(syncPowerState(w.compute, uuid), { name: 'UnexpectedTaskStateError' });
  t.is(w.nova.row(uuid)['task_state'], 'rebooting_hard');
});

test('a guest that asks for a reboot gets one; if it cannot start, it is stopped', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'stopped' });
  const exit = { id: uuid, state: 'stopped' as const, exitCode: 129, rebootRequested: true };
  await handleExit(w.compute, exit);
  t.deepEqual([states(w), await w.containers.view(uuid).then((view) => view.state)], [['active', null, 1], 'running']);
  w.containers.made.get(uuid)!.state = 'stopped';
  w.steps.fail('containers.startContainer', new HaulierError('RUNTIME_FAILED', { action: 'x', reason: 'y' }));
  await handleExit(w.compute, exit);
  t.deepEqual(states(w), ['stopped', null, 4]);
});

test('the reaper takes containers of deleted servers, and only those', async (t) => {
  for (const [action, calls] of [['reap', ['containers.destroy']], ['shutdown', ['containers.stopContainer']], ['log', []], ['noop', []]] as ['reap' | 'shutdown' | 'log' | 'noop', string[]][]) {
    const w = await restarted({ vm: 'deleted', task: null, container: 'running', more: { deleted: true, deleted_at: '2020-01-01T00:00:00Z' } }, { runningDeletedAction: action });
    w.containers.put('unknown-to-the-database', 'running');
    await reapDeleted(w.compute);
    t.deepEqual(made(w), calls);
    t.true(w.containers.made.has('unknown-to-the-database'));
  }
});

test('the reaper: not before its time, not what is being worked on, not on a failing database; one that fails stops no other', async (t) => {
  const w = await restarted({ vm: 'active', task: null, container: 'running' }, { runningDeletedTimeout: 3600 });
  await reapDeleted(w.compute);
  Object.assign(w.nova.row(uuid), { deleted: true, deleted_at: new Date().toISOString() });
  await reapDeleted(w.compute);
  w.nova.row(uuid)['deleted_at'] = '2020-01-01T00:00:00Z';
  await w.compute.locks.hold(uuid, () => reapDeleted(w.compute));
  w.steps.fail('Instance.get_by_uuid', failure('DBError'));
  await t.throwsAsync(reapDeleted(w.compute), { name: 'DBError' });
  t.true(w.containers.made.has(uuid));
  w.nova.instances.set('b', { ...w.nova.row(uuid), uuid: 'b' });
  w.containers.put('b', 'running');
  w.steps.fail('containers.destroy', new Error('busy'));
  await reapDeleted(w.compute);
  t.deepEqual([...w.containers.made.keys()], [uuid]);
});

test('reclaim: soft-deleted long enough, and still so when it is their turn', async (t) => {
  const soft = { vm: 'soft-delete', task: null, container: 'stopped' as const, more: { deleted_at: '2020-01-01T00:00:00Z' } };
  const w = await restarted(soft, { reclaimInstanceInterval: 60 });
  w.steps.before('Instance.get_by_uuid', () => { Object.assign(w.nova.row(uuid), { task_state: 'restoring' }); });
  await reclaimDeleted(w.compute);
  t.true(w.containers.made.has(uuid));
  w.nova.row(uuid)['task_state'] = null;
  await reclaimDeleted(w.compute);
  t.deepEqual([w.nova.row(uuid)['deleted'], leftovers(w)], [true, []]);
  const off = await restarted(soft, { reclaimInstanceInterval: 0 });
  await reclaimDeleted(off.compute);
  t.false(off.nova.row(uuid)['deleted'] as boolean);
});

/** The control plane's clock is right; this host's has jumped. */
function withJump(t: ExecutionContext, ms: number): void {
  const { now } = Date;
  t.teardown(() => { Date.now = now; });
  Date.now = () => now() + ms;
}

for (const days of [1, -1]) {
  test.serial(`this host's clock jumps by ${days} day(s): what is due by the control plane's is done, and nothing else`, async (t) => {
    const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();
    const [young, old] = [ago(1800), ago(2 * 3600)];
    const origin = Date.now() - performance.now();
    const rightClock = (w: World): void => void Object.assign(w.compute, { cloudNow: () => origin + performance.now() });
    const soft = await restarted({ vm: 'soft-delete', task: null, container: 'stopped' }, { reclaimInstanceInterval: 3600 });
    const deleted = await restarted({ vm: 'deleted', task: null, container: 'running', more: { deleted: true } }, { runningDeletedTimeout: 3600 });
    const lost = await world();
    [soft, deleted, lost].forEach(rightClock);
    const tell = (at: string): void => {
      soft.nova.row(uuid)['deleted_at'] = deleted.nova.row(uuid)['deleted_at'] = at;
      lost.nova.row(uuid)['updated_at'] = at === young ? ago(60) : at;
    };
    const look = async (): Promise<unknown[]> => {
      await reclaimDeleted(soft.compute);
      await reapDeleted(deleted.compute);
      await failLostBuilds(lost.compute);
      return [soft.containers.made.has(uuid), deleted.containers.made.has(uuid), lost.nova.row(uuid)['vm_state']];
    };
    tell(young);
    withJump(t, days * 86_400_000);
    t.deepEqual(await look(), [true, true, 'building']);
    tell(old);
    for (const w of [soft, deleted, lost]) Object.assign(w.compute, { cloudNow: () => undefined });
    t.deepEqual(await look(), [true, true, 'building'], 'before the control plane\'s clock is known nothing is due');
    [soft, deleted, lost].forEach(rightClock);
    t.deepEqual(await look(), [false, false, 'error']);
  });
}

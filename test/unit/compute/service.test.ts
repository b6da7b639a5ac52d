import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import test from 'ava';
import { HaulierError } from '../../../src/base/errors.js';
import { silentLog } from '../../../src/base/log.js';
import { Heartbeat } from '../../../src/compute/heartbeat.js';
import { PeriodicTasks, type PeriodicTask } from '../../../src/compute/periodic.js';
import { ComputeService } from '../../../src/compute/service.js';
import type { Messaging } from '../../../src/messaging/messaging.js';
import type { RpcServer } from '../../../src/messaging/types.js';
import { Notifier } from '../../../src/nova/notifications.js';
import { failure } from '../nova/fake-rpc.js';
import { FakeHauls } from './fake-hauls.js';
import { host, settings, uuid, world, type World } from './world.js';

/** Lets everything run that waits for nothing but promises. */
const settle = async (): Promise<void> => { for (let n = 0; n < 50; n++) await Promise.resolve(); };

// the clock is one for all tests of this file
test.serial.afterEach.always(() => mock.timers.reset());

function tasks(...list: Partial<PeriodicTask>[]): PeriodicTasks {
  return new PeriodicTasks(list.map((task, index) => ({ name: `t${index}`, spacing: 10, run: async () => undefined, ...task })), 0, silentLog());
}

test.serial('periodic tasks: spacing, zero means sixty, negative never, at once if asked', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const runs = [0, 0, 0, 0];
  const count = (index: number) => async (): Promise<void> => { runs[index] = (runs[index] ?? 0) + 1; };
  const periodic = tasks({ spacing: 10, run: count(0) }, { spacing: 0, run: count(1) }, { spacing: -1, run: count(2) }, { spacing: 100, immediately: true, run: count(3) });
  periodic.start();
  mock.timers.tick(1);
  await settle();
  t.deepEqual(runs, [0, 0, 0, 1]);
  for (let second = 0; second < 60; second++) { mock.timers.tick(1000); await settle(); }
  t.true(runs[0]! >= 5);
  t.deepEqual(runs.slice(1), [1, 0, 1]);
  periodic.stop();
});

test.serial('periodic tasks: an error is no end, and one that runs is not begun again', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let runs = 0;
  let finish!: () => void;
  const periodic = tasks({ run: () => { runs++; if (runs === 1) return Promise.reject(new Error('x')); return new Promise<void>((resolve) => { finish = resolve; }); } });
  periodic.start();
  mock.timers.tick(10_000);
  await settle();
  mock.timers.tick(10_000);
  await settle();
  t.is(runs, 2);
  mock.timers.tick(100_000);
  await settle();
  t.is(runs, 2);
  periodic.stop();
  finish();
  await settle();
  mock.timers.tick(100_000);
  await settle();
  t.is(runs, 2); // stopped meanwhile
});

test.serial('periodic tasks: a spacing longer than a timer can be is one', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let runs = 0;
  const periodic = tasks({ spacing: 60 * 86_400, run: async () => { runs++; } });
  periodic.start();
  for (let day = 0; day < 59; day++) { mock.timers.tick(86_400_000); await settle(); }
  t.is(runs, 0);
  for (let day = 0; day < 2; day++) { mock.timers.tick(86_400_000); await settle(); }
  t.is(runs, 1);
  periodic.stop();
});

async function beating(): Promise<{ w: World; heartbeat: Heartbeat; beat: (ms?: number) => Promise<void> }> {
  const w = await world();
  const heartbeat = new Heartbeat(w.compute.conductor, host, 10, silentLog());
  await heartbeat.register(undefined);
  mock.timers.enable({ apis: ['setTimeout'] });
  heartbeat.start();
  return { w, heartbeat, beat: async (ms = 10_000) => { mock.timers.tick(ms); await settle(); } };
}

test.serial('heartbeat: registered with the control plane\'s version; each beat raises the count', async (t) => {
  const { w, heartbeat, beat } = await beating();
  t.deepEqual([w.nova.service?.['version'], w.nova.service?.['topic'], w.nova.service?.['report_count'], heartbeat.service], [68, 'compute', 0, { id: 4, disabled: false }]);
  await beat(5000);
  t.is(w.nova.service?.['report_count'], 1);
  await beat();
  t.is(w.nova.service?.['report_count'], 2);
  heartbeat.stop();
  await beat();
  t.is(w.nova.service?.['report_count'], 2);
});

test.serial('heartbeat: goes on after an error, waits for one that hangs, registers again when the record is gone', async (t) => {
  const { w, heartbeat, beat } = await beating();
  w.steps.fail('Service.save', failure('MessagingTimeout'));
  await beat(5000);
  const hang = w.steps.block('Service.save');
  await beat();
  await hang.reached;
  await beat();
  await beat();
  t.is(w.steps.count('Service.save'), 2);
  hang.release();
  await settle();
  await beat();
  t.is(w.nova.service?.['report_count'], 3);
  w.nova.service = undefined;
  await beat();
  t.is((w.nova.service as Record<string, unknown> | undefined)?.['host'], host);
  await beat();
  t.is((w.nova.service as Record<string, unknown> | undefined)?.['report_count'], 1);
  heartbeat.stop();
});

test.serial('heartbeat: with each one comes what the control plane\'s clock says; what ours says does not matter', async (t) => {
  const { heartbeat, beat } = await beating();
  t.is(heartbeat.cloudNow, undefined);
  await beat(5000);
  const at = Date.parse('2026-11-22T02:01:31Z'); // as the fake conductor always says
  const first = heartbeat.cloudNow ?? 0;
  t.true(first >= at && first < at + 60_000);
  const { now } = Date;
  t.teardown(() => { Date.now = now; });
  Date.now = () => now() + 86_400_000;
  const later = heartbeat.cloudNow ?? 0;
  t.true(later >= first && later < at + 60_000);
  heartbeat.stop();
});

test.serial('heartbeat: disabled is what the record says', async (t) => {
  const { w, heartbeat } = await beating();
  w.nova.service!['disabled'] = true;
  await heartbeat.refresh();
  t.true(heartbeat.service.disabled);
  heartbeat.stop();
});

/** The whole service over the fakes. */
async function service(others = 0): Promise<{ w: World; compute: ComputeService; served: string[]; server: { stopped: number } }> {
  const w = await world();
  const served: string[] = [];
  const server = { stopped: 0 };
  const messaging = {
    client: w.nova, healthy: true, servers: async () => others,
    serve: async (options: { topics: readonly string[] }): Promise<RpcServer> => {
      w.steps.seen.push('serve');
      served.push(...options.topics);
      return { running: 0, stop: async () => { server.stopped++; } };
    },
  } as unknown as Messaging;
  const statePath = await mkdtemp(join(tmpdir(), 'service-'));
  const compute = new ComputeService({
    settings: { ...settings, statePath }, log: silentLog(), messaging, containers: w.containers, hauls: new FakeHauls(w.steps, host), placement: w.placement, neutron: w.neutron, glance: w.compute.glance,
    notifications: new Notifier(undefined, { host, format: 'unversioned', topics: [], versionedTopics: [] }, silentLog()),
  });
  return { w, compute, served, server };
}

test.serial('start: containers and conductor, the record, the audit, recovery, and only then messages', async (t) => {
  const { w, compute, served, server } = await service();
  t.deepEqual(compute.notReady, ['still starting']);
  await compute.start(new AbortController().signal);
  t.deepEqual(w.steps.of('containers.open', 'Service.create', 'ComputeNode.create', 'placement.ensureProvider', 'InstanceList.get_by_host', 'serve'),
    ['containers.open', 'Service.create', 'ComputeNode.create', 'placement.ensureProvider', 'InstanceList.get_by_host', 'serve']);
  t.deepEqual([served, compute.notReady, w.containers.listeners.length], [['compute', 'compute-alt'], [], 1]);
  await compute.stop(0);
  t.deepEqual([server.stopped, w.steps.count('containers.close'), compute.notReady], [1, 1, ['still starting']]);
});

test.serial('start: what waiting cannot cure is fatal, the rest is tried again until the signal', async (t) => {
  const { w, compute } = await service();
  w.steps.fail('placement.ensureProvider', new HaulierError('IDENTITY', { reason: 'another uuid owns the name' }));
  await t.throwsAsync(compute.start(new AbortController().signal), { code: 'IDENTITY' });
  const again = await service();
  const abort = new AbortController();
  again.w.steps.before('placement.ensureProvider', () => { abort.abort(new Error('stop')); throw new Error('placement is away'); });
  await t.throwsAsync(again.compute.start(abort.signal), { message: 'stop' });
});

test.serial('start: another service of this name answers: refused before anything of this host is looked at', async (t) => {
  const { w, compute } = await service(1);
  await t.throwsAsync(compute.start(new AbortController().signal), { code: 'IDENTITY', message: /is running: it answers on the message bus/ });
  t.deepEqual([w.steps.of('containers.open', 'Service.create', 'serve'), w.nova.service], [[], undefined]);
});

test.serial('stop: what runs may end; what waits for an event is given up; the containers run on', async (t) => {
  const { w, compute } = await service();
  await compute.start(new AbortController().signal);
  const running = compute.compute!;
  w.containers.put('c', 'running');
  const wait = running.events.expect(uuid, 'network-vif-plugged', 'p');
  let release!: () => void;
  const gate = new Promise<void>((resolve) => { release = resolve; });
  const work = running.operations.run({ name: 'slow' }, () => gate);
  const stopped = compute.stop(60_000);
  await t.throwsAsync(wait.outcome, { code: 'CANCELLED' });
  release();
  await work;
  await stopped;
  t.is(w.containers.made.get('c')?.state, 'running');
});

test.serial('stop: after the grace the rest is aborted, rolled back and waited for', async (t) => {
  const { compute } = await service();
  await compute.start(new AbortController().signal);
  let undone = false;
  const work = compute.compute!.operations.run({ name: 'endless' }, (operation) => {
    operation.undo('x', () => { undone = true; });
    return new Promise<void>((_, reject) => operation.signal.addEventListener('abort', () => reject(operation.signal.reason as Error)));
  });
  const outcome = t.throwsAsync(work, { code: 'CANCELLED' });
  await compute.stop(0);
  await outcome;
  t.true(undone);
  t.is(compute.compute?.operations.running.length, 0);
  // what comes after is refused by its signal
  await t.throwsAsync(compute.compute!.operations.run({ name: 'late' }, async (operation) => operation.throwIfAborted()), { code: 'CANCELLED' });
});
